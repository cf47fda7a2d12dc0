"""A whole worker on fakes in virtual time."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

import pytest

from tests.fakes.api import FakeApi
from tests.fakes.broker import Connection, Decided, FakeBroker, FakeSource
from tests.fakes.codec import JsonCodec
from tests.fakes.observer import RememberingObserver
from tests.fakes.virtual_time import VirtualClock, run
from worker.app import Worker
from worker.assembly import Ports
from worker.core.ledger import Ledger, Place
from worker.core.ledger_codec import decode
from worker.model import Completed, Credits, EmbedRequest, JobState, Position, Record, TopicPartition
from worker.settings import Delivery, Settings, StartFrom, load

INPUT, OUTPUT, DEAD = "texts", "embeddings", "embeddings.dead-letter"

Answer = TypeVar("Answer")


class Client:
    """The API as one process calls it. What it has sent takes effect whatever becomes of the process, and a dead process gets no
    answer."""

    def __init__(self, api: FakeApi, connection: Connection, sent: "set[asyncio.Task[Any]]") -> None:
        self._api = api
        self._connection = connection
        self._sent = sent

    async def submit(self, request: EmbedRequest) -> str:
        return await self._call(self._api.submit(request))

    async def status(self, request_id: str) -> JobState:
        return await self._call(self._api.status(request_id))

    async def result(self, request_id: str) -> Completed | JobState:
        return await self._call(self._api.result(request_id))

    async def credits(self) -> Credits:
        return await self._call(self._api.credits())

    async def close(self) -> None:
        await self._api.close()

    async def _call(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            await self._connection.gate()
        except BaseException:
            call.close()
            raise
        sent = asyncio.create_task(call)
        self._sent.add(sent)
        try:
            await asyncio.wait({sent})
        except asyncio.CancelledError:
            if self._connection.alive:
                sent.cancel()
            raise
        await self._connection.gate()
        return sent.result()


class Process(NamedTuple):
    """One worker, and what surrounds it."""

    worker: Worker
    source: FakeSource
    stop: asyncio.Event
    task: "asyncio.Task[None]"


class House:
    """A broker, an API, and any number of workers of one group."""

    def __init__(self, partitions: int, delivery: Delivery, **environment: str) -> None:
        self.broker = FakeBroker({INPUT: partitions, OUTPUT: partitions, DEAD: 1})
        self.decided: list[Decided] = []
        self.broker.watchers.append(self.decided.append)
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.codec = JsonCodec()
        self.observer = RememberingObserver()
        self.environment = {
            "WORKER_PACE__REQUESTS_PER_MINUTE": "60000",
            "WORKER_GUARANTEES__DELIVERY": delivery.value,
            **environment,
        }
        self.settings: Settings = load(self.environment)
        self.workers: list[Process] = []
        self._sent: set[asyncio.Task[Any]] = set()

    def produce(self, text: str | None, key: str | None = None, **fields: object) -> Record:
        value = None if text is None else json.dumps({"text": text, **fields}).encode()
        return self.broker.publish(INPUT, key.encode() if key else None, value)

    def start(self, until: Mapping[TopicPartition, int] | None = None, **changed: str) -> Worker:
        """Start a worker; `changed`: what its environment has in place of the others'."""
        settings = load({**self.environment, **changed})
        source = self.broker.source(
            settings.kafka.group_id,
            [INPUT],
            start_from=StartFrom.EARLIEST,
            on_out_of_range=settings.kafka.on_out_of_range,
        )
        exactly_once = settings.guarantees.delivery is Delivery.EXACTLY_ONCE
        sink = (
            self.broker.transactional_sink(source)
            if exactly_once
            else self.broker.sink(source.commit, source.connection)
        )
        ports = Ports(
            source,
            sink,
            self.codec,
            Client(self.api, source.connection, self._sent),
            self.clock,
            self.observer,
            len(self.broker.partitions([INPUT])),
        )
        worker, stop = Worker(settings, ports, lambda: 0.5), asyncio.Event()
        self.workers.append(Process(worker, source, stop, asyncio.create_task(worker.run(stop, until))))
        return worker

    async def stop(self) -> None:
        """Stop all workers as SIGTERM does."""
        for process in self.workers:
            process.stop.set()
        await asyncio.gather(*(process.task for process in self.workers))
        self.workers.clear()

    async def stop_one(self, worker: Worker) -> float:
        """Stop one worker as SIGTERM does; returns the virtual seconds that it took."""
        process, began = self._forget(worker), self.clock.monotonic()
        process.stop.set()
        await process.task
        return self.clock.monotonic() - began

    async def kill(self, worker: Worker, *, unnoticed: float = 0.0) -> None:
        """`kill -9`: nothing more is heard of the process, and what it has sent takes effect. The group notices `unnoticed`
        seconds later, and this returns. Not while the process hands partitions back: the simulation can do that."""
        process = self._forget(worker)
        process.source.connection.cut()
        worker._parts.partitions._owned.clear()  # nothing more is taken up
        while left := [task for task in (process.task, *tasks_of(worker)) if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.sleep(unnoticed)
        await self.broker.kill(process.source)

    async def crash(self, worker: Worker, error: type[Exception]) -> None:
        """Wait until the worker has ended by a bug."""
        process = self._forget(worker)
        with pytest.raises(error):
            await process.task

    def _forget(self, worker: Worker) -> Process:
        (process,) = (process for process in self.workers if process.worker is worker)
        self.workers.remove(process)
        return process

    async def close(self) -> None:
        """Whatever is left."""
        await self.stop()
        await asyncio.gather(*self._sent, return_exceptions=True)
        await self.broker.close()

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

    def committed(self, partition: int = 0) -> Position | None:
        """What is committed, its marker being there or not."""
        return self.broker.latest(self.settings.kafka.group_id, TopicPartition(INPUT, partition))

    def commit_by_hand(self, position: Position, partition: int = 0) -> None:
        """What an operator, or another program, commits while no worker runs."""
        self.broker.committed(self.settings.kafka.group_id)[TopicPartition(INPUT, partition)] = position

    def ledger(self, partition: int = 0) -> Ledger:
        """The committed ledger of an input partition."""
        found = self.committed(partition)
        assert found is not None
        place = Place(self.broker.cluster, self.broker.topic_id(INPUT), partition)
        ledger = decode(found.metadata, place, found.offset)
        assert isinstance(ledger, Ledger), ledger
        return ledger

    def recorded(self) -> set[str]:
        """The request_ids in the committed ledgers."""
        numbers = [where.partition for where in self.broker.partitions([INPUT])]
        ledgers = [self.ledger(number) for number in numbers if self.committed(number)]
        return {entry.mark.request_id for ledger in ledgers for entry in ledger.entries if entry.mark.request_id}

    def lag(self) -> int:
        """Records at or above the committed offset."""
        committed = self.broker.committed(self.settings.kafka.group_id)
        return sum(
            self.broker.log(where).end - (committed[where].offset if where in committed else 0)
            for where in self.broker.partitions([INPUT])
        )


def tasks_of(worker: Worker) -> "list[asyncio.Task[Any]]":
    """Those that run something of a worker."""
    parts = {id(part) for part in vars(worker._parts).values()}
    return [task for task in asyncio.all_tasks() if id(self_of(task)) in parts]


def self_of(task: "asyncio.Task[Any]") -> object:
    """Whose method the task runs."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return frame and frame.f_locals.get("self")


def headers_of(record: Record) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in record.headers}


def in_house(
    test: Callable[[House], Awaitable[None]],
    partitions: int = 3,
    delivery: Delivery = Delivery.EXACTLY_ONCE,
    **environment: str,
) -> None:
    """Run a test in virtual time, in at most a virtual week; whatever workers are left are stopped."""

    async def main() -> None:
        house = House(partitions, delivery, **environment)
        try:
            async with asyncio.timeout(7 * 86400):
                await test(house)
        finally:
            await house.close()

    run(main())


def copies(house: House, *topics: str) -> Counter[bytes | None]:
    """How often each key is on the topics that outcomes go to."""
    return Counter(record.key for topic in topics or (OUTPUT, DEAD) for record in house.broker.records(topic))


def ends_of_input(house: House) -> dict[TopicPartition, int]:
    return {where: house.broker.log(where).end for where in house.broker.partitions([INPUT])}
