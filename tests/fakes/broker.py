"""An in-memory Kafka: topics, consumer groups, and the ports `Source` and `Sink` on them.

No threads and no time of its own: everything runs on the event loop, real or virtual, in the same order on every run.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Never

from worker.errors import CommitAborted, MessageRefused, StartError
from worker.model import (
    Assignment,
    Batch,
    Headers,
    Membership,
    Message,
    Position,
    Record,
    TopicPartition,
)
from worker.ports import Listener
from worker.settings.sections import StartFrom

_ROUND: Final = 100

CommitOffsets = Callable[[Mapping[TopicPartition, Position], Membership], Awaitable[None]]


@dataclass(slots=True)
class _Log:
    begin: int = 0
    records: list[Record] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.begin + len(self.records)


@dataclass(slots=True)
class _Group:
    generation: int = 0
    members: list["FakeSource"] = field(default_factory=list)
    committed: dict[TopicPartition, Position] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def rebalance(self, broker: "FakeBroker") -> None:
        async with self.lock:
            members = list(self.members)
            targets = _spread(members, broker)
            for member in members:
                await member.hand_back([source for source in member.owned if source not in targets[id(member)]])
            self.generation += 1
            for member in members:
                member.take([source for source in targets[id(member)] if source not in member.owned])


def _spread(members: Sequence["FakeSource"], broker: "FakeBroker") -> dict[int, list[TopicPartition]]:
    """Even shares; a member keeps what it has as far as its share goes."""
    targets: dict[int, list[TopicPartition]] = {id(member): [] for member in members}
    if not members:
        return targets
    partitions = broker.partitions(dict.fromkeys(topic for member in members for topic in member.topics))
    share, extra = divmod(len(partitions), len(members))
    free = list(partitions)
    quotas = [share + (1 if position < extra else 0) for position in range(len(members))]
    for member, quota in zip(members, quotas, strict=True):
        kept = [source for source in member.owned if source in free][:quota]
        targets[id(member)] = kept
        free = [source for source in free if source not in kept]
    for member, quota in zip(members, quotas, strict=True):
        room = quota - len(targets[id(member)])
        targets[id(member)] += free[:room]
        free = free[room:]
    return targets


@dataclass(slots=True)
class Faults:
    """What goes wrong next. Counters go down with each fault; delays stay, in seconds.

    `abort_publish`: sink commits that fail before anything is published; `abort_commit`: offset commits that the group
    refuses; `max_bytes` and `max_key`: largest value and key that each topic takes; `compacted`: topics that take no null
    key; `no_committed`: the group does not tell its committed offsets.
    """

    abort_publish: int = 0
    abort_commit: int = 0
    commit_delay: float = 0.0
    publish_delay: float = 0.0
    max_bytes: dict[str, int] = field(default_factory=dict)
    max_key: dict[str, int] = field(default_factory=dict)
    compacted: set[str] = field(default_factory=set)
    no_committed: bool = False


class FakeBroker:
    """Topics with their records, and groups with their members and committed offsets."""

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        self.faults = Faults()
        self._logs: dict[TopicPartition, _Log] = {}
        self._counts: dict[str, int] = {}
        self._groups: dict[str, _Group] = {}
        self._unkeyed = 0
        self._clock = 1_700_000_000_000
        for name, partitions in (topics or {}).items():
            self.create_topic(name, partitions)

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Makes a topic, or adds partitions to one; groups see new partitions at their next rebalance."""
        for number in range(self._counts.get(name, 0), partitions):
            self._logs[TopicPartition(name, number)] = _Log()
        self._counts[name] = max(partitions, self._counts.get(name, 0))

    def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """All partitions, in order."""
        return [TopicPartition(name, number) for name in topics for number in range(self._counts.get(name, 0))]

    def log(self, source: TopicPartition) -> _Log:
        """The records of one partition."""
        return self._logs[source]

    def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        *,
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> Record:
        """Appends a record; equal keys go to the same partition, null keys in turn."""
        if topic not in self._counts:
            raise KeyError(topic)
        if partition is None:
            if key is None:
                self._unkeyed += 1
            partition = (self._unkeyed if key is None else zlib.crc32(key)) % self._counts[topic]
        source = TopicPartition(topic, partition)
        log = self._logs[source]
        self._clock += 1
        record = Record(source, log.end, timestamp_ms or self._clock, key, value, headers, 0)
        log.records.append(record)
        for group in self._groups.values():
            for member in group.members:
                member.wake()
        return record

    def records(self, topic: str) -> list[Record]:
        """Everything in a topic, partition by partition."""
        return [record for source in self.partitions((topic,)) for record in self._logs[source].records]

    def truncate(self, source: TopicPartition, begin: int) -> None:
        """Retention: drops what lies below an offset."""
        log = self._logs[source]
        del log.records[: max(0, begin - log.begin)]
        log.begin = max(log.begin, begin)

    def committed(self, group: str) -> dict[TopicPartition, Position]:
        """Committed offsets with metadata; changing the mapping resets the group's offsets."""
        return self._group(group).committed

    def source(
        self, group: str, topics: Sequence[str], *, start_from: StartFrom | None = None, revoke_timeout: float = 5.0
    ) -> "FakeSource":
        """A member to be; `start` joins it and rebalances."""
        return FakeSource(self, self._group(group), group, topics, start_from, revoke_timeout)

    def sink(self, commit_offsets: CommitOffsets) -> "FakeSink":
        """A sink; `commit_offsets` is the `commit` of a source."""
        return FakeSink(self, commit_offsets)

    async def rebalance(self, group: str) -> None:
        """Spread partitions evenly and stickily: first what has to move is revoked, then assigned under new numbers."""
        await self._group(group).rebalance(self)

    async def kill(self, source: "FakeSource") -> None:
        """The member's process is gone, as after SIGKILL and a session time-out: it hears nothing, the others take over.

        What is left of it in this process is a zombie: its commits are refused, and it gets no records."""
        source.group.members.remove(source)
        source.alive = False
        await source.group.rebalance(self)

    async def expel(self, source: "FakeSource") -> None:
        """The member missed its heartbeats: it hears `lost`, and joins again."""
        source.drop_all()
        source.group.members.remove(source)
        await source.group.rebalance(self)
        source.group.members.append(source)
        await source.group.rebalance(self)

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())


