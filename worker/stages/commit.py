"""Commit: outcomes that are ready go out in one batch with the offsets they finish."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from worker.core.partitions import Partitions
from worker.errors import CommitAborted, MessageRefused
from worker.model import Batch, Message, Outcome, Position, Record, TopicPartition
from worker.notices import CommitFailed
from worker.ports import Clock, Observer, Sink, Source

BATCH_BYTES = 8_000_000
"""Most bytes of messages in one batch (rule 6 of the commit protocol)."""

LARGE_BYTES = 500_000
"""A message of this size or more is committed alone: should the broker refuse it, no other waits for the next batch."""

LONGEST_PAUSE = 5.0
"""Most seconds between two tries to commit."""


@dataclass(frozen=True, slots=True)
class Ready:
    """An outcome that waits to be committed, and who waits for it."""

    record: Record
    outcome: Outcome
    committed: "asyncio.Future[None]"


@dataclass(frozen=True, slots=True)
class Failing:
    """Commits fail: since when (by the monotonic clock), and how the last one did."""

    since: float
    detail: str


class Commit:
    """Collects outcomes; one batch at a time. `run` must be running.

    Without transactions a batch that fails may have been published in part. What is published is never published again: it
    moves from `_ready` to `_published`, and its position is committed before anything else goes out. So a group that takes no
    commits for hours costs a batch that is published and not committed, not one batch more with each try.
    """

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
        self._published: list[Ready] = []
        self._failing: Failing | None = None
        self._some = asyncio.Event()
        self._under_way: asyncio.Task[bool] | None = None
        self._closed = False

    @property
    def failing(self) -> Failing | None:
        """Set while outcomes wait that cannot be committed."""
        return self._failing

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
        """Commit what is ready. Returns False if that failed and is to be tried again, or after `close`.

        Who waits here may be cancelled; the batch under way goes on, as half of it may be published already.
        """
        under_way = self._under_way
        if under_way and not under_way.done() and await asyncio.shield(under_way):
            return True
        if self._closed:
            return False
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._commit_all())
        return await asyncio.shield(self._under_way)

    async def close(self) -> None:
        """Give up what is under way, and commit nothing more."""
        self._closed = True
        if self._under_way:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    async def _commit_all(self) -> bool:
        while self._ready or self._published:
            began = self._clock.monotonic()
            try:
                await self._one_batch()
            except CommitAborted as error:
                since = self._failing.since if self._failing else began
                self._failing = Failing(since, str(error))
                self._observer.notice(CommitFailed(str(error)))
                return False
        self._failing = None
        self._some.clear()
        return True

    async def _one_batch(self) -> None:
        membership = await self._source.snapshot()
        self._published = self._still_owned(self._published, membership.owned)
        self._ready = self._still_owned(self._ready, membership.owned)
        chosen = list(self._published) or self._chosen()
        if not chosen:
            return
        carried = [ready for ready in chosen if ready.outcome.message]
        messages = [ready.outcome.message for ready in carried if ready.outcome.message]
        try:
            await self._sink.commit(Batch(messages, self._positions(chosen), membership))
        except MessageRefused as error:
            self._set_aside(carried, error.published)
            self._refuse([carried[index] for index in error.indexes], str(error))
            return
        except CommitAborted as error:
            self._set_aside(carried, error.published)
            raise
        if messages:
            self._failing = None  # the oldest message is in every batch that has any: none is stuck
        self._stands(chosen)

    def _still_owned(self, waiting: Sequence[Ready], owned: Mapping[TopicPartition, int]) -> list[Ready]:
        """Without the outcomes of assignments that are over: their records belong to somebody else now."""
        return [
            ready
            for ready in waiting
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

    def _positions(self, chosen: Sequence[Ready]) -> dict[TopicPartition, Position]:
        """For each partition touched: the offset below which all is finished once this batch stands."""
        finished: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        for ready in chosen:
            finished[ready.record.source].add(ready.record.offset)
        return {
            where: Position(partition.offsets.watermark_after(finished[where]))
            for where, partition in self._partitions.items()
            if where in finished
        }

    def _stands(self, chosen: Sequence[Ready]) -> None:
        """The batch is committed: tell those who wait."""
        self._take_out(chosen)
        for ready in chosen:
            partition = self._partitions.of(ready.record)
            if partition:  # it may have been lost while the batch was under way
                partition.offsets.finished(ready.record.offset)
                partition.pending.pop(ready.record.offset, None)
            if not ready.committed.done():
                ready.committed.set_result(None)

    def _set_aside(self, carried: Sequence[Ready], published: Collection[int]) -> None:
        """The batch failed, but these of its messages are durable: only their positions are left to be committed."""
        durable = [carried[index] for index in sorted(published)]
        self._take_out(durable)
        self._published += [replace(ready, outcome=replace(ready.outcome, message=None)) for ready in durable]

    def _refuse(self, refused: Sequence[Ready], detail: str) -> None:
        """Take refused messages out and tell those who wait for them; the others stay."""
        self._take_out(refused)
        for ready in refused:
            if not ready.committed.done():
                ready.committed.set_exception(MessageRefused(detail, ()))

    def _take_out(self, gone: Sequence[Ready]) -> None:
        ids = {id(ready) for ready in gone}
        self._ready = [ready for ready in self._ready if id(ready) not in ids]
        self._published = [ready for ready in self._published if id(ready) not in ids]


def message_bytes(message: Message | None) -> int:
    """Bytes of key, value and headers."""
    if message is None:
        return 0
    headers = sum(len(name) + len(value or b"") for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers
