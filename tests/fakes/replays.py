"""A broker for replays: topics with gaps, plans as committed offsets, productions that fence one another and can be hurt."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from worker.errors import (
    CommitAborted,
    CommitFenced,
    CommitUnknown,
    MessageRefused,
    MetadataTooLarge,
    missing_topics,
)
from worker.model import Headers, Message, Position, Record, TopicPartition
from worker.replay.replay import Replay
from worker.replay.running import Pulse

BATCH = 3
"""Records in one step of a scan."""


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


@dataclass
class FakeBroker:
    """Topics as lists of records (None: a marker or an aborted record), the first offset that retention has left, groups.

    `faults` are taken by commits one after the other: "" none, "kill before", "kill after", "abort", "lost" and "stands" (the
    outcome is unknown to the client), "fenced", or a callable that is run first and returns one. `largest`: bytes of value that
    topics take.
    """

    topics: dict[TopicPartition, list[Record | None]] = field(default_factory=dict)
    first: dict[TopicPartition, int] = field(default_factory=dict)
    groups: dict[str, dict[TopicPartition, Position]] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    faults: "deque[str | Callable[[], str]]" = field(default_factory=deque)
    hidden: set[str] = field(default_factory=set)
    limit: int = 4096
    largest: int = 1000
    commits: int = 0
    now: float = 1_767_312_000.0
    marks: dict[str, str] = field(default_factory=dict)

    def topic(self, name: str, partitions: int) -> None:
        """Make a topic."""
        for number in range(partitions):
            self.topics[TopicPartition(name, number)] = []

    def append(self, source: TopicPartition, key: bytes | None, value: bytes | None, headers: Headers = ()) -> int:
        """Write a record; its offset."""
        log = self.topics[source]
        log.append(Record(source, len(log), int(self.now * 1000), key, value, headers, 0))
        return len(log) - 1

    def mark(self, source: TopicPartition) -> None:
        """A transaction marker."""
        self.topics[source].append(None)

    def records(self, topic: str) -> list[Record]:
        """All that is on a topic."""
        return [
            record
            for source in sorted(self.topics)
            if source.topic == topic
            for record in self.topics[source]
            if record
        ]

    def replay(self, **given: object) -> Replay:
        """A process that plans and runs replays here."""
        pulse = Pulse(lambda: self.now, lambda: self.now, self.sleep)
        return Replay(
            FakeArchive(self),
            FakePlans(self),
            lambda plan_id, expected: FakeProduction(self, plan_id, expected),
            replace(pulse, **given),  # type: ignore[arg-type]
            lambda: f"{len(self.groups) + 1:08x}",
        )

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds


class FakeArchive:
    """Port `Archive`."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker

    def partition_counts(self, names: Iterable[str]) -> Mapping[str, int]:
        counts = {name: sum(source.topic == name for source in self._broker.topics) for name in names}
        missing = [name for name, count in counts.items() if not count]
        if missing:
            raise missing_topics(missing)
        return counts

    def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return {source: (self._broker.first.get(source, 0), len(self._broker.topics[source])) for source in partitions}

    def fingerprints(self, names: Collection[str]) -> Mapping[str, str]:
        return {name: self._broker.marks.get(name, f"mark of {name}") for name in names}

    def scan(self, source: TopicPartition, begin: int, end: int) -> Iterator[Sequence[Record]]:
        position = max(begin, self._broker.first.get(source, 0))
        while position < end:
            stop = min(position + BATCH, end)
            yield [record for record in self._broker.topics[source][position:stop] if record is not None]
            position = stop

    def record(self, source: TopicPartition, offset: int) -> Record | None:
        first, end = self.bounds([source])[source]
        return self._broker.topics[source][offset] if first <= offset < end else None


class FakePlans:
    """Port `Plans`."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker

    def ids(self) -> Collection[str]:
        return [plan_id for plan_id in self._broker.groups if plan_id not in self._broker.hidden]

    def read(self, plan_id: str, topics: Collection[str] | None = None) -> Mapping[TopicPartition, Position]:
        group = self._broker.groups.get(plan_id, {})
        return {source: position for source, position in group.items() if topics is None or source.topic in topics}

    def metadata_limit(self) -> int:
        return self._broker.limit


class FakeProduction:
    """Port `Production`: connects again by itself after an abort, as the real one does."""

    def __init__(self, broker: FakeBroker, plan_id: str, expected: Callable[[], None]) -> None:
        self._broker = broker
        self._id = plan_id
        self._expected = expected
        self._epoch = 0

    def connect(self) -> None:
        if self._epoch:
            return
        self._epoch = self._broker.epochs[self._id] = self._broker.epochs.get(self._id, 0) + 1
        try:
            self._expected()
        except Exception:
            self._epoch = 0
            raise

    def commit(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        self.connect()
        fault = self._broker.faults.popleft() if self._broker.faults else ""
        if callable(fault):
            fault = fault()
        if fault == "kill before":
            raise Killed
        if fault == "lost":
            raise CommitUnknown("no answer")
        if fault == "abort":
            self._epoch = 0
            raise CommitAborted("aborted")
        if fault == "fenced" or self._epoch != self._broker.epochs[self._id]:
            raise CommitFenced("fenced")
        if any(len(position.metadata) + 1 > self._broker.limit for position in positions.values()):
            raise MetadataTooLarge("too large")
        refused = [index for index, message in enumerate(messages) if len(message.value or b"") > self._broker.largest]
        if refused:
            raise MessageRefused("too large", refused)
        self._stand(messages, positions)
        if fault == "kill after":
            raise Killed
        if fault == "stands":
            raise CommitUnknown("no answer")

    def close(self) -> None:
        self._epoch = -1

    def _stand(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        self._broker.commits += 1
        touched = set()
        for message in messages:
            partitions = sum(source.topic == message.topic for source in self._broker.topics)
            number = hash(message.key) % partitions if message.partition is None else message.partition
            source = TopicPartition(message.topic, number)
            self._broker.append(source, message.key, message.value, message.headers)
            touched.add(source)
        for source in touched:
            self._broker.mark(source)
        self._broker.groups.setdefault(self._id, {}).update(positions)
