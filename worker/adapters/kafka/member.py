"""A member of the consumer group: all that happens on the one thread that owns the consumer."""

import itertools
import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.bridge import CommandQueue, LoopListener
from worker.adapters.kafka.clients import Log, error_of, open_consumer
from worker.adapters.kafka.commits import OffsetCommits
from worker.adapters.kafka.fetching import POLL_SECONDS, Fetching
from worker.adapters.kafka.lookups import committed_positions
from worker.adapters.kafka.places import Places
from worker.adapters.kafka.records import is_member
from worker.adapters.kafka.starts import Starts, stable_positions
from worker.adapters.kafka.topic_watch import TopicWatch
from worker.errors import CommitAborted, StartError
from worker.model import Membership, Position, TopicPartition
from worker.settings.sections import OnOutOfRange

_CONFIRM_SECONDS: Final = 0.5
_COMMITTED_SECONDS: Final = 0.5
_TELL_SECONDS: Final = 0.5
_TELL_PARTITIONS: Final = 5


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
        on_out_of_range: OnOutOfRange,
    ) -> None:
        self._topics = list(topics)
        self._commands = commands
        self._listener = listener
        self._log = log
        self._revoke_timeout = revoke_timeout
        self._numbers: Iterator[int] = itertools.count(1)
        self._commits = OffsetCommits()
        self._starts = Starts(self._commits, places, log)
        self._watch = TopicWatch(places, log)
        self._stopping = False
        self._left = False
        self._handled, self.turned = True, time.monotonic()
        self._consumer: Consumer = open_consumer(properties, log, on_commit=self._commits.answered)
        self._fetching = Fetching(self._consumer, self._watch, log, on_out_of_range)
        self.waiting: Sequence[str] = ()
        self._told_at = 0.0

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
                self._hand_back(self._fetching.owned)
        except KafkaException as problem:
            raise StartError(f"the Kafka consumer failed: {error_of(problem).str()}") from problem
        finally:
            self._left, self.waiting = True, ()
            self._commits.abandon()
            self._commands.close()
            self._consumer.close()

    def stop(self) -> None:
        """Make `run` come to its end."""
        self._stopping = True

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """See `Fetching`."""
        self._fetching.pause(partitions)

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """See `Fetching`."""
        self._fetching.resume(partitions)

    def snapshot(self) -> Membership:
        """Raises CommitAborted outside a group."""
        metadata = self._consumer.consumer_group_metadata()
        if not is_member(metadata):
            raise CommitAborted("this worker is in no consumer group at the moment")
        return Membership(metadata, self._fetching.numbers)

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

    def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset of each owned partition."""
        return self._fetching.positions

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
            self._commands.serve(POLL_SECONDS)
            return
        self._look_after_topics()
        records = self._fetching.round()
        if records:
            self._handled = False
            self._listener.arrived(records, self._wake)
        resolved = self._starts.resolve(self._consumer)
        if resolved:
            for source, assignment in resolved.items():
                self._fetching.own(source, assignment.number, assignment.start.offset)
            self._told_at = 0.0
        self._tell()
        if resolved:
            self._listener.assigned(resolved)

    def _tell(self) -> None:
        """What stands, in `waiting`, which other threads read."""
        if self.turned - self._told_at < _TELL_SECONDS:
            return
        self._told_at = self.turned
        waiting = (*self._starts.waiting(), *self._fetching.waiting())
        expected = self._starts.expected
        if not waiting and expected and not self._fetching.owned:
            names = ", ".join(map(str, expected[:_TELL_PARTITIONS]))
            waiting = (f"joining: {len(expected)} assigned partitions wait for their committed offsets ({names})",)
        self.waiting = waiting

    def _look_after_topics(self) -> None:
        """Begin anew with topics that were made anew. Nothing more is committed of the old: it would stand on the new."""
        changed = self._watch.look({source.topic for source in self._fetching.owned})
        gone = tuple(source for source in self._fetching.owned if source.topic in changed)
        if gone:
            self._forget(gone)
            self._consumer.pause([ClientPartition(*source) for source in gone])
            self._listener.lost(gone)
            self._expect(gone)

    def _wake(self) -> None:
        """Called on the event loop when a round has been handled: queued behind the pauses that came of it."""
        self._commands.call(self._mark_handled)

    def _mark_handled(self) -> None:
        self._handled = True

    def _on_assign(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        sources = [TopicPartition(partition.topic, partition.partition) for partition in partitions]
        self._expect(sources)
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
        lost = [source for source in sources if source in self._fetching.owned]
        self._forget(sources)
        if lost:
            self._listener.lost(lost)
        consumer.incremental_unassign(partitions)

    def _hand_back(self, sources: Collection[TopicPartition]) -> None:
        """Let the listener finish with partitions, while its commands are served, for a bounded time."""
        owned = self._fetching.owned
        told = tuple(source for source in sources if source in owned)
        if not told:
            return
        deadline = time.monotonic() + self._revoke_timeout
        revoked = self._listener.revoked(told)
        revoked.add_done_callback(lambda _: self._commands.wake())
        while not revoked.done() and (left := deadline - time.monotonic()) > 0:
            self.turned = time.monotonic()
            self._commits.advance(self._consumer)
            self._commits.confirm(self._consumer, min(_CONFIRM_SECONDS, left))
            self._commands.serve(min(POLL_SECONDS, left))
        if not revoked.done():
            revoked.cancel()
            names = ", ".join(map(str, told))
            self._log(logging.WARNING, f"{names} given back after {self._revoke_timeout:g} s with records in flight")

    def _expect(self, sources: Collection[TopicPartition]) -> None:
        self._starts.expect({source: next(self._numbers) for source in sources})
        self._watch.renew()

    def _forget(self, sources: Collection[TopicPartition]) -> None:
        self._fetching.disown(sources)
        for source in sources:
            self._starts.drop(source)
