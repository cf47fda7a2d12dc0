"""What the adapter tells of partitions and records that wait, by a clock that tests move."""

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.commits import OffsetCommits
from worker.adapters.kafka.fetching import Fetching
from worker.adapters.kafka.out_of_range import OutOfRange
from worker.adapters.kafka.starts import Starts
from worker.model import TopicPartition
from worker.settings.sections import OnOutOfRange

HELD, WELL = TopicPartition("texts", 0), TopicPartition("texts", 1)


class Message:
    """One record of the partition that is held back."""

    def __getattr__(self, name: str) -> Any:
        values = {"topic": "texts", "partition": 0, "offset": 7, "timestamp": (0, -1)}
        return lambda: values.get(name)


class Client:
    """A consumer whose brokers do not tell the offset of `HELD`; `range`: what they tell of a partition's records."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.range: tuple[int, int] | None = None
        self.sought: list[int] = []

    def committed(self, partitions: Sequence[ClientPartition], timeout: float) -> list[ClientPartition]:
        if any(partition.partition == HELD.partition for partition in partitions):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return [ClientPartition(partition.topic, partition.partition, 3) for partition in partitions]

    def get_watermark_offsets(self, partition: ClientPartition, timeout: float) -> tuple[int, int] | None:
        return self.range

    def seek(self, partition: ClientPartition) -> None:
        self.sought.append(partition.offset)

    def poll(self, seconds: float) -> Any:
        return self.messages.pop() if self.messages else None


class Places:
    """Knows a topic's id, or does not."""

    known = True

    def of(self, topic: str) -> tuple[str, str] | None:
        return ("cluster", "id") if self.known else None

    def renew(self, topics: object, after: float = 0.0) -> None: ...

    def look(self, consumer: object) -> None: ...

    def replaced(self, topic: str) -> bool:
        return False


class Watch:
    """Confirms a topic's id, or does not."""

    sure = False

    def trusts(self, topic: str, polled: float) -> bool:
        return self.sure

    def confirms(self, topic: str, since: float) -> bool:
        return self.sure

    def hasten(self) -> None: ...


class Scene:
    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        self.client, self.places, self.watch = Client(), Places(), Watch()

    def log(self, level: int, line: str) -> None:
        self.lines.append(line)

    def clock(self) -> float:
        return self.now

    def starts(self) -> Starts:
        places: Any = self.places
        return Starts(OffsetCommits(), places, self.log, self.clock)

    def fetching(self) -> Fetching:
        client: Any = self.client
        watch: Any = self.watch
        return Fetching(client, watch, self.log, OnOutOfRange.HALT, self.clock)

    def out_of_range(self, policy: OnOutOfRange) -> OutOfRange:
        client: Any = self.client
        watch: Any = self.watch
        return OutOfRange(client, watch, policy, self.log, self.clock)


@pytest.fixture
def on() -> Scene:
    return Scene()


@pytest.mark.parametrize(("known", "word"), [(True, "find-hanging"), (False, "look whether it still exists")])
def test_a_partition_whose_start_is_not_told_for_a_minute_is_named_beside_others_that_go_on(
    on: Scene, known: bool, word: str
) -> None:
    client: Any = on.client
    starts = on.starts()
    starts.expect({HELD: 1, WELL: 2})
    resolved = {source for _ in range(4) for source in starts.resolve(client)}
    assert resolved == {WELL}
    on.places.known = known
    on.now += 59.0
    starts.resolve(client)
    assert (starts.waiting(), on.lines, starts.expected) == ([], [], (HELD,))
    on.now += 12.0
    starts.resolve(client)
    starts.resolve(client)
    [sentence] = starts.waiting()
    assert str(HELD) in sentence
    assert "for 71 s" in sentence
    assert word in sentence
    assert on.lines == [sentence]
    starts.drop(HELD)
    assert not starts.waiting()


def test_records_held_back_for_ten_seconds_are_told_until_their_topic_is_confirmed(on: Scene) -> None:
    fetching = on.fetching()
    fetching.own(HELD, 1, 7)
    on.client.messages.append(Message())
    assert fetching.round() == []
    on.now += 9.0
    assert not fetching.waiting()
    on.now += 2.0
    [sentence] = fetching.waiting()
    assert sentence.startswith("texts: 1 records are held back")
    on.watch.sure = True
    assert [record.offset for record in fetching.round()] == [7]
    assert not fetching.waiting()


@pytest.mark.parametrize(
    ("policy", "held", "target"),
    [
        (OnOutOfRange.EARLIEST, (10, 30), 10),
        (OnOutOfRange.LATEST, (10, 30), 30),
        (OnOutOfRange.EARLIEST, (0, 3), None),
        (OnOutOfRange.LATEST, (0, 3), None),
        (OnOutOfRange.HALT, (10, 30), None),
        (OnOutOfRange.HALT, (2, 30), 4),
    ],
)
def test_where_a_partition_goes_on_whose_offset_is_out_of_range(
    on: Scene, policy: OnOutOfRange, held: tuple[int, int], target: int | None
) -> None:
    out = on.out_of_range(policy)
    out.meet(HELD, 4)
    assert out.moved() == {}
    on.watch.sure = True
    assert out.moved() == {}
    on.now += 11.0
    [unsure] = out.waiting()
    assert "for 11 s no broker has told" in unsure
    on.client.range = held
    assert out.moved() == ({} if target is None else {HELD: target})
    assert on.client.sought == ([] if target is None else [target])
    assert out.moved() == {}
    if target is None:
        [sentence] = out.waiting()
        assert f"{HELD} stands: its offset 4" in sentence
        assert on.lines == [sentence]
        out.meet(HELD, 4)
        assert out.waiting() == [sentence]
        out.drop(HELD)
    elif target != 4:
        assert f"{target - 4} records are lost" in on.lines[0]
    assert not out.waiting()
