"""Offset commits outside transactions, sent from the consumer's thread.

They are asynchronous, although a synchronous commit would be simpler: against a broker that answers too slowly the
synchronous one blocked for more than 40 s, without limit, and a consumer that is not polled leaves its group. The
price is that an answer comes by `poll()` only, which cannot run inside a rebalance callback: there `confirm` reads the
committed offsets instead, with a time-out. The coordinator serves one connection in order, so what the read shows is
what the commit did.

One commit is under way at a time, so that a late retry of an older one cannot overwrite a newer one.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.bridge import settle
from worker.adapters.kafka.clients import error_of
from worker.errors import CommitAborted, CommitError, MetadataTooLarge
from worker.model import Position, TopicPartition


@dataclass(frozen=True, slots=True, eq=False)
class _Commit:
    positions: Mapping[TopicPartition, Position]
    done: Future[None]


def client_partitions(positions: Mapping[TopicPartition, Position]) -> list[ClientPartition]:
    """Offsets and metadata in the client's form."""
    return [
        ClientPartition(source.topic, source.partition, position.offset, metadata=position.metadata)
        for source, position in positions.items()
    ]


def positions_of(partitions: Sequence[ClientPartition]) -> dict[TopicPartition, Position]:
    """Offsets and metadata in the worker's form; negative offsets (none committed) as they are."""
    return {TopicPartition(partition.topic, partition.partition): position_of(partition) for partition in partitions}


def position_of(partition: ClientPartition) -> Position:
    """Offset and metadata in the worker's form. confluent-kafka sends a zero behind metadata, which other tools hand back."""
    return Position(partition.offset, (partition.metadata or "").rstrip("\0"))


class OffsetCommits:
    """The commits waiting and the one under way. For the consumer's thread only."""

    def __init__(self) -> None:
        self._waiting: deque[_Commit] = deque()
        self._current: _Commit | None = None

    def add(self, positions: Mapping[TopicPartition, Position], done: Future[None]) -> None:
        """Take a commit up; `done` gets a result or a CommitError. One cancelled before it is sent is not sent."""
        self._waiting.append(_Commit(positions, done))

    def advance(self, consumer: Consumer) -> None:
        """Send the next commit if none is under way."""
        while self._current is None and self._waiting:
            commit = self._waiting.popleft()
            if commit.done.cancelled():
                continue
            try:
                consumer.commit(offsets=client_partitions(commit.positions), asynchronous=True)
            except KafkaException as problem:
                settle(commit.done, None, _aborted(error_of(problem)))
            else:
                self._current = commit

    def answered(self, error: KafkaError | None, partitions: Sequence[ClientPartition]) -> None:
        """The client's callback `on_commit`. Answers to commits that `confirm` has settled already are ignored."""
        current = self._current
        if current is None or positions_of(partitions) != dict(current.positions):
            return
        errors = [*filter(None, (error, *(partition.error for partition in partitions)))]
        # the broker has taken the other partitions then; told apart, for it would never take this one
        too_large = [each for each in errors if each.code() == KafkaError.OFFSET_METADATA_TOO_LARGE]
        failed = next(iter((*too_large, *errors)), None)
        self._finish(None if failed is None else _aborted(failed))

    def confirm(self, consumer: Consumer, seconds: float) -> None:
        """Settle the commit under way by reading what is committed; leaves it where no answer comes in time."""
        if self._current is None:
            return
        expected = self._current.positions
        try:
            read = consumer.committed(client_partitions(expected), timeout=seconds)
        except KafkaException:
            return
        if any(partition.error for partition in read):
            return
        refused = None if positions_of(read) == dict(expected) else CommitAborted("the group did not take the commit")
        self._finish(refused)

    def abandon(self) -> None:
        """Fail everything that has no answer yet: the consumer is going."""
        for commit in (self._current, *self._waiting):
            if commit is not None:
                settle(commit.done, None, CommitAborted("the worker left the group before the commit was answered"))
        self._current = None
        self._waiting.clear()

    def _finish(self, error: CommitError | None) -> None:
        current, self._current = self._current, None
        if current is not None:
            settle(current.done, None, error)


def _aborted(error: KafkaError) -> CommitError:
    if error.code() == KafkaError.OFFSET_METADATA_TOO_LARGE:
        return MetadataTooLarge(f"the offset commit was refused: {error.str()}: raise offset.metadata.max.bytes")
    return CommitAborted(f"the offset commit was refused: {error.str()}")
