"""A member of the consumer group: all that happens on the one thread that owns the consumer."""

import itertools
import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.bridge import CommandQueue, LoopListener
from worker.adapters.kafka.clients import Log, error_of, open_consumer
from worker.adapters.kafka.commits import OffsetCommits
from worker.adapters.kafka.lookups import committed_positions
from worker.adapters.kafka.places import Places
from worker.adapters.kafka.records import is_member, judge, partition_of, record_of
from worker.adapters.kafka.starts import Starts, stable_positions
from worker.errors import CommitAborted, StartError
from worker.model import Membership, Position, Record, TopicPartition

# how long a command waits at most for a poll that finds nothing; 100 wake-ups a second cost under 1 % of a core
_POLL_SECONDS: Final = 0.01
_ROUND_RECORDS: Final = 1_000
_ROUND_BYTES: Final = 4 * 1024 * 1024
_CONFIRM_SECONDS: Final = 0.5
_COMMITTED_SECONDS: Final = 0.5
_WAKE_SECONDS: Final = 0.1
_WAKE_PARTITIONS: Final = 8


@dataclass(slots=True)
class _Owned:
    number: int
    next_offset: int


class Member:
    """Fetches, commits and takes part in rebalances. `run` is the thread; all else but `stop` is called on it, by
    commands of the queue."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Collection[str],
        commands: CommandQueue,
        listener: LoopListener,
        places: Places,
        *,
        log: Log,
        revoke_timeout: float,
    ) -> None:
        self._topics = list(topics)
        self._commands = commands
        self._listener = listener
        self._log = log
        self._revoke_timeout = revoke_timeout
        self._numbers: Iterator[int] = itertools.count(1)
        self._owned: dict[TopicPartition, _Owned] = {}
        self._commits = OffsetCommits()
        self._starts = Starts(self._commits, places, log)
        self._stopping = False
        self._left = False
        self._handled, self.turned = True, time.monotonic()
        self._consumer: Consumer = open_consumer(properties, log, on_commit=self._commits.answered)

    def run(self) -> None:
        """Join, fetch until `stop`, hand everything back and leave. Raises StartError where it cannot go on."""
        try:
            self._consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            try:
                while not self._stopping:
                    self._turn()
            finally:
                # after a failure too: outcomes that are ready need not be paid for again
                self._hand_back(tuple(self._owned))
        except KafkaException as problem:
            raise StartError(f"the Kafka consumer failed: {error_of(problem).str()}") from problem
        finally:
            self._left = True
            self._commits.abandon()
            self._commands.close()
            self._consumer.close()

    def stop(self) -> None:
        """Make `run` come to its end."""
        self._stopping = True

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Drops what librdkafka has fetched of these already; it is fetched again after `resume`."""
        self._consumer.pause(self._client_side(partitions))

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch these.

        librdkafka's thread of a broker sleeps for up to a second while every partition there is paused, and a resume does
        not wake it (measured: 0.25 to 0.9 s until the next record); a question sent to that broker does (1 to 25 ms).
        """
        resumed = self._client_side(partitions)
        self._consumer.resume(resumed)
        for partition in resumed[:_WAKE_PARTITIONS]:
            try:
                self._consumer.get_watermark_offsets(partition, timeout=_WAKE_SECONDS)
            except KafkaException:
                return

    def snapshot(self) -> Membership:
        """Raises CommitAborted outside a group."""
        metadata = self._consumer.consumer_group_metadata()
        if not is_member(metadata):
            raise CommitAborted("this worker is in no consumer group at the moment")
        return Membership(metadata, {source: owned.number for source, owned in self._owned.items()})

    def commit(self, positions: Mapping[TopicPartition, Position], membership: Membership, done: Future[None]) -> None:
        """Start the commit of those partitions that are owned under the same number as in `membership`. Raises
        CommitAborted where none is left or the worker is in no group; else `done` will be set."""
        now = self.snapshot().owned
        kept = {
            source: position
            for source, position in positions.items()
            if source in now and now[source] == membership.owned.get(source)
        }
        if not kept:
            raise CommitAborted("all partitions of the commit have gone to another worker")
        self._commits.add(kept, done)

    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each owned partition."""
        return {source: owned.next_offset for source, owned in self._owned.items()}

    def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """What the group has committed, of anybody's partitions. Blocks for half a second at most. Raises StartError."""
        found = committed_positions(self._consumer, partitions, _COMMITTED_SECONDS)
        return {source: position.offset for source, position in found.items()}

    def recall(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Position]:
        """The committed positions of those that can be told now. Blocks for half a second at most."""
        found = stable_positions(self._consumer, partitions)
        return {source: position for source, position in found.items() if position.offset >= 0}

    def _turn(self) -> None:
        self.turned = time.monotonic()
        self._commands.serve(0)
        self._commits.advance(self._consumer)
        if not self._handled:
            # one round at a time: a slow event loop must not pile up records, and its pauses come first
            self._commands.serve(_POLL_SECONDS)
            return
        records = [record for record in self._round() if self._is_current(record)]
        if records:
            self._handled = False
            self._listener.arrived(records, self._wake)
        resolved = self._starts.resolve(self._consumer)
        if resolved:
            for source, assignment in resolved.items():
                self._owned[source] = _Owned(assignment.number, assignment.start.offset)
            self._listener.assigned(resolved)

    def _round(self) -> list[Record]:
        """Everything the client holds ready, up to a bound."""
        records: list[Record] = []
        size = 0
        message = self._consumer.poll(_POLL_SECONDS)
        while message is not None:
            record = self._taken(message)
            if record is not None:
                records.append(record)
                size += record.size
            if len(records) >= _ROUND_RECORDS or size >= _ROUND_BYTES:
                break
            message = self._consumer.poll(0)
        return records

    def _taken(self, message: Message) -> Record | None:
        source = partition_of(message)
        owned = self._owned.get(source)
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                if owned is not None:
                    # the end lies behind transaction markers, which yield no record
                    owned.next_offset = max(owned.next_offset, message.offset() or 0)
            else:
                judge(error, source, message.offset(), self._log)
            return None
        # what lies below the position was fetched before a seek took effect
        if owned is None or (message.offset() or 0) < owned.next_offset:
            return None
        record = record_of(message, source, owned.number)
        owned.next_offset = record.offset + 1
        return record

    def _is_current(self, record: Record) -> bool:
        owned = self._owned.get(record.source)
        return owned is not None and owned.number == record.assignment

    def _wake(self) -> None:
        """Called on the event loop when a round has been handled: queued behind the pauses that came of it."""
        self._commands.call(self._mark_handled)

    def _mark_handled(self) -> None:
        self._handled = True

    def _on_assign(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        sources = [TopicPartition(partition.topic, partition.partition) for partition in partitions]
        self._starts.expect({source: next(self._numbers) for source in sources})
        for partition in partitions:
            # else the client looks the offset up itself, and fails for a partition that has none
            partition.offset = OFFSET_BEGINNING
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        sources = [TopicPartition(partition.topic, partition.partition) for partition in partitions]
        if not self._left:
            self._hand_back(sources)
        self._forget(sources)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        sources = [TopicPartition(partition.topic, partition.partition) for partition in partitions]
        lost = [source for source in sources if source in self._owned]
        self._forget(sources)
        if lost:
            self._listener.lost(lost)
        consumer.incremental_unassign(partitions)

    def _hand_back(self, sources: Collection[TopicPartition]) -> None:
        """Let the listener finish with partitions, while its commands are served, for a bounded time."""
        told = tuple(source for source in sources if source in self._owned)
        if not told:
            return
        deadline = time.monotonic() + self._revoke_timeout
        revoked = self._listener.revoked(told)
        revoked.add_done_callback(lambda _: self._commands.wake())
        while not revoked.done() and (left := deadline - time.monotonic()) > 0:
            self.turned = time.monotonic()
            self._commits.advance(self._consumer)
            self._commits.confirm(self._consumer, min(_CONFIRM_SECONDS, left))
            self._commands.serve(min(_POLL_SECONDS, left))
        if not revoked.done():
            revoked.cancel()
            names = ", ".join(map(str, told))
            self._log(logging.WARNING, f"{names} given back after {self._revoke_timeout:g} s with records in flight")

    def _forget(self, sources: Collection[TopicPartition]) -> None:
        for source in sources:
            self._owned.pop(source, None)
            self._starts.drop(source)

    def _client_side(self, partitions: Collection[TopicPartition]) -> list[ClientPartition]:
        return [ClientPartition(*source) for source in partitions if source in self._owned]
