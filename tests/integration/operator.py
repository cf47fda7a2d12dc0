"""What operators and their tools do to a group and its topic, and what they can look up."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, TopicCollection, TopicPartition

from tests.integration.events import Event, good, sha256
from tests.integration.processes import EmulatorProcess, WorkerProcess
from tests.integration.setup import DIMENSIONS, Setup
from tests.integration.waiting import until
from tests.kafka import admin
from worker.core.lease import lease_cap
from worker.core.ledger import Ledger, Place
from worker.core.ledger_codec import decode
from worker.model import Position

SESSION: Final = 4.0
"""Seconds after which the group gives a dead worker's partitions to another."""
WAIT: Final = lease_cap(SESSION)
"""Seconds between an assignment and the first POST, unless the ledger waives it."""
SETTINGS: Final = {
    "WORKER_KAFKA__PROPERTIES": json.dumps(
        {
            "heartbeat.interval.ms": 300,
            "session.timeout.ms": int(SESSION * 1000),
            "topic.metadata.refresh.interval.ms": 500,
        }
    ),
    "WORKER_LOG__LEVEL": "debug",
}
LONG: Final = "constant:4"
"""Latency of jobs that are to be in flight at a stop."""

_CALL_SECONDS: Final = 10.0


class Operator:
    """Works on the group and the input topic of one setup."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._client = admin.client(setup.bootstrap_servers)

    def committed(self) -> dict[int, Position]:
        """Offset and metadata of each partition that has them."""
        metadata = self._client.list_topics(self._setup.input, timeout=_CALL_SECONDS).topics[self._setup.input]
        asked = [TopicPartition(self._setup.input, number) for number in metadata.partitions]
        request = ConsumerGroupTopicPartitions(self._setup.group, asked)
        found = self._client.list_consumer_group_offsets([request])[self._setup.group].result(_CALL_SECONDS)
        return {
            one.partition: Position(one.offset, (one.metadata or "").rstrip("\0"))
            for one in found.topic_partitions
            if one.offset >= 0
        }

    def commit(self, positions: Mapping[int, Position]) -> None:
        """Commit these as somebody who is no member may while the group is empty. Without metadata it is what
        `kafka-consumer-groups --reset-offsets --execute` does: the same request to the brokers."""
        wanted = [
            TopicPartition(self._setup.input, number, position.offset, metadata=position.metadata)
            if position.metadata
            else TopicPartition(self._setup.input, number, position.offset)
            for number, position in positions.items()
        ]
        request = ConsumerGroupTopicPartitions(self._setup.group, wanted)
        altered = self._client.alter_consumer_group_offsets([request])[self._setup.group].result(_CALL_SECONDS)
        assert not [one.error for one in altered.topic_partitions if one.error]

    def ledgers(self) -> dict[int, Ledger]:
        """The ledgers that are committed and belong where they stand."""
        found = {
            number: decode(position.metadata, self.place(number), position.offset)
            for number, position in self.committed().items()
        }
        return {number: ledger for number, ledger in found.items() if isinstance(ledger, Ledger)}

    def recorded_jobs(self) -> int:
        """How many request_ids are committed."""
        ledgers = self.ledgers().values()
        return sum(entry.mark.request_id is not None for ledger in ledgers for entry in ledger.entries)

    def place(self, partition: int) -> Place:
        """Where a ledger of this partition belongs."""
        cluster = self._client.list_topics(self._setup.input, timeout=_CALL_SECONDS).cluster_id
        described = self._client.describe_topics(TopicCollection([self._setup.input]))[self._setup.input]
        return Place(str(cluster), str(described.result(_CALL_SECONDS).topic_id), partition)

    def delete_topic(self) -> None:
        """Delete the input topic; its brokers forget the group's offsets of it."""
        admin.delete_topics(self._setup.bootstrap_servers, [self._setup.input])

    def make_topic(self, partitions: int) -> None:
        """Make the input topic, under the name it had."""
        admin.create_topic(self._setup.bootstrap_servers, self._setup.input, partitions, {})

    def add_partitions(self, total: int) -> None:
        """Give the input topic more partitions."""
        admin.add_partitions(self._setup.bootstrap_servers, self._setup.input, total)


def texts(count: int, marker: str = "", keys: str = "k") -> list[Event]:
    """Events that become vectors, each with a key of its own."""
    return [
        good(f"text {number} {keys} {marker}".strip(), key=f"{keys}{number}".encode(), dimensions=DIMENSIONS)
        for number in range(count)
    ]


def with_jobs(setup: Setup, emulator: EmulatorProcess, count: int, **settings: str) -> WorkerProcess:
    """Start a worker and wait until so many jobs are in flight and in the committed ledgers."""
    operator = Operator(setup)
    worker = setup.worker(emulator.wait_url(), **(SETTINGS | settings))
    until(lambda: emulator.stats()["in_flight"] == count, 20, f"{count} jobs in flight", setup.tails)
    until(lambda: operator.recorded_jobs() == count, 5, f"{count} jobs in the ledgers", setup.tails)
    return worker


def wait_for_vectors(setup: Setup, count: int, seconds: float) -> None:
    """Wait until so many records are in the output topic. (Its offsets would count the markers of transactions too.)"""
    until(lambda: len(setup.reader.read(setup.output)) >= count, seconds, f"{count} vectors", setup.tails)


def problems(worker: WorkerProcess) -> dict[str, str]:
    """Why a ledger counted as none, by partition, as the log has it."""
    lines = [line for line in worker.logged("ledger read") if line["problem"]]
    assert all(line["level"] == "warning" for line in lines)
    return {line["partition"]: line["problem"] for line in lines}


def seconds_to_first_post(worker: WorkerProcess, partition: str) -> float:
    """From the assignment of a partition to the first accepted POST of one of its records."""
    assigned = next(line for line in worker.logged("partitions assigned") if partition in line["partitions"])
    submitted = next(line for line in worker.logged("submitted") if line["at"].startswith(f"{partition}@"))
    times = [datetime.fromisoformat(line["timestamp"]) for line in (assigned, submitted)]
    return (times[1] - times[0]).total_seconds()


def bills(emulator: EmulatorProcess, events: Iterable[Event]) -> Counter[int]:
    """How many of these events were billed how often, once all jobs have ended."""
    until(lambda: emulator.stats()["in_flight"] == 0, 20, "all jobs ended")
    found = emulator.bills()
    return Counter(found.get(sha256(event.text or ""), 0) for event in events)
