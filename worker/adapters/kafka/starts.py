"""Where newly assigned partitions begin: their committed offsets, read between polls."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.clients import Log
from worker.adapters.kafka.commits import OffsetCommits, positions_of
from worker.adapters.kafka.places import Places
from worker.adapters.kafka.seeking import sought
from worker.core.takeover import first_metadata, names_another_topic
from worker.model import Assignment, Position, TopicPartition

_READ_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 60.0
_DOUBT_SECONDS: Final = 0.5


@dataclass(slots=True)
class _Expected:
    number: int
    since: float
    warned: bool = False
    doubted: bool = False
    initial: Future[None] | None = None


class Starts:
    """Partitions that are assigned, paused, and wait for their committed offset. For the consumer's thread only."""

    def __init__(
        self, commits: OffsetCommits, places: Places, log: Log, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._commits = commits
        self._places = places
        self._log = log
        self._monotonic = monotonic
        self._expected: dict[TopicPartition, _Expected] = {}
        self._all_at_once = True
        self._announced: set[str] = set()

    def expect(self, numbers: Mapping[TopicPartition, int]) -> None:
        """Partitions were assigned under these numbers."""
        now = self._monotonic()
        self._expected.update({source: _Expected(number, now) for source, number in numbers.items()})
        self._places.renew({source.topic for source in numbers})
        self._all_at_once = True

    def drop(self, source: TopicPartition) -> None:
        """The partition has gone again."""
        self._expected.pop(source, None)

    @property
    def expected(self) -> Sequence[TopicPartition]:
        """All that wait."""
        return tuple(self._expected)

    def waiting(self) -> Sequence[str]:
        """Those that have waited for more than a minute, one sentence each."""
        return [*filter(None, (self._sentence(source, expected) for source, expected in self._expected.items()))]

    def resolve(self, consumer: Consumer) -> dict[TopicPartition, Assignment]:
        """Those that have an answer now: the consumer stands at their start. Blocks for a second at most."""
        if not self._expected:
            return {}
        self._places.look(consumer)
        resolved = {}
        for source, start in self._starts(consumer).items():
            place = self._places.of(source.topic)
            if place is None:
                continue
            void = start.offset >= 0 and names_another_topic(start.metadata, *place, source.partition, start.offset)
            if void and not self._expected[source].doubted:
                self._doubt(source.topic)
                continue
            if void or self._places.replaced(source.topic):
                self._announce(source.topic, place[1])
            if void or start.offset < 0:
                self._expected[source].initial = self._commit_beginning(consumer, source, *place)
            elif sought(consumer, source, start.offset):
                resolved[source] = Assignment(self._expected.pop(source).number, start, *place)
        self._warn()
        return resolved

    def _starts(self, consumer: Consumer) -> dict[TopicPartition, Position]:
        """What is committed (negative: nothing), as far as there is an answer: an error or a time-out never means "nothing".

        One partition under an undecided transaction leaves a question for all without answer: then each is asked for alone.
        """
        ready = [
            source
            for source, expected in self._expected.items()
            if self._places.of(source.topic) and (expected.initial is None or expected.initial.done())
        ]
        if self._all_at_once:
            found = stable_positions(consumer, ready)
            self._all_at_once = len(found) == len(ready)
            return found
        alone: dict[TopicPartition, Position] = {}
        for source in ready:
            found = stable_positions(consumer, (source,))
            if not found:
                # asked again after the next poll, behind the others
                self._expected[source] = self._expected.pop(source)
                break
            alone.update(found)
        return alone

    def _doubt(self, topic: str) -> None:
        """Ask for its id again: a broker may be behind the others."""
        for source, expected in self._expected.items():
            expected.doubted = expected.doubted or source.topic == topic
        self._places.renew((topic,), _DOUBT_SECONDS)

    def _announce(self, topic: str, topic_id: str) -> None:
        if topic_id not in self._announced:
            self._announced.add(topic_id)
            self._log(logging.WARNING, f"topic {topic} was made anew: read from its beginning")

    def _commit_beginning(
        self, consumer: Consumer, source: TopicPartition, cluster: str, topic_id: str
    ) -> Future[None] | None:
        """A partition without offset appeared after the group's first start (`group_start` has served all others), or its offset
        is one of a topic that had this name before: all of it is to be read. That it begins there is committed first; the next
        reading shows whether that came to stand."""
        try:
            watermarks = consumer.get_watermark_offsets(ClientPartition(*source), timeout=_READ_SECONDS)
        except KafkaException:
            return None
        if watermarks is None:
            return None
        initial: Future[None] = Future()
        metadata = first_metadata(cluster, topic_id, source.partition, watermarks[0])
        self._commits.add({source: Position(watermarks[0], metadata)}, initial)
        return initial

    def _warn(self) -> None:
        for source, expected in self._expected.items():
            if not expected.warned and (sentence := self._sentence(source, expected)):
                expected.warned = True
                self._log(logging.ERROR, sentence)

    def _sentence(self, source: TopicPartition, expected: _Expected) -> str:
        """Empty while there is patience."""
        waited = self._monotonic() - expected.since
        if waited <= _PATIENCE_SECONDS:
            return ""
        what = f"the committed offset of {source}"
        advice = "look for a hanging transaction with kafka-transactions.sh find-hanging"
        if not self._places.of(source.topic):
            what, advice = f"{source}: the id of its topic", "look whether it still exists"
        return f"{what} has not been readable for {waited:.0f} s: if the brokers are well, {advice}"


def stable_positions(consumer: Consumer, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Position]:
    """What the group has committed (a negative offset: nothing), of those for which that can be told: no transaction over them
    is undecided. Blocks for half a second at most."""
    if not partitions:
        return {}
    try:
        read = consumer.committed([ClientPartition(*source) for source in partitions], timeout=_READ_SECONDS)
    except KafkaException:
        return {}
    return positions_of([partition for partition in read if partition.error is None])
