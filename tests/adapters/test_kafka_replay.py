"""Plans and their production on a real Kafka: what fences, what is read, what cannot be produced."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.conformance.clusters import log
from tests.integration.readers import TopicReader
from tests.kafka.backend import TestKafka
from tests.kafka.fixtures import KafkaController, TopicFactory
from worker.adapters.kafka import KafkaArchive, PlanGroups, PlanProducer
from worker.adapters.kafka.properties import archive_properties
from worker.errors import (
    CommitAborted,
    CommitError,
    CommitFenced,
    ConfigurationError,
    MessageRefused,
    MetadataTooLarge,
    StartError,
)
from worker.model import Message, Position, Record, TopicPartition
from worker.settings.sections import KafkaSettings

REAL = pytest.mark.real_kafka


class Place:
    """One test's topic, plan and clients."""

    def __init__(self, servers: str, topic: str) -> None:
        self.settings = KafkaSettings(bootstrap_servers=servers, group_id=f"group-of-{topic}")
        self.prefix = f"{self.settings.group_id}.replay."
        self.source = TopicPartition(topic, 0)
        self.archive = KafkaArchive(self.settings, log)
        self.groups = PlanGroups(self.settings, self.prefix, log)
        self.opened: list[PlanProducer] = []

    def producer(self, expected: Callable[[], None] = lambda: None) -> PlanProducer:
        """A producer of plan `one`."""
        made = PlanProducer(self.settings, f"{self.prefix}one", log, expected)
        self.opened.append(made)
        return made

    def message(self, value: bytes, partition: int | None = 0) -> Message:
        """A message to the topic."""
        return Message(self.source.topic, b"key", value, (("name", b"value"),), partition=partition)

    def at(self, offset: int, metadata: str = "plan") -> dict[TopicPartition, Position]:
        """Progress."""
        return {self.source: Position(offset, metadata)}

    def settle(self) -> None:
        """Wait until all that is committed is seen."""
        with closing(TopicReader(self.settings.bootstrap_servers)) as reader:
            reader.settle(self.source.topic)

    def read(self) -> list[Record]:
        """All that is committed."""
        self.settle()
        bounds = self.archive.bounds([self.source])[self.source]
        return flat(self.archive.scan(self.source, *bounds))

    def close(self) -> None:
        """Free everything."""
        for made in self.opened:
            made.close()
        self.archive.close()


def flat(batches: Any) -> list[Record]:
    """The records of a scan."""
    return [record for batch in batches for record in batch]


def refused(
    producer: PlanProducer, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]
) -> object:
    """The indexes of the refused messages; a broker may take its time to give a client that was refused its next epoch."""
    for _ in range(5):
        try:
            producer.commit(messages, positions)
        except MessageRefused as problem:
            return problem.indexes
        except CommitAborted:
            continue
    return None


@pytest.fixture
def place(kafka: TestKafka, topics: TopicFactory) -> Iterator[Place]:
    """A topic of two partitions, which takes messages of a megabyte."""
    made = Place(kafka.bootstrap_servers, topics("replay", partitions=2, config={"max.message.bytes": "1000000"}))
    yield made
    made.close()


def raw(place: Place, transactions: Sequence[tuple[int, bool]]) -> None:
    """Transactions of so many records each, committed or aborted."""
    servers, topic = place.settings.bootstrap_servers, place.source.topic
    producer = Producer({"bootstrap.servers": servers, "transactional.id": f"raw-{topic}"})
    producer.init_transactions(30)
    for count, commits in transactions:
        producer.begin_transaction()
        for number in range(count):
            producer.produce(topic, key=b"%d" % number, value=b"v", partition=0)
        producer.flush(30)
        producer.commit_transaction(30) if commits else producer.abort_transaction(30)
    place.settle()


@REAL
def test_messages_and_progress_stand_together_and_the_group_is_seen_though_nobody_joined_it(place: Place) -> None:
    producer = place.producer()
    producer.connect()
    assert place.groups.read("one") == {}
    producer.commit((), place.at(0))
    assert place.groups.ids() == {"one"}
    producer.commit([place.message(b"1"), place.message(b"2", partition=None)], place.at(7, "x" * 4000))
    assert place.groups.read("one") == place.at(7, "x" * 4000)
    assert [record.value for record in place.read()][:1] == [b"1"]


