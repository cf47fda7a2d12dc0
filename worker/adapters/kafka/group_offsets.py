"""What a group has committed, read and written by somebody who is no member of it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException

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
from worker.errors import StartError
from worker.model import Position, TopicPartition
from worker.settings.sections import KafkaSettings

_AT_ONCE: Final = 64
"""Partitions in one commit: brokers take one megabyte of offsets at once."""

_HAS_MEMBERS: Final = frozenset({
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class GroupReading:
    """`topics`: the id of each; `positions`: of every partition of these, None where nothing is committed."""

    cluster: str
    topics: Mapping[str, str]
    positions: Mapping[TopicPartition, Position | None]


class GroupOffsets:
    """Each call opens a client, asks on another thread and closes it again. All raise StartError."""

    def __init__(self, settings: KafkaSettings, log: Log) -> None:
        self._settings = settings
        self._log = log

    async def read(self, topics: Sequence[str], *, stable: bool) -> GroupReading:
        """What is committed for these topics. `stable`: once no transaction over it is undecided, which a dead worker may hold
        up for as long as its transaction lasts; else what stood before."""
        return await asyncio.to_thread(self._read, tuple(topics), "read_committed" if stable else "read_uncommitted")

    async def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset and `read_committed` end of each."""

        def ask() -> Mapping[TopicPartition, tuple[int, int]]:
            reader = self._open()
            try:
                return watermarks(reader, partitions)
            finally:
                reader.close()

        return await asyncio.to_thread(ask)

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Commit these with their metadata, and read them back. Brokers take it only while the group has no members."""
        await asyncio.to_thread(self._commit, positions)

    def _open(self, isolation: str = "read_committed") -> Consumer:
        return open_consumer({**reader_properties(self._settings), "isolation.level": isolation}, self._log)

    def _read(self, topics: Sequence[str], isolation: str) -> GroupReading:
        reader = self._open(isolation)
        try:
            partitions = partitions_of(partition_counts(reader, topics))
            places = Places(self._settings, self._log)
            places.wait(reader, topics, LOOKUP_SECONDS)
            known = {topic: places.known(topic) for topic in topics}
            committed = committed_positions(reader, partitions)
        finally:
            reader.close()
        cluster = next((cluster for cluster, _ in known.values()), "")
        ids = {topic: topic_id for topic, (_, topic_id) in known.items()}
        return GroupReading(cluster, ids, {where: committed.get(where) for where in partitions})

    def _commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        reader = self._open()
        done = 0
        left = iter(positions.items())
        try:
            while some := dict(islice(left, _AT_ONCE)):
                self._commit_some(reader, some, f"{done} of {len(positions)} partitions were committed before")
                done += len(some)
            if committed_positions(reader, list(positions)) != dict(positions):
                raise StartError(
                    "the committed offsets are not those that were sent: was a worker of the group started? Stop all, try again"
                )
        finally:
            reader.close()

    def _commit_some(self, reader: Consumer, positions: Mapping[TopicPartition, Position], before: str) -> None:
        try:
            answered = reader.commit(offsets=client_partitions(positions), asynchronous=False)
        except KafkaException as problem:
            error: KafkaError | None = error_of(problem)
        else:
            error = next((partition.error for partition in answered or () if partition.error), None)
        if error is None:
            return
        if error.code() in _HAS_MEMBERS:
            raise StartError(
                f"the brokers take no offsets of group {self._settings.group_id} while it has members ({before}): stop all its "
                "workers, wait until their sessions have ended, and try again"
            )
        if error.code() == KafkaError.OFFSET_METADATA_TOO_LARGE:
            raise StartError(
                f"the brokers take less metadata with an offset than these have ({before}): raise their offset.metadata.max.bytes"
            )
        raise unanswered(f"committing offsets ({before})", error)
