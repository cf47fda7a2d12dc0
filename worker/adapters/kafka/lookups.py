"""Questions that a consumer can ask without joining a group; they work on the embedded broker too, where admin calls
get no answer. All functions block."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.clients import error_of
from worker.adapters.kafka.commits import position_of
from worker.errors import StartError, missing_topics
from worker.model import Position, TopicPartition

T = TypeVar("T")

LOOKUP_SECONDS: Final = 10.0
_AGAIN: Final = 0.1
_COORDINATOR_MOVES: Final = frozenset({
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._WAIT_COORD,  # noqa: SLF001
})  # fmt: skip
_UNKNOWN: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)  # noqa: SLF001


def partition_counts(reader: Consumer, names: Iterable[str]) -> dict[str, int]:
    """Partitions of each topic. Raises StartError that lists what is missing and how to make it."""
    counts: dict[str, int] = {}
    missing: list[str] = []
    for name in dict.fromkeys(names):
        try:
            topic = reader.list_topics(name, timeout=LOOKUP_SECONDS).topics[name]
        except KafkaException as problem:
            raise unanswered("asking for topics", error_of(problem)) from None
        if topic.error is None and topic.partitions:
            counts[name] = len(topic.partitions)
        elif topic.error is None or topic.error.code() in _UNKNOWN:
            missing.append(name)
        else:
            raise StartError(f"topic {name} cannot be used: {topic.error.str()}")
    if missing:
        raise missing_topics(missing)
    return counts


def partitions_of(counts: Mapping[str, int]) -> list[TopicPartition]:
    """All partitions of topics."""
    return [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]


def committed_positions(
    reader: Consumer, partitions: Sequence[TopicPartition], seconds: float = LOOKUP_SECONDS
) -> dict[TopicPartition, Position]:
    """What the reader's group has committed; partitions without a committed offset are left out. A coordinator that is just
    moving or loading is asked again until `seconds` are over. Raises StartError: an error never means "no offset"."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            read = reader.committed([ClientPartition(*source) for source in partitions], timeout=left)
        except KafkaException as problem:
            error: KafkaError | None = error_of(problem)
        else:
            error = next((partition.error for partition in read if partition.error), None)
            if error is None:
                return {
                    TopicPartition(partition.topic, partition.partition): position_of(partition)
                    for partition in read
                    if partition.offset >= 0
                }
        if error is not None and (error.code() not in _COORDINATOR_MOVES or time.monotonic() + _AGAIN >= deadline):
            raise unanswered("reading committed offsets", error)
        time.sleep(_AGAIN)


def watermarks(reader: Consumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """First offset and end (the next one to be written; with `read_committed`, the last stable offset) of each."""
    found: dict[TopicPartition, tuple[int, int]] = {}
    for source in partitions:
        try:
            bounds = reader.get_watermark_offsets(ClientPartition(*source), timeout=LOOKUP_SECONDS)
        except KafkaException as problem:
            raise unanswered(f"asking for the offsets of {source}", error_of(problem)) from None
        if bounds is None:
            raise StartError(f"asking for the offsets of {source}: no answer in {LOOKUP_SECONDS:g} s")
        found[source] = bounds
    return found


def unanswered(action: str, error: KafkaError) -> StartError:
    """What to tell an operator of a question that failed."""
    return StartError(f"{action} failed: {error.str()}: check WORKER_KAFKA__BOOTSTRAP_SERVERS, and the user's rights")
