"""Where newly assigned partitions begin: their committed offsets, read between polls."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.clients import Log
from worker.adapters.kafka.commits import OffsetCommits
from worker.model import Assignment, Position, TopicPartition

_READ_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Expected:
    number: int
    since: float
    warned: bool = False
    initial: Future[None] | None = None


class Starts:
    """Partitions that are assigned, paused, and wait for their committed offset. For the consumer's thread only."""

    def __init__(self, commits: OffsetCommits, log: Log, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._commits = commits
        self._log = log
        self._monotonic = monotonic
        self._expected: dict[TopicPartition, _Expected] = {}

    def expect(self, source: TopicPartition, number: int) -> None:
        """A partition was assigned under this number."""
        self._expected[source] = _Expected(number, self._monotonic())

    def drop(self, source: TopicPartition) -> None:
        """The partition has gone again."""
        self._expected.pop(source, None)

    def resolve(self, consumer: Consumer) -> dict[TopicPartition, Assignment]:
        """Those that have an answer now: the consumer stands at their start. Blocks for half a second at most."""
        resolved: dict[TopicPartition, Assignment] = {}
        for source, expected in tuple(self._expected.items()):
            start = self._start_of(consumer, source, expected)
            if start is None:
                # asked again after the next poll, behind the others
                self._expected[source] = self._expected.pop(source)
                self._warn(source, expected)
                break
            del self._expected[source]
            resolved[source] = Assignment(expected.number, start)
        return resolved

    def _start_of(self, consumer: Consumer, source: TopicPartition, expected: _Expected) -> Position | None:
        if expected.initial is not None and not expected.initial.done():
            return None
        try:
            # an error or a time-out never means "no offset"
            [committed] = consumer.committed([ClientPartition(*source)], timeout=_READ_SECONDS)
            if committed.error:
                return None
            if committed.offset < 0:
                expected.initial = self._commit_beginning(consumer, source)
                return None
            consumer.seek(ClientPartition(*source, committed.offset))
        except KafkaException:
            return None
        return Position(committed.offset, committed.metadata or "")

    def _commit_beginning(self, consumer: Consumer, source: TopicPartition) -> Future[None] | None:
        """A partition without offset appeared after the group's first start (`group_start` has served all others): all
        of it is to be read. That it begins there is committed first; the next reading shows whether that came to stand."""
        watermarks = consumer.get_watermark_offsets(ClientPartition(*source), timeout=_READ_SECONDS)
        if watermarks is None:
            return None
        initial: Future[None] = Future()
        self._commits.add({source: Position(watermarks[0])}, initial)
        return initial

    def _warn(self, source: TopicPartition, expected: _Expected) -> None:
        waited = self._monotonic() - expected.since
        if waited > _PATIENCE_SECONDS and not expected.warned:
            expected.warned = True
            self._log(
                logging.ERROR,
                f"the committed offset of {source} has not been readable for {waited:.0f} s: if the brokers are well, "
                "look for a hanging transaction with kafka-transactions.sh find-hanging",
            )
