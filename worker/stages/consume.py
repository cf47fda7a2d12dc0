"""Consume: take up the records of owned partitions, as many at once as the limits allow, and no others."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from worker.core.admission import Stuck, may_help, may_start, pauses
from worker.core.partition import Partition
from worker.core.partitions import Partitions
from worker.gate.gate import Gate
from worker.gate.in_work import InWork
from worker.gate.leaving import Leaving
from worker.gate.trials import Trials
from worker.model import Assignment, Record, TopicPartition
from worker.notices import Assigned, Dropped
from worker.ports import Clock, Observer, Source
from worker.settings.guarantees import Drain, Ordering
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
        trials: Trials,
        limits: LimitsSettings,
        clock: Clock,
        observer: Observer,
        *,
        journey: Callable[[Record], Awaitable[None]],
        is_finished: Callable[[Record], bool],
        is_decided: Callable[[Record], bool],
        commit_last: Callable[[Mapping[TopicPartition, int]], Awaitable[bool]],
        commit_first: Callable[[], None],
        owns: Callable[[int], None],
        left: Callable[[Record], None],
        ordering: Ordering,
        drain: Drain,
    ) -> None:
        self._source = source
        self._partitions = partitions
        self._gate = gate
        self._trials = trials
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._journey = journey
        self._is_finished = is_finished
        self._commit_last = commit_last
        self._commit_first = commit_first
        self._owns = owns
        self._left = left
        self._ordered = ordering is Ordering.KEY
        self._in_work = InWork()
        self._leaving = Leaving(partitions, self._in_work, is_decided, waits_for_jobs=drain is Drain.WAIT)
        self.look_again = self._in_work.look_again  # for who has had an answer to a POST
        self._bytes = 0
        self._open = True
        self._drained = False

    @property
    def in_flight(self) -> int:
        """Records in work."""
        return len(self._in_work)

    @property
    def crashed(self) -> "asyncio.Future[None]":
        """Raises the bug that a record has met."""
        return self._in_work.crashed

    @property
    def idle(self) -> bool:
        """Nothing is in work and nothing waits to be taken up."""
        return not self._in_work and not any(partition.backlog for partition in self._partitions.values())

    def assigned(self, assignments: Mapping[TopicPartition, Assignment]) -> None:
        """Partitions came: fetch them, and commit first that they have changed hands."""
        found = self._partitions.assign(assignments, self._clock.boottime())
        self._observer.notice(Assigned(tuple(assignments)))
        for taken in found:
            self._observer.notice(taken.notice)
        self._trials.inherit(taken.ledger.exceeded for taken in found)
        self._commit_first()
        self._ownership_changed()

    def arrived(self, records: Sequence[Record]) -> None:
        """Records came: take them up, or keep them until there is room."""
        for record in records:
            partition = self._partitions.of(record)
            if partition:
                partition.backlog.append(record)
                self._bytes += record.size
        self._take_up()

    def revoked(self, partitions: Collection[TopicPartition]) -> Coroutine[Any, Any, None]:
        """Partitions go: take up nothing more, let what is in flight be answered if that is soon, commit, drop the rest: it is in
        the ledger. After a drain nothing is waited for again: its time is up."""
        leaving = self._partitions.numbers(partitions)
        self._close(partitions)
        return self._leave(leaving, partitions)

    async def _leave(self, leaving: Mapping[TopicPartition, int], partitions: Collection[TopicPartition]) -> None:
        try:
            if not self._drained:
                await self._leaving.settle(SETTLE, partitions)
            self._leaving.hand_over(leaving, self._clock.boottime())
            await self._commit_last(leaving)
        finally:
            self._drop(leaving, lost=False)

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions have gone: drop them."""
        self._drop(self._partitions.numbers(partitions), lost=True)

    async def drain(self, seconds: float) -> None:
        """Take up nothing more, let what is in flight be answered (or end, if the setting says so), for at most so many seconds.
        A commit has to follow."""
        everything = self._partitions.numbers()
        self._open = False
        self._close(everything)
        await self._leaving.settle(seconds, everything)
        self._drained = True
        self._leaving.hand_over(everything, self._clock.boottime())

    async def abandon(self) -> None:
        """Drop everything that is still owned or in work: the worker ends, whatever the source has said."""
        self._drop(self._partitions.numbers(), lost=True)
        await self._in_work.ended()

    def crash(self, error: Exception) -> None:
        """The worker ends for a bug: nothing is handed over as if all were well."""
        self._in_work.crash(error)

    def admit_more(self) -> None:
        """Take up what there is room for now. To be called when the gate has halted or healed."""
        self._take_up()

    def admit_another(self, stuck: Stuck) -> None:
        """Take up one more record beyond the limit of records in work, where all of those are stuck: it may show that that is
        their own fault. Of those that wait to be tried one is."""
        if stuck.records is not None and len(self._in_work) - self._trials.waiting > stuck.records:
            return
        if self._trials.take_waiting():
            return
        for partition in self._partitions.values():
            self._skip_finished(partition)
        ready = [one for one in self._partitions.values() if may_help(one, self._partitions, self._limits, stuck)]
        if self._open and ready and not self._in_work.one_works_alone:
            partition = min(ready, key=lambda partition: partition.in_flight)
            self._start(partition, partition.backlog.popleft())

    def suspect_survived(self) -> None:
        """What was taken up alone has been decoded: go on."""
        self._in_work.not_alone_any_more()
        self._take_up()

    def _close(self, partitions: Collection[TopicPartition]) -> None:
        self._bytes -= self._leaving.close(partitions)
        self._regulate()

    def _room(self) -> int:
        """How many more records may be in work."""
        if not self._open or self.crashed.done():
            return 0
        return min(self._limits.in_flight, self._gate.pace.in_flight_limit(REQUESTS_PER_JOB)) - len(self._in_work)

    def _take_up(self) -> None:
        """Start records, one partition after the other, so that none starves."""
        for partition in self._partitions.values():
            self._skip_finished(partition)
        room = self._room()
        suspects = [partition for partition in self._partitions.values() if partition.next_is_suspect]
        ready = suspects or [*self._partitions.values()]
        while room > 0 and (ready := [partition for partition in ready if self._startable(partition)]):
            ready.sort(key=lambda partition: partition.in_flight)
            for partition in ready[:room]:
                if self._startable(partition):
                    self._start(partition, partition.backlog.popleft())
                    self._skip_finished(partition)
                    room -= 1
        self._regulate()

    def _skip_finished(self, partition: Partition) -> None:
        """Records that Kafka delivers again and that the ledger knows to be finished."""
        backlog = partition.backlog
        while backlog and partition.settled and self._is_finished(backlog[0]):
            record = backlog.popleft()
            self._bytes -= record.size
            partition.forget(partition.offsets.passed(record.offset + 1))

    def _startable(self, partition: Partition) -> bool:
        if self._in_work.one_works_alone or not may_start(partition, self._limits, self._partitions.record_limit):
            return False
        if partition.next_is_inherited:
            return True  # jobs of earlier owners run and are paid
        if self._trials.exceeded:
            return self._trials.wants_one
        # while halted one record is enough, it is the probe
        return not self._gate.halted or not self._in_work or partition.next_is_suspect

    def _start(self, partition: Partition, record: Record) -> None:
        partition.forget(partition.offsets.started(record.offset))
        partition.order.enter(record.offset, record.key if self._ordered else None)
        self._trials.started(record, is_new=record.offset >= partition.inherited.end)
        alone = partition.suspect(record.offset)
        self._in_work.start(record, self._journey(record), self._ended, alone=alone)

    def _ended(self, record: Record) -> None:
        self._bytes -= record.size
        self._left(record)
        self._take_up()

    def _regulate(self) -> None:
        """Pause partitions that have enough in memory, resume those that need more."""
        pause, resume = pauses(self._partitions, self._limits, self._bytes, is_open=self._open)
        if pause:
            self._source.pause(pause)
        if resume:
            self._source.resume(resume)

    def _drop(self, numbers: Mapping[TopicPartition, int], *, lost: bool) -> None:
        dropped = self._partitions.drop(numbers)
        for partition in dropped.values():
            self._bytes -= partition.discard_backlog()
        stale = self._in_work.cancel(lambda record: self._partitions.of(record) is None)
        if dropped or stale:
            self._observer.notice(Dropped(tuple(dropped), stale, lost))
            self._ownership_changed()

    def _ownership_changed(self) -> None:
        self._owns(len(self._partitions))
        self._take_up()