@dataclass(slots=True)
class _Owned:
    number: int
    next_offset: int
    paused: bool = True


class FakeSource:
    """The port `Source`."""

    def __init__(
        self,
        broker: FakeBroker,
        group: _Group,
        name: str,
        topics: Sequence[str],
        start_from: StartFrom | None,
        revoke_timeout: float,
    ) -> None:
        self.group = group
        self.alive = False
        self.stalled_seconds = 0.0
        self._broker = broker
        self._name = name
        self._topics = tuple(topics)
        self._start_from = start_from
        self._revoke_timeout = revoke_timeout
        self._listener: Listener | None = None
        self._owned: dict[TopicPartition, _Owned] = {}
        self._numbers = 0
        self._waking = False
        self._failed = asyncio.Event()
        self._error: Exception | None = None
        self._closed = False

    @property
    def topics(self) -> tuple[str, ...]:
        """What it subscribes to."""
        return self._topics

    @property
    def owned(self) -> Collection[TopicPartition]:
        """What it owns at this moment."""
        return tuple(self._owned)

    async def start(self, listener: Listener) -> None:
        """See the port."""
        self._settle_start()
        self._listener = listener
        self.alive = True
        self.group.members.append(self)
        await self.group.rebalance(self._broker)

    async def wait_failed(self) -> Never:
        """Raises what `fail` was given, or StartError where a committed offset is out of range."""
        await self._failed.wait()
        raise self._error or StartError("failed")

    def fail(self, error: Exception) -> None:
        """The consumer ends with this error."""
        if self._error is None:
            self._error = error
            self._failed.set()

    def stalled(self) -> float:
        """See the port."""
        return self.stalled_seconds

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """See the port."""
        for source in partitions:
            if source in self._owned:
                self._owned[source].paused = True

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """See the port."""
        for source in partitions:
            if source in self._owned:
                self._owned[source].paused = False
        self.wake()

    async def snapshot(self) -> Membership:
        """See the port."""
        if not self.alive or self not in self.group.members:
            raise CommitAborted("this worker is in no consumer group at the moment")
        return Membership((id(self), self.group.generation), {tp: owned.number for tp, owned in self._owned.items()})

    async def commit(self, positions: Mapping[TopicPartition, Position], membership: Membership) -> None:
        """See the port."""
        if not positions:
            return
        faults = self._broker.faults
        await asyncio.sleep(faults.commit_delay)
        if faults.abort_commit:
            faults.abort_commit -= 1
            raise CommitAborted("the offset commit was refused: a fault was ordered")
        now = (await self.snapshot()).owned
        kept = {tp: at for tp, at in positions.items() if tp in now and now[tp] == membership.owned.get(tp)}
        if not kept:
            raise CommitAborted("all partitions of the commit have gone to another worker")
        self.group.committed.update(kept)

    async def positions(self) -> Mapping[TopicPartition, int]:
        """See the port."""
        await self.snapshot()
        return {source: owned.next_offset for source, owned in self._owned.items()}

    async def committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """See the port."""
        if self._broker.faults.no_committed:
            return {}
        return {source: self.group.committed[source].offset for source in partitions if source in self.group.committed}

    async def close(self) -> None:
        """See the port."""
        if self._closed or not self.alive:
            return
        self._closed = True
        await self.hand_back(self.owned)
        self.alive = False
        self.group.members.remove(self)
        await self.group.rebalance(self._broker)

    def wake(self) -> None:
        """Deliver what there is, in the next turn of the loop."""
        if not self._waking and self.alive:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._deliver)

    async def hand_back(self, partitions: Collection[TopicPartition]) -> None:
        """The group takes these away, after the listener is done or the time is up."""
        if not partitions or self._listener is None:
            return
        try:
            async with asyncio.timeout(self._revoke_timeout):
                await self._listener.revoked(partitions)
        except TimeoutError:
            pass
        for source in partitions:
            self._owned.pop(source, None)

    def drop_all(self) -> None:
        """Everything is lost at once."""
        lost = self.owned
        self._owned.clear()
        if lost and self._listener is not None:
            self._listener.lost(lost)

    def take(self, partitions: Collection[TopicPartition]) -> None:
        """The group gives these to the member."""
        assignments: dict[TopicPartition, Assignment] = {}
        for source in partitions if self.alive else ():
            self._numbers += 1
            start = self.group.committed.setdefault(source, Position(self._broker.log(source).begin))
            self._owned[source] = _Owned(self._numbers, start.offset)
            assignments[source] = Assignment(self._numbers, start)
        if assignments and self._listener is not None:
            self._listener.assigned(assignments)

    def _deliver(self) -> None:
        self._waking = False
        batch: list[Record] = []
        for source, owned in self._owned.items():
            if owned.paused:
                continue
            log = self._broker.log(source)
            if not log.begin <= owned.next_offset <= log.end:
                self.fail(StartError(f"offset {owned.next_offset} of {source} is not in the topic any more"))
                return
            first = owned.next_offset - log.begin
            for record in log.records[first : first + _ROUND - len(batch)]:
                batch.append(_under(record, owned.number))
                owned.next_offset = record.offset + 1
        if batch and self.alive and self._listener is not None:
            self.wake()
            self._listener.arrived(batch)

    def _settle_start(self) -> None:
        missing = [name for name in self._topics if not self._broker.partitions((name,))]
        if missing:
            raise StartError(f"missing topics: {', '.join(missing)}. Make them with: embedding-worker topics create")
        partitions = self._broker.partitions(self._topics)
        if any(source in self.group.committed for source in partitions):
            return
        held = sum(len(self._broker.log(source).records) for source in partitions)
        if held and self._start_from is None:
            raise StartError(
                f"consumer group {self._name} has no committed offset, and {', '.join(self._topics)} already holds "
                f"{held} records: set WORKER_KAFKA__START_FROM"
            )
        for source in partitions:
            log = self._broker.log(source)
            self.group.committed[source] = Position(log.end if self._start_from is StartFrom.LATEST else log.begin)