@REAL
def test_whoever_connects_last_fences_the_other_and_nothing_of_it_stands(place: Place) -> None:
    first, second = place.producer(), place.producer()
    first.connect()
    first.commit([place.message(b"first")], place.at(1))
    second.connect()
    with pytest.raises(CommitFenced):
        first.commit([place.message(b"late")], place.at(2))
    second.commit([place.message(b"second")], place.at(3))
    assert place.groups.read("one") == place.at(3)
    assert [record.value for record in place.read()] == [b"first", b"second"]


@REAL
def test_a_connection_that_is_made_anew_is_checked_before_anything_is_sent(place: Place) -> None:
    looks: list[int] = []

    def expected() -> None:
        looks.append(len(looks))
        if len(looks) > 1:
            raise CommitFenced("moved on")

    producer = place.producer(expected)
    producer.connect()
    producer.commit((), place.at(0))
    # a message that is refused costs the producer, and its successor connects anew
    with pytest.raises(CommitFenced, match="moved on"):
        producer.commit([place.message(b"1"), place.message(b"x" * 5_000_000)], place.at(1))
    assert place.groups.read("one") == place.at(0)
    assert place.read() == []


@REAL
def test_a_message_that_the_topic_does_not_take_is_told_and_the_others_can_go(place: Place) -> None:
    producer = place.producer()
    producer.connect()
    messages = [place.message(b"1"), place.message(b"x" * 5_000_000), place.message(b"2")]
    assert refused(producer, messages, place.at(3)) == (1,)
    producer.commit([messages[0], messages[2]], place.at(3))
    assert [record.value for record in place.read()] == [b"1", b"2"]


@REAL
def test_a_message_of_five_megabytes_goes_to_a_topic_that_takes_it(kafka: TestKafka, topics: TopicFactory) -> None:
    made = Place(kafka.bootstrap_servers, topics("large", config={"max.message.bytes": "8000000"}))
    producer = made.producer()
    producer.connect()
    producer.commit([made.message(b"x" * 5_000_000)], made.at(1))
    [record] = made.read()
    assert len(record.value or b"") == 5_000_000
    made.close()


@REAL
def test_metadata_that_brokers_do_not_take_is_told_apart(place: Place) -> None:
    producer = place.producer()
    producer.connect()
    with pytest.raises(MetadataTooLarge):
        producer.commit((), place.at(0, "x" * 5000))
    assert place.groups.metadata_limit() == 4096


@REAL
def test_a_scan_reaches_an_end_of_markers_and_aborted_records(place: Place) -> None:
    raw(place, [(3, True), (600, False), (2, True), (5, False)])
    begin, end = place.archive.bounds([place.source])[place.source]
    assert (begin, end) == (0, 614)
    records = flat(place.archive.scan(place.source, begin, end))
    assert [record.offset for record in records] == [0, 1, 2, 605, 606]
    assert flat(place.archive.scan(place.source, 608, 614)) == []
    assert [record.offset for record in flat(place.archive.scan(place.source, 1, 606))] == [1, 2, 605]


@REAL
def test_single_records_are_read_amid_a_scan(place: Place) -> None:
    raw(place, [(1500, True), (1, False)])
    scan = place.archive.scan(place.source, 0, 1503)
    seen = list(next(scan))
    assert place.archive.record(place.source, 1400) is not None
    assert place.archive.record(place.source, 1501) is None
    assert place.archive.record(place.source, 9999) is None
    seen += flat(scan)
    assert [record.offset for record in seen] == list(range(1500))


@REAL
def test_a_topic_made_anew_has_another_fingerprint(place: Place, kafka: TestKafka, topics: TopicFactory) -> None:
    other = topics("other")
    marks = place.archive.fingerprints([place.source.topic, other])
    assert len(set(marks.values())) == 2
    assert place.archive.fingerprints([other]) == {other: marks[other]}


@REAL
def test_a_broker_that_is_gone_is_an_error_of_this_moment_and_not_an_empty_group(
    place: Place, kafka_broker: KafkaController
) -> None:
    if not kafka_broker.can_restart:
        pytest.skip("this broker cannot be stopped")
    producer = place.producer()
    producer.connect()
    producer.commit([place.message(b"1")], place.at(1))
    kafka_broker.stop()
    with pytest.raises(CommitError):
        producer.commit([place.message(b"2")], place.at(2))
    with pytest.raises(StartError, match="failed"):
        place.groups.read("one")
    kafka_broker.start()
    assert place.groups.read("one")[place.source].offset in {1, 2}


def test_nothing_that_fences_can_be_set_by_the_user() -> None:
    for name in ("transactional.id", "isolation.level", "group.id"):
        given = KafkaSettings(properties={name: "x"})
        with pytest.raises(ConfigurationError, match=name):
            archive_properties(given)
