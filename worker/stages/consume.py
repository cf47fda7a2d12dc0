"""Consume: take up the records of owned partitions, as many at once as the limits allow, and no others."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from worker.core.partitions import Partition, Partitions
from worker.gate.gate import Gate
from worker.model import Assignment, Record, TopicPartition
from worker.notices import Assigned, Dropped
from worker.ports import Observer, Source
from worker.settings.sections import LimitsSettings

REQUESTS_PER_JOB = 4.0
"""Submit, two status calls and the result: what a job may need at most of the pace, as a rule."""

SETTLE = 3.0
"""Seconds that a partition which is being revoked may take to finish what is in flight."""


class Consume:
    """The `Listener` of the source. Starts one task per record; a partition over its limit is paused, never dropped."""

    def __init__(
        self,
        source: Source,
        partitions: Partitions,
        gate: Gate,
        limits: LimitsSettings,
        observer: Observer,
        journey: Callable[[Record], Awaitable[None]],
        commit_now: Callable[[], Awaitable[bool]],
        may_be_left: Callable[[Record], bool],
        share: Callable[[int], float],
    ) -> None:
        self._source = source
        self._partitions = partitions
        self._gate = gate
        self._limits = limits
        self._observer = observer
        self._journey = journey
        self._commit_now = commit_now
        self._may_be_left = may_be_left
        self._share = share
        self._tasks: dict[asyncio.Task[None], Record] = {}
        self._bytes = 0
        self._open = True
        self._ended_one = asyncio.Event()
        self.crashed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def in_flight(self) -> int:
        """Records in work."""
        return len(self._tasks)

    @property
    def idle(self) -> bool:
        """Nothing is in work and nothing waits to be taken up."""
        return not self._tasks and not any(partition.backlog for partition in self._partitions.values())

    def assigned(self, assignments: Mapping[TopicPartition, Assignment]) -> None:
        """Partitions came: fetch them."""
        self._partitions.assign(assignments)
        self._observer.notice(Assigned(tuple(assignments)))
        self._ownership_changed()

    def arrived(self, records: Sequence[Record]) -> None:
        """Records came: take them up, or keep them until there is room."""
        for record in records:
            partition = self._partitions.of(record)
            if partition:
                partition.backlog.append(record)
                self._bytes += record.size
        self._take_up()

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions go: take up nothing more, let what is in flight end if it ends soon, commit, drop the rest. After a
        drain nothing is waited for again: its time is up."""
        self._close(partitions)
        try:
            if self._open:
                await self._settle(SETTLE, partitions)
            await self._commit_now()
        finally:
            self._drop(partitions, lost=False)

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions have gone: drop them."""
        self._drop(partitions, lost=True)

    async def drain(self, seconds: float) -> None:
        """Take up nothing more and let what is in flight end, for at most so many seconds."""
        everything = [where for where, _ in self._partitions.items()]
        self._open = False
        self._close(everything)
        await self._settle(seconds, everything)

    async def abandon(self) -> None:
        """Drop everything that is still owned or in work: the worker ends, whatever the source has said."""
        self._drop([where for where, _ in self._partitions.items()], lost=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def admit_more(self) -> None:
        """Take up what there is room for now. To be called when the gate has halted or healed."""
        self._take_up()

    def admit_another(self) -> None:
        """Take up one more record beyond the limit of records in work (not of its partition): all that are in work have been
        refused alike, and another one may show that it is their own fault."""
        ready = [partition for partition in self._partitions.values() if self._open and self._startable(partition)]
        if ready:
            partition = min(ready, key=lambda partition: partition.in_flight)
            self._start(partition, partition.backlog.popleft())

    def _close(self, partitions: Collection[TopicPartition]) -> None:
        """Start nothing more there. What the next owner can take up without paying for anything again is left to it; while
        halted, all that is not submitted is, as it would wait in vain."""
        for where, partition in self._partitions.items():
            if where in partitions:
                partition.closing = True
                self._discard_backlog(partition)
        for task, record in self._tasks.items():
            leaving = self._partitions.of(record)
            if leaving is None or not leaving.closing or record.offset in leaving.posting | leaving.pending.keys():
                continue
            if self._gate.halted or self._may_be_left(record):
                task.cancel()
        self._regulate()

    async def _settle(self, seconds: float, partitions: Collection[TopicPartition]) -> None:
        """Wait until nothing of these partitions is in work, for at most so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while any(record.source in partitions for record in self._tasks.values()):
                    self._ended_one.clear()
                    await self._ended_one.wait()
        except TimeoutError:
            return

    def _room(self) -> int:
        """How many more records may be in work. While halted one is enough: it is the probe."""
        if not self._open:
            return 0
        most = (
            1 if self._gate.halted else min(self._limits.in_flight, self._gate.pace.in_flight_limit(REQUESTS_PER_JOB))
        )
        return most - len(self._tasks)

    def _take_up(self) -> None:
        """Start records, one partition after the other, so that none starves."""
        room = self._room()
        ready = [partition for partition in self._partitions.values() if self._startable(partition)]
        ready.sort(key=lambda partition: partition.in_flight)
        while room > 0 and ready:
            for partition in ready[:room]:
                self._start(partition, partition.backlog.popleft())
            room -= len(ready[:room])
            ready = [partition for partition in ready if self._startable(partition)]
        self._regulate()

    def _startable(self, partition: Partition) -> bool:
        return bool(
            partition.backlog
            and not partition.closing
            and partition.in_flight < self._limits.in_flight_per_partition
            and partition.offsets.span < self._limits.offset_span
        )

    def _start(self, partition: Partition, record: Record) -> None:
        partition.offsets.started(record.offset)
        task = asyncio.ensure_future(self._journey(record))
        self._tasks[task] = record
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        record = self._tasks.pop(task)
        self._bytes -= record.size
        if not task.cancelled() and task.exception() and not self.crashed.done():
            self.crashed.set_exception(task.exception())  # type: ignore[arg-type]
        self._ended_one.set()
        self._take_up()

    def _regulate(self) -> None:
        """Pause partitions that have enough in memory, resume those that need more; the gap between the two marks keeps a
        partition from being paused and resumed for every record, because a pause throws prefetched records away."""
        high = 2 * self._limits.in_flight_per_partition
        full = self._bytes > self._limits.bytes
        spare = self._bytes <= self._limits.bytes // 2
        pause, resume = [], []
        for where, partition in self._partitions.items():
            waiting = len(partition.backlog)
            if not partition.paused and (not self._open or partition.closing or waiting > high or full):
                partition.paused = True
                pause.append(where)
            elif partition.paused and self._open and not partition.closing and waiting <= high // 2 and spare:
                partition.paused = False
                resume.append(where)
        if pause:
            self._source.pause(pause)
        if resume:
            self._source.resume(resume)

    def _discard_backlog(self, partition: Partition) -> None:
        self._bytes -= sum(record.size for record in partition.backlog)
        partition.backlog.clear()

    def _drop(self, partitions: Collection[TopicPartition], *, lost: bool) -> None:
        dropped = self._partitions.drop(partitions)
        for partition in dropped.values():
            self._discard_backlog(partition)
        stale = [task for task, record in self._tasks.items() if self._partitions.of(record) is None]
        for task in stale:
            task.cancel()
        if dropped or stale:
            self._observer.notice(Dropped(tuple(dropped), len(stale), lost))
            self._ownership_changed()

    def _ownership_changed(self) -> None:
        self._gate.set_share(self._share(len(self._partitions)))
        self._take_up()
