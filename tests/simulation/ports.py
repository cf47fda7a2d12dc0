"""The ports that one simulated process works with: the fake broker and the fake API live in the world, and everything between
them and the process crosses a border.

A call of the process becomes a task of the world, so that what was sent goes on when the process is frozen or killed; the answer
waits in the process's queue until it runs again. In the other direction the group's words and the records wait there in order.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from random import Random
from typing import Any, Never, TypeVar

from tests.fakes.kafka.source import FakeSource
from tests.simulation.commit_checks import CommitChecks
from tests.simulation.scenario import EPOCH
from tests.simulation.scheduler import Scheduler, SimulatedProcess
from tests.simulation.tenancy import Tenancy
from worker.errors import MetadataTooLarge
from worker.model import Assignment, Batch, Membership, Position, Record, TopicPartition
from worker.notices import Notice
from worker.ports import Listener, Sink

Answer = TypeVar("Answer")


class SimulatedClock:
    """The port `Clock` of one machine. `step` tells how far its wall clock is off; `jitter`: most seconds a sleep is late."""

    def __init__(self, loop: Scheduler, random: Random, jitter: float, step: Callable[[], float]) -> None:
        self._loop = loop
        self._random = random
        self._jitter = jitter
        self._step = step

    def monotonic(self) -> float:
        """See the port."""
        return self._loop.time()

    def boottime(self) -> float:
        """See the port."""
        return self._loop.time()

    def epoch(self) -> float:
        """See the port."""
        return EPOCH + self._loop.time() + self._step()

    async def sleep(self, seconds: float) -> None:
        """See the port."""
        await asyncio.sleep(seconds + self._jitter * self._random.random() if self._jitter else seconds)


class Border:
    """Between one process and the world."""

    def __init__(self, loop: Scheduler, process: SimulatedProcess, random: Random) -> None:
        self._loop = loop
        self._process = process
        self._random = random

    async def call(self, work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The process asks the world for something. Cancelled, it only stops waiting."""
        answer: asyncio.Future[Answer] = self._loop.create_future()

        async def asked() -> None:
            try:
                result = await work()
            except Exception as error:  # noqa: BLE001 - it belongs to the process
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        self._loop.create_task(asked(), context=self._loop.world.context.copy())
        return await answer

    def post(self, callback: Callable[[], object]) -> None:
        """The world tells the process something."""
        self._loop.call_soon(callback, context=self._process.context.copy())

    async def pause(self) -> None:
        """Now and then a call takes a moment before it is even begun."""
        if self._random.random() < 0.3:
            await asyncio.sleep(self._random.random() * 0.05)


class Inbox:
    """The `Listener` that the broker knows: hands everything to the process, in order."""

    def __init__(self, border: Border, inner: Listener, tenancy: Tenancy, loop: Scheduler) -> None:
        self._border = border
        self._inner = inner
        self._tenancy = tenancy
        self._loop = loop

    def assigned(self, assignments: Mapping[TopicPartition, Assignment]) -> None:
        """See the port."""
        self._tenancy.assigned(tuple(assignments))
        self._border.post(lambda: self._inner.assigned(assignments))

    def arrived(self, records: Sequence[Record]) -> None:
        """See the port."""
        self._border.post(lambda: self._inner.arrived(records))

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """See the port."""
        gone = tuple(partitions)
        self._tenancy.lost(gone)
        self._border.post(lambda: self._inner.lost(gone))

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """See the port. When the client loses its patience, the process hears of that too."""
        gone = tuple(partitions)
        self._tenancy.revoking(gone)
        done: asyncio.Future[None] = self._loop.create_future()
        begun: list[asyncio.Task[None]] = []

        async def revoke() -> None:
            await self._inner.revoked(gone)
            self._tenancy.revoked(gone)
            if not done.done():
                done.set_result(None)

        self._border.post(lambda: begun.append(self._loop.create_task(revoke())))
        try:
            await done
        except asyncio.CancelledError:
            self._tenancy.cut_short(gone)
            self._border.post(lambda: begun[0].cancel())  # noqa: PLW0108 - it has not begun yet
            raise


class SimulatedSource:
    """The port `Source` of one process."""

    def __init__(self, inner: FakeSource, border: Border, tenancy: Tenancy, loop: Scheduler) -> None:
        self._inner = inner
        self._border = border
        self._tenancy = tenancy
        self._loop = loop

    async def start(self, listener: Listener) -> None:
        """See the port."""
        inbox = Inbox(self._border, listener, self._tenancy, self._loop)
        await self._border.call(lambda: self._inner.start(inbox))

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """See the port."""
        self._inner.pause(partitions)

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """See the port."""
        self._inner.resume(partitions)

    async def snapshot(self) -> Membership:
        """See the port."""
        await self._border.pause()
        return await self._border.call(self._inner.snapshot)

    async def commit(self, positions: Mapping[TopicPartition, Position], membership: Membership) -> None:
        """See the port."""
        await self._border.call(lambda: self._inner.commit(positions, membership))

    async def positions(self) -> Mapping[TopicPartition, int]:
        """See the port."""
        return await self._border.call(self._inner.positions)

    async def recall(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """See the port."""
        await self._border.pause()
        return await self._border.call(lambda: self._inner.recall(partitions))

    async def committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """See the port."""
        return await self._border.call(lambda: self._inner.committed(partitions))

    def stalled(self) -> float:
        """See the port."""
        return 0.0

    def waiting(self) -> Sequence[str]:
        """See the port."""
        return self._inner.waiting() if hasattr(self._inner, "waiting") else ()

    async def wait_failed(self) -> Never:
        """See the port."""
        await self._inner.wait_failed()

    async def close(self) -> None:
        """See the port."""
        await self._border.pause()
        await self._border.call(self._inner.close)


class SimulatedSink:
    """The port `Sink` of one process. `in_hand`: the batch that it was given last, and when; `checks` hears of each,
    and of ledgers that are refused for their size."""

    def __init__(
        self, inner: Sink, border: Border, loop: Scheduler, process: SimulatedProcess, checks: CommitChecks
    ) -> None:
        self._inner = inner
        self._border = border
        self._loop = loop
        self._process = process
        self._checks = checks
        self.in_hand: tuple[float, Batch] | None = None

    async def start(self) -> None:
        """See the port."""
        await self._border.call(self._inner.start)

    async def commit(self, batch: Batch) -> None:
        """See the port."""
        asked_at = self._loop.time()
        self._checks.asked(self._process, batch)

        async def commit() -> None:
            self.in_hand = (asked_at, batch)
            try:
                await self._inner.commit(batch)
            except MetadataTooLarge:
                self._checks.metadata_refused(self._process)
                raise

        await self._border.call(commit)

    async def settle(self) -> None:
        """See the port."""
        await self._border.pause()
        await self._border.call(self._inner.settle)

    async def close(self) -> None:
        """See the port."""
        await self._border.call(self._inner.close)


class SimulatedObserver:
    """The port `Observer`."""

    def __init__(self, hear: Callable[[Notice], None]) -> None:
        self._hear = hear

    def notice(self, notice: Notice) -> None:
        """See the port."""
        self._hear(notice)
