"""Topics and groups, and the ports on them."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from tests.fakes.kafka.connection import Connection
from tests.fakes.kafka.faults import Faults
from tests.fakes.kafka.group import Group, GroupMetadata
from tests.fakes.kafka.log import Log, Part
from tests.fakes.kafka.offsets import METADATA_MAX
from tests.fakes.kafka.sink import CommitOffsets, FakeSink
from tests.fakes.kafka.source import FakeSource
from tests.fakes.kafka.transactional_sink import FakeTransactionalSink
from tests.fakes.kafka.transactions import Coordinator, Decided, Transaction
from worker.model import Batch, Headers, Message, Position, Record, TopicPartition
from worker.settings.sections import OnOutOfRange, StartFrom

_START_MS = 1_700_000_000_000


class FakeBroker:
    """See `tests.fakes.broker`."""

    def __init__(self, topics: Mapping[str, int] | None = None, *, transaction_timeout: float = 10.0) -> None:
        self.faults = Faults()
        self.cluster = "fake-cluster"
        self.offset_metadata_max = METADATA_MAX
        self.watchers: list[Callable[[Decided], None]] = []
        self.coordinator = Coordinator(self.faults, transaction_timeout, self._decided, self._wake)
        self._logs: dict[TopicPartition, Log] = {}
        self._counts: dict[str, int] = {}
        self._ids: dict[str, str] = {}
        self._groups: dict[str, Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._producers = 0
        self._topics_made = 0
        self._unkeyed = 0
        self._clock = _START_MS
        for name, partitions in (topics or {}).items():
            self.create_topic(name, partitions)

    # ---- topics

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Makes a topic, or adds partitions to one; groups see new partitions at their next rebalance."""
        if name not in self._ids:
            self._topics_made += 1
            self._ids[name] = f"{name}-id-{self._topics_made}"
        for number in range(self._counts.get(name, 0), partitions):
            self._logs[TopicPartition(name, number)] = Log()
        self._counts[name] = max(partitions, self._counts.get(name, 0))

    def delete_topic(self, name: str, *, keep_offsets: bool = False) -> None:
        """With the groups' offsets of it, as Kafka does. Made again it has another id."""
        for where in self.partitions((name,)):
            del self._logs[where]
        del self._counts[name], self._ids[name]
        for group in self._groups.values():
            if not keep_offsets:
                group.offsets.forget(name)

    def topic_id(self, topic: str) -> str:
        """Another one each time the topic is made."""
        return self._ids[topic]

    def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """All partitions, in order."""
        return [TopicPartition(name, number) for name in topics for number in range(self._counts.get(name, 0))]

    def has(self, source: TopicPartition) -> bool:
        """Whether the partition exists."""
        return source.partition < self._counts.get(source.topic, 0)

    def log(self, source: TopicPartition) -> Log:
        """One partition: `records`, `begin`, `end`, `stable`."""
        return self._logs[source]

    def records(self, topic: str) -> list[Record]:
        """What a `read_committed` consumer finds in a topic, partition by partition."""
        return [record for source in self.partitions((topic,)) for record in self._logs[source].records]

    def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        *,
        timestamp_ms: int | None = None,
        partition: int | None = None,
        transaction: Transaction | None = None,
    ) -> Record:
        """Appends a record; equal keys go to the same partition, null keys in turn. Raises KeyError for a missing topic."""
        if partition is None:
            if key is None:
                self._unkeyed += 1
            partition = (self._unkeyed if key is None else zlib.crc32(key)) % self._counts[topic]
        source = TopicPartition(topic, partition)
        log = self._logs[source]
        self._clock += 1
        record = Record(source, log.end, timestamp_ms or self._clock, key, value, headers, 0)
        if transaction is None:
            log.append(record, None)
        else:
            _, part = transaction.parts.setdefault(source, (log, Part()))
            log.append(record, part)
            transaction.records.append(record)
        self._wake(source)
        return record

    def skip(self, source: TopicPartition, count: int = 1) -> None:
        """Offsets without records at the end of a partition, as markers and compaction leave them."""
        self._logs[source].skip(count)
        self._wake(source)

    def truncate(self, source: TopicPartition, begin: int) -> None:
        """Retention: drops what lies below an offset."""
        self._logs[source].truncate(begin)

    # ---- groups

    def committed(self, group: str) -> dict[TopicPartition, Position]:
        """Committed positions whose markers are there; changing the mapping resets the group's offsets."""
        return self._group(group).committed

    def latest(self, group: str, where: TopicPartition) -> Position | None:
        """What is decided to be committed, its marker being there or not."""
        return self._group(group).offsets.latest(where)

    async def rebalance(self, group: str) -> None:
        """Spread partitions evenly and stickily: first what has to move is revoked, then assigned under new numbers."""
        await self._group(group).rebalance()

    async def kill(self, source: FakeSource) -> None:
        """The member's process is gone, as after SIGKILL and a session time-out: it hears nothing, the others take over.

        What is left of it in this process is a zombie: its commits are refused, and it gets no records. For a process whose calls
        never return, `source.connection.cut()` first."""
        source.group.leave(source)
        source.removed(killed=True)
        await source.group.rebalance()

    async def expel(self, source: FakeSource, *, silent: float = 0.0) -> None:
        """The member missed its heartbeats for the session time-out: its partitions go to the others; it is a zombie that
        believes in its assignment and generation.

        It hears `lost` and joins again after `silent` seconds; before that if the group refuses offsets of it; not while it is
        frozen, unplugged or dead. With `silent=0` it has done so when this returns."""
        source.group.leave(source)
        source.removed(killed=False)
        await source.group.rebalance()
        if silent > 0:
            if silent != float("inf"):
                asyncio.get_running_loop().call_later(silent, source.noticed)
        elif source.connection.reaches:
            await source.hear()

    # ---- ports

    def source(
        self,
        group: str,
        topics: Sequence[str],
        *,
        start_from: StartFrom | None = None,
        revoke_timeout: float = 5.0,
        on_out_of_range: OnOutOfRange = OnOutOfRange.HALT,
    ) -> FakeSource:
        """A member to be; `start` joins it and rebalances."""
        return FakeSource(self, self._group(group), topics, start_from, revoke_timeout, on_out_of_range)

    def sink(self, commit_offsets: CommitOffsets, connection: Connection | None = None) -> FakeSink:
        """At least once; `commit_offsets` is the `commit` of a source, whose `connection` it should share."""
        return FakeSink(self, commit_offsets, connection or Connection())

    def transactional_sink(
        self, source: FakeSource | None = None, transactional_id: str | None = None
    ) -> FakeTransactionalSink:
        """Exactly once, in the same process as the source; by default under an id of its own."""
        self._producers += 1
        name = transactional_id or f"worker-{self._producers}"
        return FakeTransactionalSink(self, name, source.connection if source else Connection())

    async def undecided(self, batch: Batch) -> Callable[[], Awaitable[None]]:
        """A dead worker's transaction: messages and positions were sent. The call of what is returned has it aborted; else the
        transaction time-out does."""
        self._producers += 1
        name = f"dead-{self._producers}"
        transaction = Transaction(self.coordinator.init(name))
        self.coordinator.join(transaction)
        for message in batch.messages:
            self.produce(message, transaction)
        if batch.positions:
            assert isinstance(batch.membership.group, GroupMetadata)
            self.send_offsets(transaction, batch.positions, batch.membership.group)

        async def decide() -> None:
            self.coordinator.init(name)

        return decide

    async def close(self) -> None:
        """End what goes on by itself (rejoins, rebalances): nothing is left of it then."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- for the ports

    def produce(self, message: Message, transaction: Transaction | None = None) -> Record:
        """Appends a message. Raises KeyError for a missing topic."""
        return self.publish(
            message.topic,
            message.key,
            message.value,
            message.headers,
            timestamp_ms=message.timestamp_ms,
            transaction=transaction,
        )

    def send_offsets(
        self, transaction: Transaction, positions: Mapping[TopicPartition, Position], group: GroupMetadata
    ) -> None:
        """TxnOffsetCommit."""
        self._group(group.group).send(transaction, positions, group, self.offset_metadata_max)

    def plainly_committed(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        """Tells the watchers."""
        if self.watchers and positions:
            self._decided(Decided(asyncio.get_running_loop().time(), None, True, (), {group: dict(positions)}))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that goes on by itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _decided(self, decided: Decided) -> None:
        for watcher in self.watchers:
            watcher(decided)

    def _wake(self, where: TopicPartition) -> None:
        for group in self._groups.values():
            for member in group.members:
                if where in member.held:
                    member.wake()

    def _group(self, name: str) -> Group:
        if name not in self._groups:
            self._groups[name] = Group(name, self.partitions)
        return self._groups[name]
