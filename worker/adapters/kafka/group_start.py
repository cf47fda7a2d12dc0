"""Where a group begins that has never committed anything: decided once, for all partitions, before joining."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException

from worker.adapters.kafka.clients import Log, error_of, open_consumer
from worker.adapters.kafka.commits import client_partitions
from worker.adapters.kafka.lookups import (
    LOOKUP_SECONDS,
    committed_positions,
    partition_counts,
    partitions_of,
    unanswered,
    watermarks,
)
from worker.adapters.kafka.places import Places
from worker.adapters.kafka.properties import reader_properties
from worker.core.takeover import first_metadata
from worker.errors import StartError
from worker.model import Position, TopicPartition
from worker.settings.sections import KafkaSettings, StartFrom

_COMMIT_SECONDS: Final = 15.0
_RESEND_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.01


class GroupStart:
    """Commits the first offsets of a new group.

    All partitions at once and before joining, so that "no committed offset" means one thing afterwards: a partition that
    appeared later, which is read from its beginning. Were it decided on assignment, the second of two workers that start
    together could not tell the one from the other.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str], log: Log) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._log = log

    async def settle(self) -> None:
        """Does nothing where any partition has a committed offset. Raises StartError: missing topics, no answer, or a
        topic that holds records while `start_from` is not set."""
        await asyncio.to_thread(self._settle)

    def _settle(self) -> None:
        if self._is_known():
            return
        reader = open_consumer(reader_properties(self._settings), self._log)
        try:
            partitions = partitions_of(partition_counts(reader, self._topics))
            if committed_positions(reader, partitions):
                return
            offsets = self._starts(watermarks(reader, partitions))
            places = Places(self._settings, self._log)
            places.wait(reader, self._topics, LOOKUP_SECONDS)
            starts = {
                source: Position(offset, first_metadata(*places.known(source.topic), source.partition, offset))
                for source, offset in offsets.items()
            }
            self._commit(reader, starts)
            chosen = self._settings.start_from or "the beginning, as the topics are empty"
            self._log(logging.INFO, f"consumer group {self._settings.group_id} is new: it starts from {chosen}")
        finally:
            reader.close()

    def _is_known(self) -> bool:
        """Whether anything is committed, read past a transaction that a dead worker may have left undecided for 20 s."""
        properties = {**reader_properties(self._settings), "isolation.level": "read_uncommitted"}
        reader = open_consumer(properties, self._log)
        try:
            partitions = partitions_of(partition_counts(reader, self._topics))
            return bool(committed_positions(reader, partitions))
        finally:
            reader.close()

    def _starts(self, bounds: Mapping[TopicPartition, tuple[int, int]]) -> dict[TopicPartition, int]:
        held = sum(end - begin for begin, end in bounds.values())
        if held and self._settings.start_from is None:
            raise StartError(
                f"consumer group {self._settings.group_id} has no committed offset, and {', '.join(self._topics)} "
                f"already holds {held} records: it is either the first start or an expired group. Set "
                "WORKER_KAFKA__START_FROM=earliest to embed (and pay for) all of them, or latest for new ones only"
            )
        at = 1 if self._settings.start_from is StartFrom.LATEST else 0
        return {source: pair[at] for source, pair in bounds.items()}

    def _commit(self, reader: Consumer, starts: Mapping[TopicPartition, Position]) -> None:
        """Commit until it can be read back. Another worker may be doing the same: its offsets are as good."""
        deadline = time.monotonic() + _COMMIT_SECONDS
        resend = 0.0
        while time.monotonic() < deadline:
            if time.monotonic() >= resend:
                resend = time.monotonic() + _RESEND_SECONDS
                try:
                    reader.commit(offsets=client_partitions(starts), asynchronous=True)
                except KafkaException as problem:
                    raise unanswered("committing the first offsets", error_of(problem)) from None
            if len(committed_positions(reader, list(starts))) == len(starts):
                return
            time.sleep(_PAUSE_SECONDS)
        raise StartError(
            f"the first offsets of group {self._settings.group_id} could not be committed in {_COMMIT_SECONDS:g} s: "
            "check that the user may read this group"
        )
