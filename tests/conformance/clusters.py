"""What the suite of `Source` and `Sink` runs on: the fake, the embedded broker, a real Kafka."""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as ClientPartition

from tests.fakes.broker import FakeBroker, Unknown
from tests.kafka import admin
from tests.kafka.fixtures import TopicFactory
from worker.adapters.kafka import KafkaSink, KafkaSource, Topics, TransactionalSink
from worker.adapters.kafka.commits import client_partitions
from worker.adapters.kafka.properties import transactional_properties
from worker.adapters.kafka.records import record_of
from worker.model import Assignment, Batch, Membership, Message, Position, Record, TopicPartition
from worker.ports import Listener, Sink, Source
from worker.settings.sections import KafkaSettings, OnOutOfRange, StartFrom

NOBODY = Membership(None, {})
_READ_SECONDS = 15.0


class Cluster(Protocol):
    """Somewhere to make topics, sources and sinks; `read` and `committed` look past the ports."""

    def topic(self, partitions: int = 1, *, max_bytes: int | None = None) -> str: ...

    def source(
        self,
        group: str,
        *topics: str,
        start_from: StartFrom | None = StartFrom.EARLIEST,
        on_out_of_range: OnOutOfRange = OnOutOfRange.HALT,
    ) -> Source: ...

    def sink(self, source: Source | None = None) -> Sink:
        """At least once; without a source it only publishes."""

    def transactional(self, group: str) -> Sink:
        """Exactly once."""

    def unsure(self, group: str) -> Sink:
        """Exactly once, but each commit ends with CommitUnknown (or, at times, in order): it may stand or not."""

    async def undecided(self, batch: Batch) -> Callable[[], Awaitable[None]]:
        """A dead worker's transaction: messages and positions were sent, and nobody has decided it. The call of what is returned
        has it aborted, as brokers do in the end."""

    async def read(self, topic: str, count: int) -> list[Record]:
        """What `read_committed` readers see, at least `count` records where they come in time."""

    async def committed(self, group: str, topic: str) -> Mapping[TopicPartition, Position]: ...

    def reset(self, group: str, topic: str, offset: int) -> None: ...

    async def truncate(self, partition: TopicPartition, begin: int) -> None:
        """Retention: what lies below `begin` is gone."""

    async def delete(self, topic: str) -> None:
        """With the group's offsets of it."""

    async def make(self, topic: str, partitions: int = 1) -> None:
        """Again, after `delete`."""

    def put_back(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        """Commit in the name of a group that is empty."""


async def publish(cluster: Cluster, *messages: Message) -> None:
    """Through a sink of its own."""
    sink = cluster.sink()
    await sink.start()
    try:
        await sink.commit(Batch(messages, {}, NOBODY))
    finally:
        await sink.close()


async def no_commit(positions: Mapping[TopicPartition, Position], membership: Membership) -> None:
    """For sinks that only publish."""


class FakeCluster:
    """On `tests.fakes.broker`."""

    def __init__(self) -> None:
        self.broker = FakeBroker()

    def topic(self, partitions: int = 1, *, max_bytes: int | None = None) -> str:
        name = f"topic-{uuid.uuid4().hex[:8]}"
        self.broker.create_topic(name, partitions)
        if max_bytes is not None:
            self.broker.faults.max_bytes[name] = max_bytes
        return name

    def source(
        self,
        group: str,
        *topics: str,
        start_from: StartFrom | None = StartFrom.EARLIEST,
        on_out_of_range: OnOutOfRange = OnOutOfRange.HALT,
    ) -> Source:
        return self.broker.source(group, topics, start_from=start_from, on_out_of_range=on_out_of_range)

    def sink(self, source: Source | None = None) -> Sink:
        return self.broker.sink(no_commit if source is None else source.commit)

    def transactional(self, group: str) -> Sink:
        return self.broker.transactional_sink()

    def unsure(self, group: str) -> Sink:
        self.broker.faults.unknown_commit.extend([Unknown.APPLIED, Unknown.LOST, Unknown.LATE])
        return self.broker.transactional_sink()

    async def undecided(self, batch: Batch) -> Callable[[], Awaitable[None]]:
        return await self.broker.undecided(batch)

    async def read(self, topic: str, count: int) -> list[Record]:
        return self.broker.records(topic)

    async def committed(self, group: str, topic: str) -> Mapping[TopicPartition, Position]:
        return {at: found for at, found in self.broker.committed(group).items() if at.topic == topic}

    def reset(self, group: str, topic: str, offset: int) -> None:
        self.broker.committed(group)[TopicPartition(topic, 0)] = Position(offset)

    async def truncate(self, partition: TopicPartition, begin: int) -> None:
        self.broker.truncate(partition, begin)

    async def delete(self, topic: str) -> None:
        self.broker.delete_topic(topic)

    async def make(self, topic: str, partitions: int = 1) -> None:
        self.broker.create_topic(topic, partitions)

    def put_back(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        self.broker.committed(group).update(positions)


class KafkaCluster:
    """On a broker that speaks Kafka's protocol."""

    def __init__(self, bootstrap_servers: str, topics: TopicFactory, protocol: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topics = topics
        # quick rebalances, and a quick answer where a topic does not exist
        classic = {"heartbeat.interval.ms": 100, "session.timeout.ms": 6000}
        self._properties: dict[str, Any] = {
            "group.protocol": protocol,
            "fetch.wait.max.ms": 10,
            "topic.metadata.propagation.max.ms": 300,
            **(classic if protocol == "classic" else {}),
        }

    def settings(
        self,
        group: str,
        start_from: StartFrom | None = None,
        on_out_of_range: OnOutOfRange = OnOutOfRange.HALT,
    ) -> KafkaSettings:
        """Settings for this broker."""
        return KafkaSettings(
            bootstrap_servers=self._bootstrap_servers,
            group_id=group,
            start_from=start_from,
            on_out_of_range=on_out_of_range,
            properties=self._properties,
        )

    def topic(self, partitions: int = 1, *, max_bytes: int | None = None) -> str:
        config = {} if max_bytes is None else {"max.message.bytes": str(max_bytes)}
        return self._topics("conformance", partitions=partitions, config=config)

    def source(
        self,
        group: str,
        *topics: str,
        start_from: StartFrom | None = StartFrom.EARLIEST,
        on_out_of_range: OnOutOfRange = OnOutOfRange.HALT,
    ) -> Source:
        return KafkaSource(self.settings(group, start_from, on_out_of_range), topics, log=log)

    def sink(self, source: Source | None = None) -> Sink:
        return KafkaSink(self.settings("unused"), no_commit if source is None else source.commit, log=log)

    def transactional(self, group: str) -> Sink:
        return TransactionalSink(self.settings(group), log=log)

    def unsure(self, group: str) -> Sink:
        # the request goes out, and nobody waits for its answer
        return TransactionalSink(self.settings(group), log=log, commit_timeout=0.0)

    async def undecided(self, batch: Batch) -> Callable[[], Awaitable[None]]:
        properties = transactional_properties(self.settings("unused"), f"dead-{uuid.uuid4().hex}")
        dead = await asyncio.to_thread(begun, properties, batch)

        async def decide() -> None:
            successor = Producer(properties)
            await asyncio.to_thread(successor.init_transactions, _READ_SECONDS)
            dead.purge()

        return decide

    async def read(self, topic: str, count: int) -> list[Record]:
        return await asyncio.to_thread(self._read, topic, count)

    async def committed(self, group: str, topic: str) -> Mapping[TopicPartition, Position]:
        questions = Topics(self.settings(group), log)
        counts = await questions.describe((topic,))
        return await questions.committed([TopicPartition(topic, number) for number in range(counts[topic])])

    def reset(self, group: str, topic: str, offset: int) -> None:
        self.put_back(group, {TopicPartition(topic, 0): Position(offset)})

    async def truncate(self, partition: TopicPartition, begin: int) -> None:
        await asyncio.to_thread(admin.delete_records, self._bootstrap_servers, partition, begin)

    async def delete(self, topic: str) -> None:
        await asyncio.to_thread(admin.delete_topics, self._bootstrap_servers, [topic])

    async def make(self, topic: str, partitions: int = 1) -> None:
        await asyncio.to_thread(admin.create_topic, self._bootstrap_servers, topic, partitions, {})

    def put_back(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        consumer = self._plain(group)
        consumer.commit(offsets=client_partitions(positions), asynchronous=False)
        consumer.close()

    def _read(self, topic: str, count: int) -> list[Record]:
        consumer = self._plain(uuid.uuid4().hex)
        records: list[Record] = []
        try:
            partitions = consumer.list_topics(topic, timeout=_READ_SECONDS).topics[topic].partitions
            consumer.assign([ClientPartition(topic, number, 0) for number in partitions])
            for _ in range(int(_READ_SECONDS / 0.1)):
                message = consumer.poll(0.1)
                if message is not None and message.error() is None:
                    records.append(record_of(message, TopicPartition(topic, message.partition() or 0), 0))
                if len(records) >= count and message is None:
                    return records
        except KafkaException as problem:
            raise AssertionError(f"topic {topic} cannot be read: {problem}") from problem
        finally:
            consumer.close()
        return records

    def _plain(self, group: str) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )


def begun(properties: dict[str, Any], batch: Batch) -> Producer:
    """A producer with an open transaction."""
    producer = Producer(properties)
    producer.init_transactions(_READ_SECONDS)
    producer.begin_transaction()
    for message in batch.messages:
        producer.produce(message.topic, message.value, message.key)
    producer.send_offsets_to_transaction(client_partitions(batch.positions), batch.membership.group, _READ_SECONDS)
    producer.flush(_READ_SECONDS)
    return producer


class Recorder:
    """A listener that keeps what it hears, and resumes what it is given unless told not to."""

    def __init__(self, source: Source, *, resume: bool = True) -> None:
        self.source = source
        self.resume = resume
        self.records: list[Record] = []
        self.numbers: dict[TopicPartition, int] = {}
        self.starts: dict[TopicPartition, Position] = {}
        self.assignments: dict[TopicPartition, Assignment] = {}
        self.revocations: list[TopicPartition] = []
        self.losses: list[TopicPartition] = []

    def assigned(self, assignments: Mapping[TopicPartition, Assignment]) -> None:
        self.assignments.update(assignments)
        for partition, assignment in assignments.items():
            self.numbers[partition] = assignment.number
            self.starts[partition] = assignment.start
        if self.resume:
            self.source.resume(assignments)

    def arrived(self, records: Sequence[Record]) -> None:
        self.records.extend(records)

    async def revoked(self, partitions: Any) -> None:
        await self.before_revoked(tuple(partitions))
        self.revocations.extend(partitions)
        for partition in partitions:
            self.starts.pop(partition)

    async def before_revoked(self, partitions: tuple[TopicPartition, ...]) -> None:
        """For tests to fill."""

    def lost(self, partitions: Any) -> None:
        self.losses.extend(partitions)


def log(level: int, line: str) -> None:
    """Into the log that pytest shows with a failure."""
    logging.getLogger("kafka").log(level, line)


def listener(recorder: Recorder) -> Listener:
    """Lets mypy check that the recorder is one."""
    return recorder
