"""Partitions that go: what is left at once, what is waited for, and the last word of their owner."""

from collections.abc import Callable, Collection, Mapping

from worker.core.partitions import Partitions
from worker.gate.in_work import InWork
from worker.model import Record, TopicPartition


class Leaving:
    """`is_decided`: whether a record's outcome waits to be committed; `waits_for_jobs`: jobs that run are waited for."""

    def __init__(
        self,
        partitions: Partitions,
        in_work: InWork,
        is_decided: Callable[[Record], bool],
        *,
        waits_for_jobs: bool,
    ) -> None:
        self._partitions = partitions
        self._in_work = in_work
        self._is_decided = is_decided
        self._waits_for_jobs = waits_for_jobs

    def close(self, partitions: Collection[TopicPartition]) -> int:
        """Start nothing more there, and no POST. Who has no job yet is left to the next owner, who can take it up without paying
        for anything again. Returns the bytes of the records that were not taken up and are forgotten."""
        size = 0
        for where, partition in self._partitions.items():
            if where in partitions:
                partition.closing = True
                size += partition.discard_backlog()
        self._in_work.cancel(self._can_be_left)
        return size

    async def settle(self, seconds: float, partitions: Collection[TopicPartition]) -> None:
        """Wait until no POST of these partitions is under way and, where jobs are waited for, nothing at all; for at most so many
        seconds."""
        await self._in_work.wait_while(lambda: self._is_busy(partitions), seconds)

    def hand_over(self, numbers: Mapping[TopicPartition, int], now: float) -> None:
        """The last word on these assignments. `now` by the lease's clock."""
        crashed = self._in_work.crashed.done()
        for where, partition in self._partitions.items():
            if partition.number == numbers.get(where) and not partition.handed_over and not partition.refused:
                partition.hand_over(now, crashed=crashed)

    def _can_be_left(self, record: Record) -> bool:
        partition = self._partitions.of(record)
        if partition is None or not partition.closing or record.offset in partition.posting or self._is_decided(record):
            return False
        mark = partition.mark(record.offset)
        return mark.request_id is None or mark.intent  # an intent is withdrawn: its POST will not start

    def _is_busy(self, partitions: Collection[TopicPartition]) -> bool:
        if self._waits_for_jobs:
            return self._in_work.any_of(partitions)
        posting = any(partition.posting for where, partition in self._partitions.items() if where in partitions)
        return posting or self._in_work.any_of(partitions, leaving=True)  # those withdraw what they intended
