"""The clusters that the suite runs on."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conformance.clusters import Cluster, FakeCluster, KafkaCluster
from tests.kafka.backend import TestKafka
from tests.kafka.fixtures import TopicFactory
from worker.emulator.broker import EmbeddedBroker
from worker.ports import Source

REAL = pytest.mark.real_kafka
EVERYWHERE = ["fake", "embedded", pytest.param("kafka", marks=REAL), pytest.param("kafka_new_protocol", marks=REAL)]


@pytest.fixture(scope="module")
def embedded() -> Iterator[tuple[str, TopicFactory]]:
    """The embedded broker, for all tests of this module."""
    with EmbeddedBroker() as broker:
        address = broker.start()

        def topics(label: str = "topic", *, partitions: int = 1, config: object = None) -> str:
            name = f"{label}-{uuid.uuid4().hex[:12]}"
            broker.create_topic(name, partitions)
            return name

        yield address, topics


@pytest.fixture(params=EVERYWHERE)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    if request.param == "fake":
        return FakeCluster()
    if request.param == "embedded":
        address, embedded_topics = request.getfixturevalue("embedded")
        return KafkaCluster(address, embedded_topics, "consumer")
    kafka: TestKafka = request.getfixturevalue("kafka")
    topics: TopicFactory = request.getfixturevalue("topics")
    if request.param == "kafka_new_protocol" and kafka.backend == "given":
        pytest.skip("the given broker may be older than group.protocol=consumer")
    return KafkaCluster(kafka.bootstrap_servers, topics, "classic" if request.param == "kafka" else "consumer")


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def closing() -> AsyncIterator[list[Source]]:
    """Sources put in here are closed at the end."""
    sources: list[Source] = []
    yield sources
    for source in reversed(sources):
        await source.close()