class FakeSink:
    """The port `Sink`, at least once."""

    def __init__(
        self,
        broker: FakeBroker,
        commit_offsets: CommitOffsets,
    ) -> None:
        self._broker = broker
        self._commit_offsets = commit_offsets
        self._open = False

    async def start(self) -> None:
        """See the port."""
        self._open = True

    async def commit(self, batch: Batch) -> None:
        """See the port."""
        faults = self._broker.faults
        if not self._open:
            raise CommitAborted("the sink is not started, or closed already")
        await asyncio.sleep(faults.publish_delay)
        if faults.abort_publish:
            faults.abort_publish -= 1
            raise CommitAborted("messages not delivered: a fault was ordered")
        published: list[int] = []
        refused: list[int] = []
        missing: list[str] = []
        for index, message in enumerate(batch.messages):
            try:
                (published if self._published(message) else refused).append(index)
            except KeyError:
                missing.append(message.topic)
        if missing:
            raise CommitAborted(
                f"topic {missing[0]} does not exist: make it with embedding-worker topics create", published=published
            )
        if refused:
            raise MessageRefused(f"{len(refused)} message(s) refused for good", refused, published=published)
        try:
            await self._commit_offsets(batch.positions, batch.membership)
        except CommitAborted as error:
            raise CommitAborted(str(error), published=published) from None

    async def close(self) -> None:
        """See the port."""
        self._open = False

    def _published(self, message: Message) -> bool:
        limit = self._broker.faults.max_bytes.get(message.topic)
        if limit is not None and len(message.value or b"") > limit:
            return False
        if len(message.key or b"") > self._broker.faults.max_key.get(message.topic, 2**31):
            return False
        if message.key is None and message.topic in self._broker.faults.compacted:
            return False
        self._broker.publish(
            message.topic, message.key, message.value, message.headers, timestamp_ms=message.timestamp_ms
        )
        return True


def _under(record: Record, number: int) -> Record:
    return replace(record, assignment=number)
