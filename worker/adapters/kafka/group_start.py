"""Where a group begins with topics of which it has never committed anything: decided once, for all partitions, before joining."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

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
    """Commits the first offsets of topics that are new to the group.

    All partitions at once and before joining, so that "no committed offset" means one thing afterwards: a partition that
    appeared later, which is read from its beginning. Were it decided on assignment, the second of two workers that start
    together could not tell the one from the other.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str], log: Log) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._log = log

    async def settle(self) -> None:
        """Does nothing for topics of which any partition has a committed offset. Raises StartError: missing topics, no
        answer, or a new topic that holds records while `start_from` is not set."""
        await asyncio.to_thread(self._settle)

    def _settle(self) -> None:
        partitions = self._new()
        if not partitions:
            return
        reader = open_consumer(reader_properties(self._settings), self._log)
        try:
            partitions = without_offsets(partitions, committed_positions(reader, partitions))
            if not partitions:
                return
            bounds = watermarks(reader, partitions)
            offsets = first_offsets(self._settings, bounds)
            topics = tuple(dict.fromkeys(source.topic for source in partitions))
            places = Places(self._settings, self._log)
            places.wait(reader, topics, LOOKUP_SECONDS)
            starts = {
                source: Position(offset, first_metadata(*places.known(source.topic), source.partition, offset))
                for source, offset in offsets.items()
            }
            self._commit(starts, {source: begin for source, (begin, _) in bounds.items()})
            chosen = self._settings.start_from or "the beginning, as the topics are empty"
            self._log(
                logging.INFO,
                f"new to consumer group {self._settings.group_id}: {', '.join(topics)}: it starts from {chosen}",
            )
        finally:
            reader.close()

    def _new(self) -> list[TopicPartition]:
        """Of topics of which nothing is committed, read past a transaction that a dead worker may have left undecided."""
        properties = {**reader_properties(self._settings), "isolation.level": "read_uncommitted"}
        reader = open_consumer(properties, self._log)
        try:
            partitions = partitions_of(partition_counts(reader, self._topics))
            return without_offsets(partitions, committed_positions(reader, partitions))
        finally:
            reader.close()

    def _commit(self, starts: Mapping[TopicPartition, Position], begins: Mapping[TopicPartition, int]) -> None:
        """Commit until it can be read back. Another worker may be doing the same: its offsets are as good.

        Brokers refuse it while the group has members (it had other topics before). Then what begins at `begins` can do without:
        so does a partition that has no offset when it is assigned.
        """
        refusals: list[KafkaError] = []

        def answered(error: KafkaError | None, _: Sequence[ClientPartition]) -> None:
            if error is not None:
                refusals.append(error)

        reader = open_consumer(reader_properties(self._settings), self._log, on_commit=answered)
        try:
            deadline = time.monotonic() + _COMMIT_SECONDS
            resend = 0.0
            while time.monotonic() < deadline:
                has_members = any(error.code() == KafkaError.UNKNOWN_MEMBER_ID for error in refusals)
                if time.monotonic() >= resend:
                    resend = time.monotonic() + _RESEND_SECONDS
                    try:
                        reader.commit(offsets=client_partitions(starts), asynchronous=True)
                    except KafkaException as problem:
                        raise unanswered("committing the first offsets", error_of(problem)) from None
                found = committed_positions(reader, list(starts))
                if len(found) == len(starts):
                    return
                if has_members:
                    self._require_beginnings(
                        {source: at.offset for source, at in starts.items() if source not in found}, begins
                    )
                    return
                reader.poll(_PAUSE_SECONDS)
        finally:
            reader.close()
        raise StartError(
            f"the first offsets of group {self._settings.group_id} could not be committed in {_COMMIT_SECONDS:g} s: "
            "check that the user may read this group"
        )

    def _require_beginnings(self, offsets: Mapping[TopicPartition, int], begins: Mapping[TopicPartition, int]) -> None:
        later = dict.fromkeys(source.topic for source, offset in offsets.items() if offset != begins[source])
        if later:
            raise StartError(
                f"{', '.join(later)}: new to consumer group {self._settings.group_id}, whose other workers run: that it starts "
                "from latest can be recorded only while none does. Stop all workers of the group, then start them again"
            )


def first_offsets(
    settings: KafkaSettings, bounds: Mapping[TopicPartition, tuple[int, int]]
) -> dict[TopicPartition, int]:
    """Where the group begins with topics that are new to it; `bounds`: first offset and end of all their partitions. Raises
    StartError where they hold records and `start_from` is not set."""
    held: Counter[str] = Counter()
    for source, (begin, end) in bounds.items():
        held[source.topic] += end - begin
    filled = [f"{topic} already holds {count} records" for topic, count in held.items() if count]
    if filled and settings.start_from is None:
        raise StartError(
            f"consumer group {settings.group_id} has no committed offset for these topics: {', '.join(filled)}. It is "
            "either their first start or their offsets have expired. Set WORKER_KAFKA__START_FROM=earliest to embed (and "
            "pay for) all of them, or latest for new ones only"
        )
    at = 1 if settings.start_from is StartFrom.LATEST else 0
    return {source: pair[at] for source, pair in bounds.items()}


def without_offsets(
    partitions: Sequence[TopicPartition], committed: Collection[TopicPartition]
) -> list[TopicPartition]:
    """The partitions of topics of which none has a committed offset."""
    known = {source.topic for source in committed}
    return [source for source in partitions if source.topic not in known]
