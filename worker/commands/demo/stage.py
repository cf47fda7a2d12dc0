"""What the demo runs on: an embedded broker and the emulated API, both on free local ports, and settings for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from worker.emulator.broker import EmbeddedBroker, EmbeddedBrokerError, EmbeddedBrokerUnavailable
from worker.emulator.config import EmulatorConfig
from worker.emulator.server import Emulator
from worker.errors import StartError
from worker.settings import API_KEY, Settings, load

PARTITIONS: Final = 8
IN_FLIGHT: Final = 640
CONNECTIONS: Final = 128

_NO_LIMIT: Final = 1_000_000
_DRAIN_SECONDS: Final = 1.0
_PROPERTIES: Final = {
    # with the classic protocol every rebalance of the embedded broker takes a session timeout
    "group.protocol": "consumer",
    # its long polls do not wake up on new records
    "fetch.wait.max.ms": 10,
    "linger.ms": 1,
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A broker with empty topics, an API, and the settings of a worker between them."""

    servers: str
    url: str
    emulator: Emulator
    settings: Settings


@asynccontextmanager
async def opened_stage(dimensions: int, requests_per_minute: int | None) -> AsyncIterator[Stage]:
    """The stage, taken down at the end. Raises StartError."""
    emulator = Emulator(EmulatorConfig(requests_per_minute=requests_per_minute or 0))
    try:
        with EmbeddedBroker() as broker:
            yield await _open(broker, emulator, dimensions, requests_per_minute)
    finally:
        await emulator.close()


async def _open(broker: EmbeddedBroker, emulator: Emulator, dimensions: int, requests_per_minute: int | None) -> Stage:
    try:
        servers = broker.start()
        url = await emulator.start()
        settings = settings_of(servers, url, dimensions, requests_per_minute)
        for topic in (*settings.topics.input, *settings.topics.outcomes):
            broker.create_topic(topic, PARTITIONS)
    except (EmbeddedBrokerUnavailable, EmbeddedBrokerError) as error:
        raise StartError(f"demo: {error}") from None
    except OSError as error:
        raise StartError(f"demo: no local port can be opened ({error.strerror}); is 127.0.0.1 up?") from None
    return Stage(servers, url, emulator, settings)


def settings_of(servers: str, url: str, dimensions: int, requests_per_minute: int | None) -> Settings:
    """The demo's settings: nothing is taken from the user's environment, so no real broker or API can be met."""
    return load(
        {API_KEY: "demo"},
        flags={
            "kafka.bootstrap_servers": servers,
            "kafka.group_id": "demo",
            "kafka.start_from": "earliest",
            "kafka.properties": _PROPERTIES,
            "api.base_url": url,
            "api.output_dimensionality": dimensions,
            "api.connections": CONNECTIONS,
            "pace.requests_per_minute": requests_per_minute or _NO_LIMIT,
            "limits.in_flight": IN_FLIGHT,
            "limits.drain": _DRAIN_SECONDS,
            # a file may hold nothing but bad lines: each is shown with its reason, and --set is no flag of the demo
            "dead_letters.share": 1,
            "dead_letters.run": 0,
            # the embedded broker takes transactions for plain commits, and drops their offsets
            "guarantees.delivery": "at_least_once",
        },
    )
