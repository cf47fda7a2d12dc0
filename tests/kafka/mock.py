"""The embedded broker as a backend: for everything that needs no transactions, configuration or retention."""

from collections.abc import Mapping
from typing import Final

from tests.kafka.backend import BackendUnavailable
from worker.emulator.broker import EmbeddedBroker, EmbeddedBrokerUnavailable

_BROKER_ID: Final = 1


def launch() -> "MockBroker":
    """Starts it. Raises BackendUnavailable if this confluent-kafka has none."""
    embedded = EmbeddedBroker()
    try:
        return MockBroker(embedded, embedded.start())
    except EmbeddedBrokerUnavailable as error:
        raise BackendUnavailable(str(error)) from error


class MockBroker:
    """A stop closes connections and refuses new ones; nothing is lost by it, unlike by a real broker's crash."""

    can_restart: Final = True

    def __init__(self, embedded: EmbeddedBroker, bootstrap_servers: str) -> None:
        self._embedded = embedded
        self.bootstrap_servers = bootstrap_servers

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        """The configuration is ignored."""
        self._embedded.create_topic(name, partitions)

    def start(self) -> None:
        self._embedded.set_up(_BROKER_ID)

    def stop(self, *, kill: bool = False) -> None:
        self._embedded.set_down(_BROKER_ID)

    def close(self) -> None:
        self._embedded.close()
