"""The Kafka adapter where no broker is needed, and what only a real client shows."""

import asyncio
import ctypes
import logging
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import confluent_kafka.cimpl
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.conformance.clusters import Recorder, listener
from tests.kafka.backend import TestKafka
from tests.kafka.fixtures import TopicFactory
from worker.adapters.kafka import KafkaSource, Topics
from worker.adapters.kafka.clients import LineLogger, open_consumer, open_producer
from worker.adapters.kafka.properties import (
    admin_properties,
    consumer_properties,
    delivery_seconds,
    producer_properties,
    reader_properties,
)
from worker.adapters.kafka.publisher import Publisher, in_order
from worker.adapters.kafka.records import UNREADABLE_HEADERS, is_member
from worker.emulator.broker import EmbeddedBroker
from worker.errors import CommitAborted, ConfigurationError, StartError
from worker.model import Message, TopicPartition
from worker.settings.sections import KafkaSettings, StartFrom

_ORDINARY = 300


def settings(properties: Mapping[str, Any], **more: Any) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers="127.0.0.1:1", properties=dict(properties), **more)


@pytest.mark.parametrize(
    "name",
    [
        "enable.auto.commit",
        "auto.commit.enable",
        "enable.auto.offset.store",
        "isolation.level",
        "auto.offset.reset",
        "group.id",
        "transactional.id",
        "enable.idempotence",
        "acks",
        "request.required.acks",
        "bootstrap.servers",
        "error_cb",
    ],
)
@pytest.mark.parametrize("make", [consumer_properties, reader_properties, producer_properties, admin_properties])
def test_a_fixed_property_is_refused_by_name(make: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"WORKER_KAFKA__PROPERTIES: {name} "):
        make(settings({name: "x"}))


def test_each_client_takes_its_properties_without_a_complaint() -> None:
    lines: list[str] = []
    given = settings({"linger.ms": 1, "session.timeout.ms": 9000, "client.rack": "a", "compression.codec": "lz4"})
    consumer = open_consumer(consumer_properties(given), lambda level, line: lines.append(line))
    reader = open_consumer(reader_properties(given), lambda level, line: lines.append(line))
    producer = open_producer(producer_properties(given), lambda level, line: lines.append(line))
    for client in (consumer, reader, producer):
        client.poll(0.05)
    consumer.close()
    reader.close()
    assert not [line for line in lines if "CONFWARN" in line]
    assert producer_properties(given)["compression.codec"] == "lz4"


def test_the_new_group_protocol_brings_no_property_that_it_forbids() -> None:
    given = consumer_properties(settings({"group.protocol": "consumer"}))
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & set(given)
    open_consumer(given, lambda level, line: None).close()


def test_an_unknown_property_is_named_and_no_secret_is_repeated() -> None:
    with pytest.raises(ConfigurationError, match=r"no\.such\.property"):
        open_consumer(consumer_properties(settings({"no.such.property": 1})), lambda level, line: None)
    given = producer_properties(settings({"sasl.password": "hunter2", "security.protocol": "hunter2"}))
    with pytest.raises(ConfigurationError) as wrong:
        open_producer(given, lambda level, line: None)
    assert "hunter2" not in str(wrong.value)
    assert "security.protocol" in str(wrong.value)


def test_the_delivery_timeout_follows_the_users_and_is_never_infinite() -> None:
    assert delivery_seconds(producer_properties(settings({}))) == 30
    assert delivery_seconds(producer_properties(settings({"message.timeout.ms": 7000}))) == 7
    assert delivery_seconds(producer_properties(settings({"delivery.timeout.ms": 0}))) == 600


def test_a_line_that_differs_in_numbers_only_is_logged_once_a_minute() -> None:
    now = [0.0]
    lines: list[tuple[int, str]] = []
    logger = LineLogger(lambda level, line: lines.append((level, line)), lambda: now[0])
    logger.log(30, "%s down after %d ms", "broker 1", 5)
    logger.log(30, "%s down after %d ms", "broker 1", 6)
    logger.error(KafkaError(KafkaError._FATAL))
    now[0] = 61.0
    logger.log(30, "%s down after %d ms", "broker 1", 7)
    assert [line for _, line in lines] == ["broker 1 down after 5 ms", lines[1][1], "broker 1 down after 7 ms"]
    assert lines[1][0] in {logging.WARNING, logging.ERROR}


def metadata(generation: int, member: bytes) -> bytes:
    return b"CGMDv2:" + struct.pack("=i", generation) + b"group\0" + member + b"\0\x01"


@pytest.mark.parametrize(
    ("value", "member"),
    [
        (metadata(3, b"member"), True),
        (metadata(0, b"member"), True),
        (metadata(-1, b"member"), False),
        (metadata(3, b""), False),
        (b"CGMDv2:", False),
        (b"CGMDv9:" + bytes(40), False),
        (None, False),
    ],
)
def test_group_metadata_tell_a_member_from_one_that_has_not_joined(value: object, member: bool) -> None:
    assert is_member(value) is member


async def test_an_unreachable_broker_is_waited_for_with_a_word_and_then_named() -> None:
    words: list[str] = []
    with pytest.raises(StartError, match=r"127\.0\.0\.1:1.*WORKER_KAFKA__BOOTSTRAP_SERVERS"):
        await Topics(settings({}), lambda level, line: None).wait_reachable(words.append, patience=0.1)
    assert all("127.0.0.1:1" in word for word in words)


def keyed(*keys: str) -> list[Message]:
    return [Message("out", key.encode() or None, b"", ()) for key in keys]


