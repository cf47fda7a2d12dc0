"""Commit: outcomes that are ready go out in one batch with the offsets they finish."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from worker.core.partitions import Partitions
from worker.errors import CommitAborted, MessageRefused
from worker.model import Batch, Message, Outcome, Position, Record, TopicPartition
from worker.notices import CommitFailed
from worker.ports import Clock, Observer, Sink, Source

BATCH_BYTES = 8_000_000
"""Most bytes of messages in one batch (rule 6 of the commit protocol)."""

LARGE_BYTES = 500_000
"""A message of this size or more is committed alone: should the broker refuse it, no other has been published for nothing."""

LONGEST_PAUSE = 5.0
"""Most seconds between two tries to commit."""


@dataclass(frozen=True, slots=True)
class Ready:
    """An outcome that waits to be committed, and who waits for it."""

    record: Record
    outcome: Outcome
    committed: "asyncio.Future[None]"


class Commit:
    """Collects outcomes; one batch at a time. `run` must be running."""

    def __init__(
        self, source: Source, sink: Sink, partitions: Partitions, clock: Clock, observer: Observer, interval: float
    ) -> None:
        self._source = source
        self._sink = sink
        self._partitions = partitions
        self._clock = clock
        self._observer = observer
        self._interval = interval
        self._ready: list[Ready] = []
        self._some = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, record: Record, outcome: Outcome) -> None:
        """Wait until the outcome is committed. Raises MessageRefused where the broker will never take its message."""
        committed = asyncio.get_running_loop().create_future()
        self._ready.append(Ready(record, outcome, committed))
        self._some.set()
        await committed

    async def run(self) -> None:
        """Commit whenever there is something to commit; never returns."""
        failures = 0
        while True:
            await self._some.wait()
            await self._clock.sleep(min(self._interval * 2**failures, LONGEST_PAUSE))
            failures = 0 if await self.now() else min(failures + 1, 10)

    async def now(self) -> bool:
        """Commit what is ready. Returns False if that failed and is to be tried again."""
        async with self._one_at_a_time:
            while self._ready:
                try:
                    await self._one_batch()
                except CommitAborted as error:
                    self._observer.notice(CommitFailed(str(error)))
                    return False
            self._some.clear()
            return True

    async def _one_batch(self) -> None:
        membership = await self._source.snapshot()
        self._forget_old(membership.owned)
        chosen = self._chosen()
        batch = Batch(
            [ready.outcome.message for ready in chosen if ready.outcome.message],
            self._positions(chosen),
            membership,
        )
        try:
            await self._sink.commit(batch)
        except MessageRefused as error:
            self._refuse(chosen, batch, error)
            return
        self._ready = self._ready[len(chosen) :]
        for ready in chosen:
            partition = self._partitions.of(ready.record)
            if partition:  # it may have been lost while the batch was under way
                partition.offsets.finished(ready.record.offset)
                partition.pending.pop(ready.record.offset, None)
            if not ready.committed.done():
                ready.committed.set_result(None)

    def _forget_old(self, owned: Mapping[TopicPartition, int]) -> None:
        """Drop outcomes of assignments that are over: their records belong to somebody else now."""
        self._ready = [
            ready
            for ready in self._ready
            if self._partitions.of(ready.record) and owned.get(ready.record.source) == ready.record.assignment
        ]

    def _chosen(self) -> list[Ready]:
        """The ready outcomes, oldest first, that go into one batch: as many as fit, at least one; a large one alone."""
        size = 0
        for count, ready in enumerate(self._ready):
            added = message_bytes(ready.outcome.message)
            size += added
            if added >= LARGE_BYTES and not count:
                return [ready]
            if added >= LARGE_BYTES or size > BATCH_BYTES:
                return self._ready[:count]
        return list(self._ready)

    def _positions(self, chosen: list[Ready]) -> dict[TopicPartition, Position]:
        """For each partition touched: the offset below which all is finished once this batch stands."""
        finished: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        for ready in chosen:
            finished[ready.record.source].add(ready.record.offset)
        return {
            where: Position(partition.offsets.watermark_after(finished[where]))
            for where, partition in self._partitions.items()
            if where in finished
        }

    def _refuse(self, chosen: list[Ready], batch: Batch, error: MessageRefused) -> None:
        """Take the refused messages out and tell those who wait for them; the others stay ready."""
        refused = {id(batch.messages[index]) for index in error.indexes}
        for ready in chosen:
            if id(ready.outcome.message) in refused and not ready.committed.done():
                ready.committed.set_exception(MessageRefused(str(error), ()))
        self._ready = [ready for ready in self._ready if id(ready.outcome.message) not in refused]


def message_bytes(message: Message | None) -> int:
    """Bytes of key, value and headers."""
    if message is None:
        return 0
    headers = sum(len(name) + len(value or b"") for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers
