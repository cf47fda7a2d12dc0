"""Outcomes that wait to be committed: held in the order of their keys, then ready for the next batch."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from worker.core.batching import fitting, message_bytes
from worker.core.partition import Partition
from worker.core.partitions import Partitions
from worker.errors import MessageRefused
from worker.model import Outcome, OutcomeKind, Record, TopicPartition

SUPERSEDED = Outcome(OutcomeKind.SUPERSEDED, None)


@dataclass(frozen=True, slots=True)
class Ready:
    """An outcome that waits to be committed, and who waits for it."""

    record: Record
    outcome: Outcome
    committed: "asyncio.Future[Outcome]"


class Outbox:
    """What is decided and not committed.

    With transactions a batch stands as a whole or not at all. Without, one that fails may have been published in part. What is
    published is never published again: it moves from `_ready` to `_published`, and its position is committed before anything
    else goes out. So a group that takes no commits for hours costs a batch that is published and not committed, not one more
    with each try.
    """

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._waiting: dict[tuple[int, int], Ready] = {}
        self._ready: list[Ready] = []
        self._published: list[Ready] = []
        self._refused: dict[str, int] = {}

    async def put(self, record: Record, outcome: Outcome, tell: Callable[[], None]) -> Outcome:
        """Wait until the outcome is committed; returns what was committed in the end. Raises MessageRefused. `tell` is called
        when something is ready."""
        committed: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        partition = self._partitions.of(record)
        if partition is None:
            raise asyncio.CancelledError
        if outcome.kind is OutcomeKind.VECTOR and partition.order.is_superseded(record.offset):
            outcome = SUPERSEDED
        where = (record.assignment, record.offset)
        self._waiting[where] = Ready(record, outcome, committed)
        try:
            self._release(partition, record.offset, outcome)
            tell()
            return await committed
        finally:
            self._waiting.pop(where, None)

    def holds(self, record: Record) -> bool:
        """Whether the record's outcome is decided, and waits here."""
        return (record.assignment, record.offset) in self._waiting

    def supersede(self, record: Record) -> None:
        """A newer text of its key has come: vectors of older ones that have not left are not published."""
        partition = self._partitions.of(record)
        if partition is None:
            return
        for older in partition.order.supersede(record.offset):
            held = partition.order.held_outcome(older)
            if held and held.kind is OutcomeKind.VECTOR:
                self._release(partition, older, SUPERSEDED)

    def keep_owned(self, owned: Mapping[TopicPartition, int]) -> None:
        """Drop the outcomes of assignments that are over: their records belong to somebody else now."""
        self._published = [ready for ready in self._published if self._is_owned(ready, owned)]
        self._ready = [ready for ready in self._ready if self._is_owned(ready, owned)]

    def topics(self) -> Sequence[str]:
        """The topics that ready outcomes go to, in the order of the oldest of each."""
        return list(dict.fromkeys(topic for ready in self._ready if (topic := topic_of(ready))))

    def choose(self, topic: str | None) -> tuple[Sequence[Ready], bool]:
        """The outcomes of the next batch, oldest first, and whether others are ready besides. `topic`: only those that go there
        ("": those that go nowhere) and do not overtake an older one of their key; None: all."""
        ready = self._ready if topic is None else self._apart(topic)
        chosen = list(self._published) or ready[: fitting((ready.outcome.message for ready in ready), self._refused)]
        return chosen, len(self._published) + len(ready) > len(chosen)

    def stands(self, committed: Sequence[Ready]) -> None:
        """These are committed: tell those who wait."""
        self._take_out(committed)
        for ready in committed:
            partition = self._partitions.of(ready.record)
            if partition:  # it may have been lost while the batch was under way
                partition.offsets.finished(ready.record.offset)
                partition.order.committed(ready.record.offset)
                partition.forget((ready.record.offset,))
            if not ready.committed.done():
                ready.committed.set_result(ready.outcome)

    def set_aside(self, durable: Sequence[Ready]) -> None:
        """The batch failed, but these are published: only their positions are left to be committed."""
        self._take_out(durable)
        self._published += [replace(ready, outcome=replace(ready.outcome, message=None)) for ready in durable]

    def refuse(self, refused: Sequence[Ready], detail: str) -> None:
        """Take refused messages out and tell those who wait for them; the others stay, but for those of the same keys."""
        self._take_out(refused)
        for ready in refused:
            size = message_bytes(ready.outcome.message)
            self._refused[topic_of(ready)] = min(size, self._refused.get(topic_of(ready), size))
            self._hold_younger(ready)
            if not ready.committed.done():
                ready.committed.set_exception(MessageRefused(detail, ()))

    def _hold_younger(self, refused: Ready) -> None:
        """What is ready of its key and newer waits until the refused one has another outcome. Without transactions some may be
        published already."""
        partition = self._partitions.of(refused.record)
        key = partition.order.comes_back(refused.record.offset) if partition else None
        if partition is None or key is None:
            return
        younger = [
            ready
            for ready in self._ready
            if ready.record.source == refused.record.source
            and ready.record.key == key
            and ready.record.offset > refused.record.offset
        ]
        self._take_out(younger)
        for ready in younger:
            partition.order.comes_back(ready.record.offset)
            self._release(partition, ready.record.offset, ready.outcome)

    def _release(self, partition: Partition, offset: int, outcome: Outcome) -> None:
        """An outcome is there: whatever may leave now goes into the next batch."""
        for released in partition.order.ready(offset, outcome):
            waiting = self._waiting.get((partition.number, released.offset))
            if waiting:
                self._ready.append(replace(waiting, outcome=released.outcome))

    def _apart(self, topic: str) -> list[Ready]:
        """The outcomes for one topic, without those of a key that has an older one for another topic."""
        found = []
        others: set[tuple[TopicPartition, bytes | None]] = set()
        for ready in self._ready:
            key = (ready.record.source, ready.record.key)
            if topic_of(ready) != topic:
                others.add(key)
            elif ready.record.key is None or key not in others:
                found.append(ready)
        return found

    def _is_owned(self, ready: Ready, owned: Mapping[TopicPartition, int]) -> bool:
        record = ready.record
        return self._partitions.of(record) is not None and owned.get(record.source) == record.assignment

    def _take_out(self, gone: Sequence[Ready]) -> None:
        ids = {id(ready) for ready in gone}
        self._ready = [ready for ready in self._ready if id(ready) not in ids]
        self._published = [ready for ready in self._published if id(ready) not in ids]


def topic_of(ready: Ready) -> str:
    """Where the outcome goes; "" if nowhere."""
    return ready.outcome.message.topic if ready.outcome.message else ""