@pytest.mark.parametrize(
    ("messages", "delivered", "kept"),
    [
        (keyed("a", "b", "a"), {0, 1, 2}, {0, 1, 2}),
        (keyed("a", "b", "a"), {1, 2}, {1}),
        (keyed("a", "b", "a", "a"), {0, 3}, {0}),
        (keyed("", "", ""), {1, 2}, {1, 2}),
        ([*keyed("a"), Message("other", b"a", b"", ())], {1}, {1}),
    ],
)
def test_what_was_delivered_before_an_older_message_of_its_key_is_to_be_repeated_behind_it(
    messages: list[Message], delivered: set[int], kept: set[int]
) -> None:
    assert in_order(messages, delivered) == kept


async def test_a_publisher_that_is_given_up_ends_although_no_broker_answers() -> None:
    publisher = Publisher(producer_properties(settings({})), lambda level, line: None)
    publishing = asyncio.create_task(asyncio.to_thread(publisher.publish, keyed("a", "b")))
    await asyncio.sleep(0.05)
    publisher.give_up()
    async with asyncio.timeout(20):
        with pytest.raises(CommitAborted, match="the worker ends") as aborted:
            await publishing
    assert aborted.value.published == frozenset()
    publisher.close()


class FatalProducer:
    """Raises its fatal error from the first flush, as the client does, and reports it for its message in the second."""

    def __init__(self) -> None:
        self._reports: list[Any] = []
        self._raised = False

    def produce(self, topic: str, *, on_delivery: Any, **_: object) -> None:
        self._reports.append(on_delivery)

    def poll(self, seconds: float) -> None:
        """Nothing to report."""

    def purge(self) -> None:
        """Nothing held."""

    def flush(self, seconds: float) -> None:
        if not self._raised:
            self._raised = True
            raise KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
        for report in self._reports:
            report(KafkaError(KafkaError._FATAL, "fenced", fatal=True), None)


async def test_a_fatal_error_that_the_client_raises_while_it_is_waited_for_aborts_the_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.adapters.kafka.publisher.open_producer", lambda *_: FatalProducer())
    with pytest.raises(CommitAborted, match="fenced"):
        Publisher(producer_properties(settings({})), lambda level, line: None).publish(keyed("a"))


@pytest.fixture(scope="module")
def embedded() -> Iterator[tuple[EmbeddedBroker, str]]:
    with EmbeddedBroker() as broker:
        yield broker, broker.start()


async def test_a_header_whose_name_is_not_utf_8_costs_the_headers_and_nothing_else(
    embedded: tuple[EmbeddedBroker, str],
) -> None:
    broker, address = embedded
    broker.create_topic("hostile", 1)
    # by then the interpreter has specialised the calls made for each record, and checks less
    await asyncio.to_thread(produce_ordinary, address, "hostile", _ORDINARY)
    await asyncio.to_thread(produce_with_header, address, b"hostile", b"\xff\xfe")
    new_protocol = {"group.protocol": "consumer"}
    given = KafkaSettings(bootstrap_servers=address, start_from=StartFrom.EARLIEST, properties=new_protocol)
    source = KafkaSource(given, ("hostile",), log=lambda level, line: None)
    recorder = Recorder(source)
    await source.start(listener(recorder))
    try:
        async with asyncio.timeout(50):
            while len(recorder.records) <= _ORDINARY:
                await asyncio.sleep(0.005)
    finally:
        await source.close()
    *ordinary, record = recorder.records
    assert {each.headers for each in ordinary} == {(("name", b"value"),)}
    assert record.value == b"value"
    assert [name for name, _ in record.headers] == [UNREADABLE_HEADERS]


@pytest.mark.real_kafka
async def test_positions_lie_behind_what_yields_no_record(kafka: TestKafka, topics: TopicFactory) -> None:
    """One record, then a commit marker, an aborted record and its marker: offsets 0 to 3."""
    topic = topics("markers")
    await asyncio.to_thread(produce_transactions, kafka.bootstrap_servers, topic)
    given = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, group_id=topic, start_from=StartFrom.EARLIEST)
    source = KafkaSource(given, (topic,), log=lambda level, line: None)
    recorder = Recorder(source)
    await source.start(listener(recorder))
    try:
        async with asyncio.timeout(50):
            while await source.positions() != {TopicPartition(topic, 0): 4}:
                await asyncio.sleep(0.005)
    finally:
        await source.close()
    assert [record.value for record in recorder.records] == [b"kept"]


def produce_transactions(address: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": address, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"kept")
    producer.commit_transaction(20)
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.flush(20)
    producer.abort_transaction(20)


def produce_ordinary(address: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": address})
    for _ in range(count):
        producer.produce(topic, b"", headers=[("name", b"value")])
    producer.flush(20)


def produce_with_header(address: str, topic: bytes, name: bytes) -> None:
    """By librdkafka's C functions, as the Python client crashes on such a name."""
    library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for function in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, function).restype = pointer
    errors = ctypes.create_string_buffer(512)
    conf = pointer(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", address.encode(), errors, ctypes.c_size_t(512))
    client = pointer(library.rd_kafka_new(number(0), conf, errors, ctypes.c_size_t(512)))
    headers = pointer(library.rd_kafka_headers_new(ctypes.c_size_t(1)))
    library.rd_kafka_header_add(headers, name, ctypes.c_ssize_t(len(name)), b"v", ctypes.c_ssize_t(1))
    # tags of rd_kafka_vtype_t: 1 topic, 4 value, 7 flags (2: copy), 10 headers, 0 end
    code = library.rd_kafka_producev(
        client,
        *(number(1), text(topic)),
        *(number(7), number(2)),
        *(number(4), text(b"value"), ctypes.c_size_t(5)),
        *(number(10), headers),
        number(0),
    )
    assert code == 0
    assert library.rd_kafka_flush(client, number(10_000)) == 0
    library.rd_kafka_destroy(client)
