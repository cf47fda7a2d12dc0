"""A whole worker on fakes in virtual time."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from tests.fakes.api import FakeApi
from tests.fakes.broker import FakeBroker, FakeSource
from tests.fakes.codec import JsonCodec
from tests.fakes.observer import RememberingObserver
from tests.fakes.virtual_time import VirtualClock, run
from worker.app import Ports, Worker
from worker.model import Record, TopicPartition
from worker.settings import Settings, StartFrom, load

INPUT, OUTPUT, DEAD = "texts", "embeddings", "embeddings.dead-letter"


class House:
    """A broker, an API, and any number of workers of one group."""

    def __init__(self, partitions: int = 3, **environment: str) -> None:
        self.broker = FakeBroker({INPUT: partitions, OUTPUT: partitions, DEAD: 1})
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.observer = RememberingObserver()
        self.settings: Settings = load({"WORKER_PACE__REQUESTS_PER_MINUTE": "60000", **environment})
        self.workers: list[tuple[Worker, FakeSource, asyncio.Event, asyncio.Task[None]]] = []

    def produce(self, text: str | None, key: str | None = None, **fields: object) -> Record:
        value = None if text is None else json.dumps({"text": text, **fields}).encode()
        return self.broker.publish(INPUT, key.encode() if key else None, value)

    def start(self, until: Mapping[TopicPartition, int] | None = None) -> Worker:
        source = self.broker.source(self.settings.kafka.group_id, [INPUT], start_from=StartFrom.EARLIEST)
        partitions = len(self.broker.partitions([INPUT]))
        ports = Ports(
            source, self.broker.sink(source.commit), JsonCodec(), self.api, self.clock, self.observer, partitions
        )
        worker, stop = Worker(self.settings, ports, lambda: 0.5), asyncio.Event()
        self.workers.append((worker, source, stop, asyncio.create_task(worker.run(stop, until))))
        return worker

    async def stop(self) -> None:
        """Stop all workers as SIGTERM does."""
        for _, _, stop, _ in self.workers:
            stop.set()
        await asyncio.gather(*(task for *_, task in self.workers))
        self.workers.clear()

    async def until(self, condition: Callable[[], bool], seconds: float = 3600.0) -> float:
        """Wait for a condition; returns the virtual seconds that it took."""
        began = self.clock.monotonic()
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.05)
        return self.clock.monotonic() - began

    @property
    def ended(self) -> int:
        return len(self.broker.records(OUTPUT)) + len(self.broker.records(DEAD))

    def vectors(self) -> dict[str, dict[str, object]]:
        return {
            (record.key or b"").decode(): json.loads(record.value)
            for record in self.broker.records(OUTPUT)
            if record.value is not None
        }

    def reasons(self) -> Counter[str]:
        return Counter(headers_of(record)["dlq.reason"] for record in self.broker.records(DEAD))

    def lag(self) -> int:
        """Records at or above the committed offset."""
        committed = self.broker.committed(self.settings.kafka.group_id)
        return sum(
            self.broker.log(where).end - (committed[where].offset if where in committed else 0)
            for where in self.broker.partitions([INPUT])
        )


def headers_of(record: Record) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in record.headers}


def in_house(test: Callable[[House], Awaitable[None]], partitions: int = 3, **environment: str) -> None:
    """Run a test in virtual time, in at most a virtual week; whatever workers are left are stopped."""

    async def main() -> None:
        house = House(partitions, **environment)
        try:
            async with asyncio.timeout(7 * 86400):
                await test(house)
        finally:
            await house.stop()

    run(main())


def copies(house: House, *topics: str) -> Counter[bytes | None]:
    """How often each key is on the topics that outcomes go to."""
    return Counter(record.key for topic in topics or (OUTPUT, DEAD) for record in house.broker.records(topic))


def ends_of_input(house: House) -> dict[TopicPartition, int]:
    return {where: house.broker.log(where).end for where in house.broker.partitions([INPUT])}
