"""What stands on topics, and how far a group has come."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from tests.integration.waiting import until

Answer = TypeVar("Answer")
Pair = tuple[str, str | bytes | None]

_CALL_SECONDS: Final = 10.0
_READ_SECONDS: Final = 60.0
_COMES_BACK: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A record as read back."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    def header(self, name: str) -> str | None:
        """The text of the one header of this name, None if there is none."""
        values = [value for other, value in self.headers if other == name]
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0].decode() if values and values[0] is not None else None


class TopicReader:
    """Reads as a `read_committed` consumer that belongs to nobody's group."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._askers: dict[str, Consumer] = {}

    def close(self) -> None:
        """Close the connections that are kept."""
        for consumer in self._askers.values():
            consumer.close()
        self._askers.clear()

    def count(self, topic: str) -> int:
        """How many offsets the topic holds up to its stable end: records, and the markers of transactions."""
        return sum(end - begin for begin, end in self._bounds(self._asker("reader"), topic).values())

    def settle(self, topic: str) -> None:
        """Wait until everything is seen that is committed: a transaction's markers are written after its commit was answered. No
        transaction may stay open."""
        ahead = self._asker("reader of all", isolation="read_uncommitted")
        until(
            lambda: self._bounds(self._asker("reader"), topic) == self._bounds(ahead, topic),
            _CALL_SECONDS,
            f"the markers of {topic}",
        )

    def read(self, topic: str) -> list[Found]:
        """Everything from the beginning to the settled end."""
        self.settle(topic)
        consumer = self._consumer("reader")
        try:
            bounds = self._bounds(consumer, topic)
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in bounds])
            open_ends = {number for number, (begin, end) in bounds.items() if end > begin}
            found: list[Found] = []

            def at_end() -> bool:
                for message in consumer.consume(1000, 0.2):
                    error = message.error()
                    if error is None:
                        found.append(_found(message))
                    else:
                        assert error.code() == KafkaError._PARTITION_EOF, error
                        open_ends.discard(message.partition() or 0)
                return not open_ends

            until(at_end, _READ_SECONDS, f"the end of {topic}")
            return found
        finally:
            consumer.close()

    def lag(self, group: str, topic: str) -> int:
        """How many records stand at and above the group's committed offsets."""
        consumer = self._asker(group)
        bounds = self._bounds(consumer, topic)
        asked = [TopicPartition(topic, number) for number in bounds]
        committed = _answered(lambda: consumer.committed(asked, timeout=_CALL_SECONDS))
        return sum(
            bounds[one.partition][1] - (one.offset if one.offset >= 0 else bounds[one.partition][0])
            for one in committed
        )

    def _bounds(self, consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
        partitions = consumer.list_topics(topic, timeout=_CALL_SECONDS).topics[topic].partitions
        bounds: dict[int, tuple[int, int]] = {}
        for number in partitions:
            place = TopicPartition(topic, number)
            pair = _answered(partial(consumer.get_watermark_offsets, place, timeout=_CALL_SECONDS))
            assert pair is not None
            bounds[number] = pair
        return bounds

    def _asker(self, group: str, isolation: str = "read_committed") -> Consumer:
        """A consumer that only asks, kept because it is asked again and again."""
        if group not in self._askers:
            self._askers[group] = self._consumer(group, isolation)
        return self._askers[group]

    def _consumer(self, group: str, isolation: str = "read_committed") -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )


def _answered(question: Callable[[], Answer]) -> Answer:
    """The answer, asked for again while leaders and coordinators load or move, as they do after a broker's restart."""

    def answers() -> list[Answer]:
        try:
            return [question()]
        except KafkaException as problem:
            if problem.args[0].code() not in _COMES_BACK:
                raise
            return []

    return until(answers, _CALL_SECONDS, "an answer of the brokers")[0]


def _found(message: Message) -> Found:
    return Found(
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        _bytes(message.key()),
        _bytes(message.value()),
        tuple((name, _bytes(value)) for name, value in cast("list[Pair]", message.headers() or [])),
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
