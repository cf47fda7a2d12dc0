"""The embedded broker: what the demo relies on."""

import ctypes
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from worker.emulator import broker as broker_module
from worker.emulator.broker import EmbeddedBroker, EmbeddedBrokerError, EmbeddedBrokerUnavailable

SECONDS = 20.0
PRODUCE = 0  # Kafka's API key


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded


def send(bootstrap_servers: str, topic: str, value: bytes | None, **properties: str | int) -> KafkaError | None:
    """Produces one record and returns its delivery error."""
    outcomes: list[KafkaError | None] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        outcomes.append(error)

    sender = Producer({"bootstrap.servers": bootstrap_servers, "log_level": 0} | properties)
    sender.produce(topic, key=b"k", value=value, headers=[("h", b"1")], on_delivery=delivered)
    sender.flush(SECONDS)
    assert len(outcomes) == 1
    return outcomes[0]


def test_records_headers_and_tombstones_come_back_as_sent(broker: EmbeddedBroker) -> None:
    servers = broker.start()
    broker.create_topic("events", 1)
    assert send(servers, "events", b"v") is None
    assert send(servers, "events", None) is None
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["events"])
    try:
        messages = consumer.consume(2, SECONDS)
    finally:
        consumer.close()
    assert [(m.key(), m.value(), m.headers()) for m in messages] == [
        (b"k", b"v", [("h", b"1")]),
        (b"k", None, [("h", b"1")]),
    ]


def test_a_topic_has_the_partitions_asked_for(broker: EmbeddedBroker) -> None:
    servers = broker.start()
    broker.create_topic("six", 6)
    metadata = Producer({"bootstrap.servers": servers}).list_topics("six", timeout=SECONDS)
    assert len(metadata.topics["six"].partitions) == 6


def test_a_cluster_has_the_brokers_asked_for() -> None:
    with EmbeddedBroker(brokers=3) as cluster:
        assert len(Producer({"bootstrap.servers": cluster.start()}).list_topics(timeout=SECONDS).brokers) == 3


@pytest.mark.parametrize(
    ("name", "partitions"), [("events", 1), ("no spaces", 1), ("", 1), ("x" * 250, 1), ("none", 0)]
)
def test_a_topic_that_exists_or_is_not_allowed_is_refused(broker: EmbeddedBroker, name: str, partitions: int) -> None:
    broker.start()
    broker.create_topic("events", 1)
    with pytest.raises(EmbeddedBrokerError, match="cannot create topic"):
        broker.create_topic(name, partitions)


def test_an_injected_error_reaches_the_producer_and_only_once(broker: EmbeddedBroker) -> None:
    servers = broker.start()
    broker.create_topic("events", 1)
    broker.push_request_errors(PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
    error = send(servers, "events", b"v")
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert send(servers, "events", b"v") is None


def test_a_retriable_injected_error_is_retried_by_the_client(broker: EmbeddedBroker) -> None:
    servers = broker.start()
    broker.create_topic("events", 1)
    broker.push_request_errors(PRODUCE, [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_ENOUGH_REPLICAS])
    assert send(servers, "events", b"v", **{"retry.backoff.ms": 10}) is None


def test_a_broker_that_is_down_does_not_answer_until_it_is_up(broker: EmbeddedBroker) -> None:
    servers = broker.start()
    broker.set_down(1)
    client = Producer({"bootstrap.servers": servers, "log_level": 0, "reconnect.backoff.max.ms": 100})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=0.3)
    broker.set_up(1)
    assert client.list_topics(timeout=SECONDS).brokers


def test_a_round_trip_time_delays_the_answers(broker: EmbeddedBroker) -> None:
    servers = broker.start()
    broker.set_rtt(1, 2000)
    with pytest.raises(KafkaException):
        Producer({"bootstrap.servers": servers, "log_level": 0}).list_topics(timeout=0.5)


def test_a_broker_that_is_not_there_is_named(broker: EmbeddedBroker) -> None:
    broker.start()
    with pytest.raises(EmbeddedBrokerError, match="no broker 2"):
        broker.set_down(2)


def test_it_cannot_be_used_before_start_or_after_close(broker: EmbeddedBroker) -> None:
    with pytest.raises(EmbeddedBrokerError, match="call start"):
        broker.create_topic("events", 1)
    broker.start()
    with pytest.raises(EmbeddedBrokerError, match="already started"):
        broker.start()
    broker.close()
    broker.close()
    with pytest.raises(EmbeddedBrokerError, match="call start"):
        broker.push_request_errors(PRODUCE, [1])


def test_a_librdkafka_without_the_functions_is_refused_with_the_version_that_has_them(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(broker_module._SIGNATURES, "rd_kafka_mock_gone", (ctypes.c_int, []))
    with pytest.raises(EmbeddedBrokerUnavailable, match=r"lacks rd_kafka_mock_gone.*2\.16"):
        broker.start()
