"""Exactly-once on a real Kafka, where it has to be hurt: the broker killed, the client hanging, the process stopped."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.clusters import KafkaCluster, Recorder, listener, log, publish
from tests.conformance.steps import joined, numbered, offsets, until
from tests.kafka import admin
from tests.kafka.backend import TestKafka
from tests.kafka.fixtures import KafkaController, TopicFactory
from worker.adapters.kafka import KafkaSource, TransactionalSink, session_timeout, transactional_sink, transactions
from worker.adapters.kafka.clients import open_producer
from worker.adapters.kafka.properties import consumer_properties, transactional_properties
from worker.adapters.kafka.transactions import Transactions
from worker.errors import CommitAborted, CommitUnknown, ConfigurationError, MessageRefused, StartError
from worker.model import Batch, Membership, Message, Position, TopicPartition
from worker.ports import Source
from worker.settings.sections import KafkaSettings

REAL = pytest.mark.real_kafka


def settings(**properties: Any) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers="127.0.0.1:1", properties=properties)


def dotted(**properties: Any) -> KafkaSettings:
    return settings(**{name.replace("_", "."): value for name, value in properties.items()})


def test_timeouts_follow_that_of_the_transaction() -> None:
    plain = transactional_properties(settings(), "id")
    assert (plain["transaction.timeout.ms"], plain["delivery.timeout.ms"]) == (10_000, 10_000)
    assert plain["metadata.recovery.strategy"] == "none"
    given = dotted(transaction_timeout_ms=2000, message_timeout_ms=60_000, linger_ms=3, retry_backoff_ms=50)
    lower = transactional_properties(given, "id")
    assert lower["socket.timeout.ms"] < lower["transaction.timeout.ms"] == lower["message.timeout.ms"] == 2000
    assert (lower["linger.ms"], lower["retry.backoff.ms"]) == (3, 50)
    lines: list[str] = []
    for properties in (plain, lower):
        open_producer(properties, lambda level, line: lines.append(line)).poll(0.05)
    assert not [line for line in lines if "CONFWARN" in line]


@pytest.mark.parametrize("milliseconds", [100, 10_001, "soon"])
def test_a_transaction_time_out_that_cannot_be_is_refused(milliseconds: object) -> None:
    with pytest.raises(ConfigurationError, match=r"transaction\.timeout\.ms"):
        transactional_properties(dotted(transaction_timeout_ms=milliseconds), "id")


def test_what_hangs_transactions_is_refused_to_users() -> None:
    with pytest.raises(ConfigurationError, match=r"metadata\.recovery\.strategy .*hang"):
        consumer_properties(dotted(metadata_recovery_strategy="rebootstrap"))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (settings(), 15.0),
        (dotted(session_timeout_ms=6000), 6.0),
        (dotted(session_timeout_ms="9000"), 9.0),
        (dotted(group_protocol="Consumer"), 45.0),
    ],
)
def test_the_session_timeout_is_known(given: KafkaSettings, seconds: float) -> None:
    assert session_timeout(given) == seconds
    assert given.properties.get("group.protocol") or seconds * 1000 == int(
        consumer_properties(given)["session.timeout.ms"]
    )


def test_a_session_timeout_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"session\.timeout\.ms"):
        session_timeout(dotted(session_timeout_ms="long"))


async def test_without_brokers_a_sink_says_so_and_closes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactional_sink, "_CONNECT_SECONDS", 0.3)
    sink = TransactionalSink(settings(), log=log)
    with pytest.raises(StartError, match=r"127\.0\.0\.1:1"):
        await sink.start()
    before = time.monotonic()
    await sink.close()
    await sink.close()
    assert time.monotonic() - before < 20


@pytest.fixture
def cluster(kafka: TestKafka, topics: TopicFactory) -> KafkaCluster:
    return KafkaCluster(kafka.bootstrap_servers, topics, "classic")


@pytest.fixture
async def closing() -> AsyncIterator[list[Source]]:
    sources: list[Source] = []
    yield sources
    for source in reversed(sources):
        await source.close()


class Scene:
    """A source with one partition, an output topic, and a sink."""

    def __init__(self, cluster: KafkaCluster, source: Source, topic: str, sink: TransactionalSink) -> None:
        self.source = source
        self.sink = sink
        self.output = cluster.topic()
        self.partition = TopicPartition(topic, 0)
        self._cluster = cluster
        self._membership: Membership | None = None

    async def commit(self, number: int) -> None:
        """One message and one position, both of this number."""
        self._membership = self._membership or await self.source.snapshot()
        message = Message(self.output, b"key", b"%d" % number, ())
        await self.sink.commit(Batch((message,), {self.partition: Position(number)}, self._membership))

    async def settled(self) -> int:
        """What is committed once that can be told."""
        async with asyncio.timeout(50):
            while True:
                try:
                    await self.sink.settle()
                    return offsets(await self.source.recall([self.partition]))[self.partition]
                except CommitAborted:
                    await asyncio.sleep(0.05)

    async def committed_in_the_end(self, number: int) -> None:
        """Try until it stands."""
        async with asyncio.timeout(50):
            while True:
                try:
                    return await self.commit(number)
                except CommitAborted:
                    self._membership = None
                    await asyncio.sleep(0.1)

    async def visible(self) -> list[bytes | None]:
        """To `read_committed`, behind what has been committed."""
        await publish(self._cluster, Message(self.output, b"key", b"end", ()))
        values = [record.value for record in await self._cluster.read(self.output, 1)]
        assert values[-1:] == [b"end"]
        return values[:-1]


@asynccontextmanager
async def scene(
    cluster: KafkaCluster, closing: list[Source], *, commit_timeout: float = 10.0, **properties: Any
) -> AsyncIterator[Scene]:
    topic = cluster.topic()
    source, _ = await joined(cluster, topic, topic, closing)
    given = cluster.settings(topic)
    for name, value in properties.items():
        given.properties[name.replace("_", ".")] = value
    sink = TransactionalSink(given, log=log, commit_timeout=commit_timeout)
    await sink.start()
    try:
        yield Scene(cluster, source, topic, sink)
    finally:
        await sink.close()


def before(step: str, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Do something once, on the sink's thread, before a step of a transaction."""
    ordinary = getattr(Transactions, step)
    done = threading.Event()

    def changed(self: Transactions, *arguments: Any) -> Any:
        if not done.is_set():
            done.set()
            action()
        return ordinary(self, *arguments)

    monkeypatch.setattr(Transactions, step, changed)


