"""The partitions that a member holds: told to its listener once their offset is stable, fetched from while not paused."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tests.fakes.kafka.connection import Connection
from tests.fakes.kafka.group import Group
from tests.fakes.kafka.log import Log
from tests.fakes.kafka.starts import commit_first
from worker.core.takeover import names_another_topic
from worker.model import Assignment, Position, Record, TopicPartition
from worker.ports import Listener
from worker.settings.sections import OnOutOfRange

_ROUND: Final = 100


class Brokers(Protocol):
    """What is asked of the broker."""

    cluster: str

    def partitions(self, topics: Sequence[str]) -> list[TopicPartition]: ...

    def has(self, source: TopicPartition) -> bool: ...

    def log(self, source: TopicPartition) -> Log: ...

    def topic_id(self, topic: str) -> str: ...

    def plainly_committed(self, group: str, positions: Mapping[TopicPartition, Position]) -> None: ...


@dataclass(slots=True)
class Owned:
    """A partition that the listener knows of."""

    number: int
    next_offset: int
    topic_id: str
    paused: bool = True


class Holdings:
    """`open`: the member has started, and was neither closed nor killed. `owned`: what the listener knows of; `expected`: what
    still waits for a stable offset. `error`: what ended the consumer, set together with `failed`. `halted`: why these
    stand."""

    def __init__(self, broker: Brokers, group: Group, connection: Connection, on_out_of_range: OnOutOfRange) -> None:
        self.open = False
        self.listener: Listener | None = None
        self.owned: dict[TopicPartition, Owned] = {}
        self.expected: dict[TopicPartition, int] = {}
        self.error: Exception | None = None
        self.halted: dict[TopicPartition, str] = {}
        self._on_out_of_range = on_out_of_range
        self.failed = asyncio.Event()
        self._broker = broker
        self._group = group
        self._connection = connection
        self._numbers = 0
        self._awaiting = False
        self._waking = False

    def pause(self, partitions: Collection[TopicPartition], *, paused: bool) -> None:
        """Ignores what is not owned."""
        for source in partitions:
            if source in self.owned:
                self.owned[source].paused = paused

    def take(self, partitions: Collection[TopicPartition]) -> None:
        """The group gives these to the member."""
        for source in partitions if self.open else ():
            self._numbers += 1
            self.expected[source] = self._numbers
        self.resolve()

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These have gone."""
        for source in partitions:
            self.owned.pop(source, None)
            self.halted.pop(source, None)
            self.expected.pop(source, None)

    def drop_all(self) -> None:
        """Everything is lost at once."""
        lost = tuple(self.owned)
        self.forget((*self.owned, *self.expected))
        if lost and self.listener is not None:
            self.listener.lost(lost)

    def fail(self, error: Exception) -> None:
        """The consumer ends with this error."""
        if self.error is None:
            self.error = error
            self.failed.set()

    def resolve(self) -> None:
        """Tell the listener of assignments whose committed offset is stable."""
        if not self.expected or not self._connection.reaches:
            return
        offsets = self._group.offsets
        assignments: dict[TopicPartition, Assignment] = {}
        for source, number in tuple(self.expected.items()):
            if not self._broker.has(source):
                del self.expected[source]
            elif offsets.is_stable(source):
                del self.expected[source]
                assignments[source] = self._assigned(source, number)
        if self.expected and not self._awaiting:
            self._awaiting = True
            offsets.when_stable.append(self._marked)
        if assignments and self.listener is not None:
            self.listener.assigned(assignments)

    def wake(self) -> None:
        """Deliver what there is, in the next turn of the loop."""
        if not self._waking and self.open and self.owned:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _assigned(self, source: TopicPartition, number: int) -> Assignment:
        committed = self._group.offsets.committed
        cluster, topic_id = self._broker.cluster, self._broker.topic_id(source.topic)
        found = committed.get(source)
        if found is None or names_another_topic(found.metadata, cluster, topic_id, source.partition, found.offset):
            commit_first(self._broker, self._group, {source: self._broker.log(source).begin})
        start = committed[source]
        self.owned[source] = Owned(number, start.offset, topic_id)
        return Assignment(number, start, cluster, topic_id)

    def _marked(self) -> None:
        self._awaiting = False
        self.resolve()

    def _deliver(self) -> None:
        self._waking = False
        if not self.open or not self._connection.reaches:
            return
        self._begin_anew()
        batch: list[Record] = []
        for source, owned in self.owned.items():
            if owned.paused or source in self.halted or not self._broker.has(source):
                continue
            log = self._broker.log(source)
            if not log.begin <= owned.next_offset <= log.end:
                if owned.next_offset > log.end or self._on_out_of_range is OnOutOfRange.HALT:
                    self.halted[source] = f"{source} stands: its offset {owned.next_offset} is not in the topic"
                    continue
                owned.next_offset = log.begin if self._on_out_of_range is OnOutOfRange.EARLIEST else log.end
            if len(batch) < _ROUND:
                found, owned.next_offset = log.fetch(owned.next_offset, _ROUND - len(batch))
                batch += [_under(record, owned.number) for record in found]
        if batch and self.listener is not None:
            self.wake()
            self.listener.arrived(batch)

    def _begin_anew(self) -> None:
        """With topics that were deleted and made again."""
        gone = [
            source
            for source, owned in self.owned.items()
            if self._broker.has(source) and self._broker.topic_id(source.topic) != owned.topic_id
        ]
        if gone:
            self.forget(gone)
            if self.listener is not None:
                self.listener.lost(gone)
            self.take(gone)


def _under(record: Record, number: int) -> Record:
    return Record(record.source, record.offset, record.timestamp_ms, record.key, record.value, record.headers, number)
