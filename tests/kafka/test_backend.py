"""The choice of a backend, and what every test may expect of the Kafka it gets."""

import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer

from tests.kafka.backend import BackendUnavailable, Broker, Candidate, TestKafka, choose
from tests.kafka.docker import container_environment
from tests.kafka.fixtures import KafkaController, TopicFactory
from tests.kafka.maven import cache_directory, find_java

SECONDS = 20.0
TAKEOVER_SECONDS = 10.0  # the default session timeout is 45 s


@dataclass
class FakeBroker:
    bootstrap_servers: str = "fake:9092"
    can_restart: bool = False

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None: ...
    def start(self) -> None: ...
    def stop(self, *, kill: bool = False) -> None: ...
    def close(self) -> None: ...


@dataclass
class Machine:
    """A machine on which some backends are there; it notes which were tried."""

    there: set[str]
    broken: set[str] = field(default_factory=set)
    tried: list[str] = field(default_factory=list)

    def candidates(self) -> list[Candidate]:
        def candidate(name: str) -> Candidate:
            def launch() -> Broker:
                self.tried.append(name)
                if name in self.broken:
                    raise RuntimeError(f"{name} crashed")
                if name not in self.there:
                    raise BackendUnavailable(f"{name} is missing")
                return FakeBroker()

            return Candidate(name, real=name != "mock", launch=launch)

        return [candidate(name) for name in ("given", "docker", "maven", "mock")]


def test_the_most_wanted_backend_that_is_there_is_chosen() -> None:
    choice = choose(Machine(there={"maven", "mock"}).candidates(), {})
    assert (choice.name, choice.real) == ("maven", True)
    assert choice.passed_over == ("docker is missing",)


def test_the_mock_is_chosen_last_and_is_not_real() -> None:
    choice = choose(Machine(there={"mock"}).candidates(), {})
    assert (choice.name, choice.real) == ("mock", False)
    assert choice.passed_over == ("docker is missing", "maven is missing")


def test_a_forced_backend_is_the_only_one_tried() -> None:
    machine = Machine(there={"docker", "maven", "mock"})
    assert choose(machine.candidates(), {"KAFKA_TEST_BACKEND": "mock"}).name == "mock"
    assert machine.tried == ["mock"]


@pytest.mark.parametrize("forced", ["given", "docker", "maven"])
def test_a_forced_backend_that_is_missing_fails_instead_of_falling_back(forced: str) -> None:
    machine = Machine(there={"given", "docker", "maven", "mock"} - {forced})
    with pytest.raises(BackendUnavailable, match=f"{forced} was asked for: {forced} is missing"):
        choose(machine.candidates(), {"KAFKA_TEST_BACKEND": forced})
    assert machine.tried == [forced]


def test_a_given_address_that_does_not_answer_fails_instead_of_falling_back() -> None:
    machine = Machine(there={"docker", "maven", "mock"})
    with pytest.raises(BackendUnavailable, match="given was asked for"):
        choose(machine.candidates(), {"KAFKA_BOOTSTRAP_SERVERS": "nowhere:9092"})
    assert machine.tried == ["given"]


def test_a_forced_backend_wins_over_a_given_address() -> None:
    machine = Machine(there={"given", "mock"})
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "somewhere:9092", "KAFKA_TEST_BACKEND": "mock"}
    assert choose(machine.candidates(), environment).name == "mock"


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BackendUnavailable, match="dokcer is not one of given, docker, maven, mock"):
        choose(Machine(there={"mock"}).candidates(), {"KAFKA_TEST_BACKEND": "dokcer"})


def test_a_broker_that_crashes_at_its_start_is_an_error_and_not_passed_over() -> None:
    machine = Machine(there={"mock"}, broken={"maven"})
    with pytest.raises(RuntimeError, match="maven crashed"):
        choose(machine.candidates(), {})


def test_no_java_is_said_to_be_missing() -> None:
    with pytest.raises(BackendUnavailable, match="no Java in the PATH"):
        find_java({"PATH": "/nonexistent"})


def test_the_cache_is_where_the_environment_says() -> None:
    assert str(cache_directory({"EMBEDDING_WORKER_CACHE": "/c"})).startswith("/c/kafka-4.")
    assert str(cache_directory({"XDG_CACHE_HOME": "/x"})).startswith("/x/embedding-worker/kafka-4.")
    assert ".cache/embedding-worker/kafka-4." in str(cache_directory({}))


