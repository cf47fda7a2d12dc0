"""Consume: take up the records of owned partitions, as many at once as the limits allow, and no others."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from worker.core.admission import may_start, pauses
from worker.core.partitions import Partition, Partitions
from worker.gate.gate import Gate
from worker.gate.in_work import InWork
from worker.model import Assignment, Record, TopicPartition
from worker.notices import Assigned, Dropped
from worker.ports import Clock, Observer, Source
from worker.settings.sections import Drain, LimitsSettings, Ordering

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
        clock: Clock,
        observer: Observer,
        *,
        journey: Callable[[Record], Awaitable[None]],
        is_finished: Callable[[Record], bool],
        is_decided: Callable[[Record], bool],
        commit_now: Callable[[], Awaitable[bool]],
        commit_first: Callable[[], None],
        share: Callable[[int], float],
        ordering: Ordering,
        drain: Drain,
    ) -> None:
        self._source = source
        self._partitions = partitions
        self._gate = gate
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._journey = journey
        self._is_finished = is_finished
        self._is_decided = is_decided
        self._commit_now = commit_now
        self._commit_first = commit_first
        self._share = share
        self._ordered = ordering is Ordering.KEY
        self._waits_for_jobs = drain is Drain.WAIT
        self._in_work = InWork()
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

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions go: take up nothing more, let what is in flight be answered if that is soon, commit, drop the rest: it is in
        the ledger. After a drain nothing is waited for again: its time is up."""
        leaving = self._partitions.numbers(partitions)
        self._close(partitions)
        try:
            if not self._drained:
                await self._settle(SETTLE, partitions)
            self._hand_over(leaving)
            await self._commit_now()
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
        await self._settle(seconds, everything)
        self._drained = True
        self._hand_over(everything)

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

    def admit_another(self, stuck: int | None = None) -> None:
        """Take up one more record beyond the limit of records in work (not of its partition), where all of those (if they are not
        more than `stuck`; None: all) have failed or been refused: another one may show that it is their own fault."""
        limit = self._partitions.stuck_limit
        ready = [one for one in self._partitions.values() if self._open and may_start(one, self._limits, limit)]
        if ready and not self._in_work.one_works_alone and (stuck is None or len(self._in_work) <= stuck):
            partition = min(ready, key=lambda partition: partition.in_flight)
            self._start(partition, partition.backlog.popleft())

    def suspect_survived(self) -> None:
        """What was taken up alone has been decoded: go on."""
        self._in_work.not_alone_any_more()
        self._take_up()

    def _close(self, partitions: Collection[TopicPartition]) -> None:
        """Start nothing more there, and no POST. Who has no job yet is left to the next owner, who can take it up without paying
        for anything again."""
        for where, partition in self._partitions.items():
            if where in partitions:
                partition.closing = True
                self._bytes -= partition.discard_backlog()
        self._in_work.cancel(self._can_be_left)
        self._regulate()

    def _can_be_left(self, record: Record) -> bool:
        partition = self._partitions.of(record)
        if partition is None or not partition.closing or record.offset in partition.posting or self._is_decided(record):
            return False
        mark = partition.mark(record.offset)
        return mark.request_id is None or mark.intent  # an intent is withdrawn: its POST will not start

    async def _settle(self, seconds: float, partitions: Collection[TopicPartition]) -> None:
        """Wait until no POST of these partitions is under way and, where jobs are waited for, nothing at all; for at most so many
        seconds."""
        await self._in_work.wait_while(lambda: self._is_busy(partitions), seconds)

    def _is_busy(self, partitions: Collection[TopicPartition]) -> bool:
        if self._waits_for_jobs:
            return self._in_work.any_of(partitions)
        posting = any(partition.posting for where, partition in self._partitions.items() if where in partitions)
        return posting or self._in_work.any_of(partitions, leaving=True)  # those withdraw what they intended

    def _hand_over(self, numbers: Mapping[TopicPartition, int]) -> None:
        now, crashed = self._clock.boottime(), self.crashed.done()
        for where, partition in self._partitions.items():
            if partition.number == numbers.get(where) and not partition.handed_over and not partition.refused:
                partition.hand_over(now, crashed=crashed)

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
        ready = [partition for partition in suspects or self._partitions.values() if self._startable(partition)]
        ready.sort(key=lambda partition: partition.in_flight)
        while room > 0 and ready:
            for partition in ready[:room]:
                if self._startable(partition):
                    self._start(partition, partition.backlog.popleft())
                    self._skip_finished(partition)
                    room -= 1
            ready = [partition for partition in ready if self._startable(partition)]
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
        # while halted one record is enough, it is the probe; but jobs of earlier owners run and are paid
        return not self._gate.halted or not self._in_work or partition.next_is_inherited or partition.next_is_suspect

    def _start(self, partition: Partition, record: Record) -> None:
        partition.forget(partition.offsets.started(record.offset))
        partition.order.enter(record.offset, record.key if self._ordered else None)
        alone = partition.suspect(record.offset)
        self._in_work.start(record, self._journey(record), self._ended, alone=alone)

    def _ended(self, record: Record) -> None:
        self._bytes -= record.size
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
        self._gate.set_share(self._share(len(self._partitions)))
        self._take_up()