@REAL
async def test_a_broker_killed_before_the_commit_arrives_leaves_it_unknown_and_then_not_standing(
    cluster: KafkaCluster, closing: list[Source], kafka_broker: KafkaController, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(cluster, closing, commit_timeout=1.0) as on:
        await on.commit(1)
        before("_commit", monkeypatch, lambda: kafka_broker.stop(kill=True))
        with pytest.raises(CommitUnknown):
            await on.commit(2)
        with pytest.raises(CommitAborted):
            await on.commit(3)
        await asyncio.to_thread(kafka_broker.start)
        assert await on.settled() == 1
        await on.committed_in_the_end(4)
        assert await on.visible() == [b"1", b"4"]


@REAL
async def test_a_sink_that_is_closed_in_a_commit_calls_its_outcome_unknown(
    cluster: KafkaCluster, closing: list[Source], kafka_broker: KafkaController, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(cluster, closing) as on:
        await on.commit(1)
        stopped = threading.Event()

        def stop() -> None:
            kafka_broker.stop(kill=True)
            stopped.set()

        before("_commit", monkeypatch, stop)
        monkeypatch.setattr(transactional_sink, "_CLOSE_SECONDS", 0.3)
        committing = asyncio.create_task(on.commit(2))
        await until(stopped.is_set)
        await until(lambda: committing.done() or on.sink._desk.transactions._committing)  # type: ignore[union-attr]
        began = time.monotonic()
        await on.sink.close()
        assert time.monotonic() - began < 5
        with pytest.raises(CommitUnknown):
            await committing
        await asyncio.to_thread(kafka_broker.start)


@REAL
async def test_commits_go_on_after_a_restart_of_the_broker(
    cluster: KafkaCluster, closing: list[Source], kafka_broker: KafkaController
) -> None:
    async with scene(cluster, closing) as on:
        await on.commit(1)
        await asyncio.to_thread(kafka_broker.restart)
        began = time.monotonic()
        await on.committed_in_the_end(2)
        assert time.monotonic() - began < 50  # the client may hang (librdkafka #5456), and is given up after 5 s
        assert await on.settled() == 2
        assert await on.visible() == [b"1", b"2"]


@REAL
@pytest.mark.parametrize(
    ("step", "expected"), [("_send_offsets", CommitAborted), ("_flush", (CommitAborted, CommitUnknown))]
)
async def test_a_transaction_over_its_time_is_aborted_and_the_next_one_has_a_new_producer(
    cluster: KafkaCluster, closing: list[Source], monkeypatch: pytest.MonkeyPatch, step: str, expected: Any
) -> None:
    async with scene(cluster, closing, transaction_timeout_ms=1200) as on:
        await on.commit(1)
        before(step, monkeypatch, lambda: time.sleep(3.2))  # the brokers look every second
        monkeypatch.setattr(transactions, "OVERDUE_SECONDS", 10.0)
        with pytest.raises(expected):
            await on.commit(2)
        assert await on.settled() == 1
        await on.commit(3)
        assert await on.visible() == [b"1", b"3"]


@REAL
async def test_a_client_that_does_not_return_is_given_up_and_what_it_does_later_has_no_effect(
    cluster: KafkaCluster, closing: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(cluster, closing, transaction_timeout_ms=2000) as on:
        await on.commit(1)
        returned = threading.Event()
        before("_commit", monkeypatch, lambda: void(returned.wait(30)))
        monkeypatch.setattr(transactions, "OVERDUE_SECONDS", 0.3)
        with pytest.raises(CommitAborted):
            await on.commit(2)
        monkeypatch.setattr(transactions, "OVERDUE_SECONDS", 3.0)
        returned.set()
        assert await on.settled() == 1
        await on.commit(3)
        await until(
            lambda: len([thread for thread in threading.enumerate() if thread.name == "kafka-transactions"]) == 1
        )
        assert await on.settled() == 3
        assert await on.visible() == [b"1", b"3"]


@REAL
async def test_a_commit_that_does_not_return_is_unknown_and_settled_by_the_next_producer(
    cluster: KafkaCluster, closing: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(cluster, closing) as on:
        await on.commit(1)
        returned = threading.Event()
        ordinary = Transactions._call
        hung: list[object] = []

        def call(self: Transactions, function: Callable[[float], object], seconds: float) -> Any:
            found = ordinary(self, function, seconds)
            if getattr(function, "__name__", "") == "commit_transaction" and not hung:
                hung.append(function)
                returned.wait(30)
            return found

        monkeypatch.setattr(Transactions, "_call", call)
        monkeypatch.setattr(transactions, "OVERDUE_SECONDS", 0.3)
        with pytest.raises(CommitUnknown):
            await on.commit(2)
        monkeypatch.setattr(transactions, "OVERDUE_SECONDS", 3.0)
        assert await on.settled() == 2
        await on.commit(3)
        returned.set()
        assert await on.visible() == [b"1", b"2", b"3"]


@REAL
async def test_a_process_that_was_stopped_beyond_its_session_commits_nothing_when_it_wakes(
    cluster: KafkaCluster, kafka: TestKafka, closing: list[Source]
) -> None:
    topic, output = cluster.topic(), cluster.topic()
    zombie = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.adapters.zombie", kafka.bootstrap_servers, topic, topic, output,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert zombie.stdin is not None
    assert zombie.stdout is not None
    try:
        async with asyncio.timeout(50):
            assert await zombie.stdout.readline() == b"ready\n"
            zombie.send_signal(signal.SIGSTOP)
            source, recorder = await joined(cluster, topic, topic, closing)
            sink = cluster.transactional(topic)
            await sink.start()
            partition = TopicPartition(topic, 0)
            assert offsets(recorder.starts) == {partition: 0}
            batch = Batch(
                (Message(output, b"key", b"successor", ()),), {partition: Position(5)}, await source.snapshot()
            )
            await sink.commit(batch)
            zombie.stdin.write(b"commit\n")
            zombie.send_signal(signal.SIGCONT)
            assert (await zombie.stdout.readline()).startswith(b"CommitAborted")
            assert offsets(await source.recall([partition])) == {partition: 5}
            await sink.close()
    finally:
        zombie.kill()
        await zombie.wait()
    assert [record.value for record in await cluster.read(output, 1)] == [b"successor"]


@REAL
@pytest.mark.parametrize("exactly_once", [True, False])
async def test_a_message_without_key_to_a_compacted_topic_is_named_among_its_neighbours(
    cluster: KafkaCluster, topics: TopicFactory, closing: list[Source], *, exactly_once: bool
) -> None:
    async with scene(cluster, closing) as on:
        output = topics("compacted", config={"cleanup.policy": "compact"})
        sink = on.sink if exactly_once else cluster.sink(on.source)
        await sink.start()
        keys = [b"a", b"b", None, b"c"]
        messages = [Message(output, key, b"value", ()) for key in keys]
        batch = Batch(messages, {on.partition: Position(1)}, await on.source.snapshot())
        with pytest.raises(MessageRefused) as refused:
            await sink.commit(batch)
        assert refused.value.indexes == (2,)
        rest = [message for message in batch.messages if message.key is not None]
        if exactly_once:
            await sink.commit(replace(batch, messages=rest))
        await sink.close()
        assert [record.key for record in await cluster.read(output, 3)] == [b"a", b"b", b"c"]


@REAL
async def test_recall_is_refused_while_a_transaction_stays_undecided(
    cluster: KafkaCluster, closing: list[Source]
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    source = KafkaSource(cluster.settings(topic), (topic,), log=log, recall_timeout=0.3)
    closing.append(source)
    recorder = Recorder(source)
    await source.start(listener(recorder))
    await until(lambda: recorder.starts)
    decide = await cluster.undecided(Batch(numbered(topic, 1), {partition: Position(1)}, await source.snapshot()))
    with pytest.raises(CommitAborted, match="undecided"):
        await source.recall([partition])
    await decide()
    assert offsets(await source.recall([partition])) == {partition: 0}


@REAL
async def test_a_topic_made_again_under_its_name_has_another_id(
    cluster: KafkaCluster, kafka: TestKafka, closing: list[Source]
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    source, recorder = await joined(cluster, topic, topic, closing)
    await source.close()
    await asyncio.to_thread(admin.delete_topics, kafka.bootstrap_servers, [topic])
    await asyncio.to_thread(admin.create_topic, kafka.bootstrap_servers, topic, 1, {})
    _, again = await joined(cluster, topic, topic, closing)
    first, second = recorder.assignments[partition], again.assignments[partition]
    assert first.cluster == second.cluster
    assert first.topic_id != second.topic_id


def void(_: object) -> None:
    """For calls that return something."""
