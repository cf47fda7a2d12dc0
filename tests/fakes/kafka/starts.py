"""The first offsets of a group, committed with a clean ledger."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tests.fakes.kafka.group import Group
from tests.fakes.kafka.log import Log
from worker.core.takeover import first_metadata
from worker.errors import StartError, missing_topics
from worker.model import Position, TopicPartition
from worker.settings.sections import StartFrom


class Places(Protocol):
    """What is asked of the broker."""

    cluster: str

    def partitions(self, topics: Sequence[str]) -> list[TopicPartition]: ...

    def log(self, source: TopicPartition) -> Log: ...

    def topic_id(self, topic: str) -> str: ...

    def plainly_committed(self, group: str, positions: Mapping[TopicPartition, Position]) -> None: ...


def settle_start(broker: Places, group: Group, topics: Sequence[str], start_from: StartFrom | None) -> None:
    """Where a group begins with topics of which it has never committed anything. Raises StartError."""
    missing = [name for name in topics if not broker.partitions((name,))]
    if missing:
        raise missing_topics(missing)
    new = [name for name in topics if not any(map(group.offsets.knows, broker.partitions((name,))))]
    partitions = broker.partitions(new)
    logs = {source: broker.log(source) for source in partitions}
    held = {name: sum(len(log.records) for source, log in logs.items() if source.topic == name) for name in new}
    filled = [f"{name} already holds {count} records" for name, count in held.items() if count]
    if filled and start_from is None:
        raise StartError(
            f"consumer group {group.name} has no committed offset for these topics: {', '.join(filled)}. "
            "Set WORKER_KAFKA__START_FROM"
        )
    latest = start_from is StartFrom.LATEST
    if any(log.records for log in logs.values()) and latest and group.members:
        raise StartError(f"{', '.join(new)}: new to the group, whose other workers run: Stop all workers of the group")
    if new and not group.members:
        commit_first(broker, group, {source: log.end if latest else log.begin for source, log in logs.items()})


def commit_first(broker: Places, group: Group, offsets: Mapping[TopicPartition, int]) -> None:
    """The very first offsets of partitions."""
    positions = {
        at: Position(offset, first_metadata(broker.cluster, broker.topic_id(at.topic), at.partition, offset))
        for at, offset in offsets.items()
    }
    group.offsets.write(positions)
    broker.plainly_committed(group.name, positions)
