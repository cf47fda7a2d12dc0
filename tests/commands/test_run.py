"""`run` before it runs: what probes and the log say while brokers and topics are waited for."""

import asyncio
import io
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from worker.adapters.telemetry import open_log
from worker.commands.run import DeadLetterCount, on_signal, work
from worker.emulator.broker import EmbeddedBroker
from worker.errors import StartError
from worker.settings import Drain, Settings, load

SECONDS = 20.0


class Run:
    """A worker in this event loop, and its log."""

    def __init__(self, settings: Settings) -> None:
        self._stream = io.StringIO()
        log = open_log("info", json_lines=True, stream=self._stream)
        self.task = asyncio.create_task(work(settings, log, DeadLetterCount(), until_end=False))

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    async def wait(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                await asyncio.sleep(0.01)

    async def probe(self, path: str) -> tuple[int, str]:
        port = self.logged("starting")[0]["status_port"]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/{path}")
        return answer.status_code, answer.text

    async def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            await self.task


def settings(servers: str, **environ: str) -> Settings:
    nowhere = {"WORKER_API__BASE_URL": "http://127.0.0.1:1", "SEGMIND_API_KEY": "SG_0123456789"}
    local = {"WORKER_STATUS__HOST": "127.0.0.1", "WORKER_STATUS__PORT": "0", "WORKER_LIMITS__DRAIN": "0"}
    return load({"WORKER_KAFKA__BOOTSTRAP_SERVERS": servers} | nowhere | local | environ)


async def test_while_brokers_are_waited_for_the_probes_say_live_and_starting() -> None:
    run = Run(settings("127.0.0.1:1"))
    await run.wait(lambda: run.logged("starting"))
    assert await run.probe("livez") == (200, "ok\n")
    assert await run.probe("readyz") == (503, "starting: waiting for brokers and topics\n")
    await run.stop()
    assert run.logged("stopped")
    assert not run.logged("started")


async def test_started_is_logged_when_the_group_is_joined_and_not_before() -> None:
    with EmbeddedBroker() as broker:
        servers = broker.start()
        for topic in ("texts", "embeddings", "embeddings.dead-letter"):
            broker.create_topic(topic, 1)
        await asyncio.to_thread(produce, servers)
        refused = Run(settings(servers))
        with pytest.raises(StartError, match="already holds 1 records"):
            await refused.task
        assert refused.logged("starting")
        assert not refused.logged("started")
        new_protocol = '{"group.protocol": "consumer"}'
        run = Run(settings(servers, WORKER_KAFKA__START_FROM="latest", WORKER_KAFKA__PROPERTIES=new_protocol))
        await run.wait(lambda: run.logged("started") or run.task.done())
        assert run.logged("started")[0]["status_port"] == run.logged("starting")[0]["status_port"]
        await run.stop()


def produce(servers: str) -> None:
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    producer.produce("texts", b"x")
    assert producer.flush(SECONDS) == 0


@pytest.mark.parametrize(
    ("drain", "told"),
    [(Drain.LEAVE, "jobs that run are left to the next worker"), (Drain.WAIT, "finishing what is in")],
)
def test_a_first_signal_tells_what_becomes_of_the_jobs_that_run(drain: Drain, told: str) -> None:
    stream, stop = io.StringIO(), asyncio.Event()
    on_signal(stop, open_log("info", json_lines=True, stream=stream), drain)
    assert stop.is_set()
    assert told in stream.getvalue()
