"""Questions that a consumer can ask without joining a group; they work on the embedded broker too, where admin calls
get no answer. All functions block."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.clients import error_of
from worker.errors import StartError
from worker.model import Position, TopicPartition

T = TypeVar("T")

LOOKUP_SECONDS: Final = 10.0
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
        raise StartError(f"missing topics: {', '.join(missing)}. Make them with: embedding-worker topics create")
    return counts


def partitions_of(counts: Mapping[str, int]) -> list[TopicPartition]:
    """All partitions of topics."""
    return [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]


def committed_positions(reader: Consumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Position]:
    """What the reader's group has committed; partitions without a committed offset are left out. Raises StartError: an
    error never means "no offset"."""
    try:
        read = reader.committed([ClientPartition(*source) for source in partitions], timeout=LOOKUP_SECONDS)
    except KafkaException as problem:
        raise unanswered("reading committed offsets", error_of(problem)) from None
    positions: dict[TopicPartition, Position] = {}
    for partition in read:
        if partition.error:
            raise unanswered("reading committed offsets", partition.error)
        if partition.offset >= 0:
            source = TopicPartition(partition.topic, partition.partition)
            positions[source] = Position(partition.offset, partition.metadata or "")
    return positions


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