def test_the_docker_broker_advertises_the_address_outside_the_container() -> None:
    variables = container_environment("127.0.0.1", 20001)
    assert variables["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:20001"
    assert variables["KAFKA_LISTENERS"].startswith("PLAINTEXT://0.0.0.0:9092,")


def read(kafka: TestKafka, topic: str, count: int, isolation: str = "read_committed") -> list[Message]:
    """The first `count` messages of the topic, in order if it has one partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": f"read-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        consumer.subscribe([topic])
        return consumer.consume(count, SECONDS)
    finally:
        consumer.close()


def producer(kafka: TestKafka, properties: Mapping[str, str | int] | None = None) -> Producer:
    return Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0, **(properties or {})})


def test_a_record_with_headers_and_a_tombstone_come_back_as_sent(kafka: TestKafka, topics: TopicFactory) -> None:
    topic = topics("round-trip")
    sender = producer(kafka)
    headers: list[tuple[str, str | bytes | None]] = [
        ("traceparent", b"00-ab"),
        ("dlq.reason", "é".encode()),
        ("x", None),
    ]
    sender.produce(topic, key=b"k", value=b"\x00v", headers=headers)
    sender.produce(topic, key=b"k", value=None)
    assert sender.flush(SECONDS) == 0
    record, tombstone = read(kafka, topic, 2)
    assert (record.key(), record.value(), record.headers()) == (b"k", b"\x00v", headers)
    assert (tombstone.key(), tombstone.value()) == (b"k", None)


def test_a_topic_has_the_partitions_asked_for(kafka: TestKafka, topics: TopicFactory) -> None:
    topic = topics("six", partitions=6)
    assert len(producer(kafka).list_topics(topic, timeout=SECONDS).topics[topic].partitions) == 6


def test_data_and_address_survive_a_restart(
    kafka: TestKafka, kafka_broker: KafkaController, topics: TopicFactory
) -> None:
    if not kafka_broker.can_restart:
        pytest.skip("the given broker is not the tests' own to stop")
    topic = topics("restart")
    for value, kill in ((b"before", False), (b"between", True)):
        sender = producer(kafka)
        sender.produce(topic, value=value)
        assert sender.flush(SECONDS) == 0
        kafka_broker.restart(kill=kill)
    assert [message.value() for message in read(kafka, topic, 2)] == [b"before", b"between"]


def test_a_stopped_broker_does_not_answer(kafka: TestKafka, kafka_broker: KafkaController) -> None:
    if not kafka_broker.can_restart:
        pytest.skip("the given broker is not the tests' own to stop")
    kafka_broker.stop()
    with pytest.raises(KafkaException):
        producer(kafka).list_topics(timeout=0.3)


def test_the_broker_runs_again_after_a_test_that_stopped_it(kafka: TestKafka) -> None:
    assert producer(kafka).list_topics(timeout=SECONDS).brokers


@pytest.mark.real_kafka
def test_an_aborted_transaction_is_invisible_to_read_committed(kafka: TestKafka, topics: TopicFactory) -> None:
    topic = topics("aborted")
    sender = producer(kafka, {"transactional.id": topic, "transaction.timeout.ms": 10000})
    sender.init_transactions(SECONDS)
    sender.begin_transaction()
    sender.produce(topic, value=b"aborted")
    sender.flush(SECONDS)
    sender.abort_transaction(SECONDS)
    sender.begin_transaction()
    sender.produce(topic, value=b"committed")
    sender.commit_transaction(SECONDS)
    assert [message.value() for message in read(kafka, topic, 1)] == [b"committed"]
    uncommitted = read(kafka, topic, 2, isolation="read_uncommitted")
    assert [message.value() for message in uncommitted] == [b"aborted", b"committed"]


@pytest.mark.real_kafka
def test_a_topic_has_the_configuration_asked_for(kafka: TestKafka, topics: TopicFactory) -> None:
    from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

    resource = ConfigResource(ResourceType.TOPIC, topics("compacted", config={"cleanup.policy": "compact"}))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    described = admin.describe_configs([resource])[resource].result(SECONDS)
    assert described["cleanup.policy"].value == "compact"


MEMBER = """
import sys
from confluent_kafka import Consumer
consumer = Consumer(dict(pair.split("=", 1) for pair in sys.argv[2:]))
consumer.subscribe([sys.argv[1]])
while True:
    if consumer.poll(0.1) is not None:
        print("owner", flush=True)
"""


@pytest.mark.real_kafka
@pytest.mark.parametrize("protocol", [{"group.protocol": "consumer"}, {"session.timeout.ms": "1000"}])
def test_the_partition_of_a_killed_member_is_taken_over_within_seconds(
    kafka: TestKafka, topics: TopicFactory, protocol: dict[str, str]
) -> None:
    topic = topics("takeover")
    sender = producer(kafka)
    sender.produce(topic, value=b"v")
    assert sender.flush(SECONDS) == 0
    properties = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "group.id": topic,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
        **protocol,
    }
    pairs = [f"{name}={value}" for name, value in properties.items()]
    with subprocess.Popen([sys.executable, "-c", MEMBER, topic, *pairs], stdout=subprocess.PIPE) as member:
        assert member.stdout is not None
        try:
            assert member.stdout.readline() == b"owner\n"
        finally:
            member.kill()
    consumer = Consumer(properties)
    consumer.subscribe([topic])
    try:
        assert [message.value() for message in consumer.consume(1, TAKEOVER_SECONDS)] == [b"v"]
    finally:
        consumer.close()
