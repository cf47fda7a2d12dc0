"""The port `Source` on the in-memory Kafka."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Never, Protocol

from tests.fakes.kafka.connection import Connection, Result, Unreachable
from tests.fakes.kafka.faults import Faults
from tests.fakes.kafka.group import Group, GroupMetadata
from tests.fakes.kafka.log import Log
from worker.core.takeover import first_metadata
from worker.errors import CommitAborted, StartError
from worker.model import Assignment, Membership, Position, Record, TopicPartition
from worker.ports import Listener
from worker.settings.sections import StartFrom

_ROUND: Final = 100
_STABLE_SECONDS: Final = 5.0
"""How long `recall` waits for markers."""


class Topics(Protocol):
    """What a source needs of the broker."""

    faults: Faults
    cluster: str
    offset_metadata_max: int

    def partitions(self, topics: Sequence[str]) -> list[TopicPartition]: ...

    def log(self, source: TopicPartition) -> Log: ...

    def has(self, source: TopicPartition) -> bool: ...

    def topic_id(self, topic: str) -> str: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...

    def plainly_committed(self, group: str, positions: Mapping[TopicPartition, Position]) -> None: ...


@dataclass(slots=True)
class _Owned:
    number: int
    next_offset: int
    paused: bool = True


class FakeSource:
    """`owned`: what its listener knows of; `held`: what the group has given to it, including what still waits for stable
    offsets. `alive`: it has started, and was neither closed nor killed."""

    def __init__(
        self, broker: Topics, group: Group, topics: Sequence[str], start_from: StartFrom | None, revoke_timeout: float
    ) -> None:
        self.group = group
        self.connection = Connection()
        self.connection.when_back.append(self._came_back)
        self.member_id = ""
        self.generation = -1
        self.alive = False
        self.stalled_seconds = 0.0
        self._broker = broker
        self._topics = tuple(topics)
        self._start_from = start_from
        self._revoke_timeout = revoke_timeout
        self._listener: Listener | None = None
        self._owned: dict[TopicPartition, _Owned] = {}
        self._expected: dict[TopicPartition, int] = {}
        self._numbers = 0
        self._expelled = False
        self._awaiting = False
        self._waking = False
        self._failed = asyncio.Event()
        self._error: Exception | None = None
        self._closed = False
        self._one_commit = asyncio.Lock()

    @property
    def topics(self) -> tuple[str, ...]:
        """What it subscribes to."""
        return self._topics

    @property
    def owned(self) -> Collection[TopicPartition]:
        """What it owns at this moment, as far as it knows."""
        return tuple(self._owned)

    @property
    def held(self) -> Collection[TopicPartition]:
        """What the group has given to it."""
        return (*self._owned, *self._expected)

    @property
    def expelled(self) -> bool:
        """The group has removed it, and it does not know yet."""
        return self._expelled

    async def start(self, listener: Listener) -> None:
        """See the port."""
        await self.connection.gate()
        self._settle_start()
        self._listener = listener
        self.alive = True
        self.group.join(self)
        await self.group.rebalance()
        await self.connection.gate()

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
        """See the port. A member that was expelled and has not heard of it shows what it was."""
        await self.connection.gate()
        return self._snapshot()

    async def commit(self, positions: Mapping[TopicPartition, Position], membership: Membership) -> None:
        """See the port. Sent under the present generation; partitions owned under another number than in `membership` are left
        out. Raises MetadataTooLarge as well: what fits stands all the same."""
        if not positions:
            return
        faults = self._broker.faults
        await asyncio.sleep(faults.commit_delay)
        await self.connection.gate()
        if faults.abort_commit:
            faults.abort_commit -= 1
            raise CommitAborted("the offset commit was refused: a fault was ordered")
        async with self._one_commit:
            now = self._snapshot()
            kept = {at: to for at, to in positions.items() if now.owned.get(at, 0) == membership.owned.get(at)}
            if not kept:
                raise CommitAborted("all partitions of the commit have gone to another worker")
            group = now.group
            assert isinstance(group, GroupMetadata)
            await self._request("commit", lambda: self._commit(kept, group))

    async def positions(self) -> Mapping[TopicPartition, int]:
        """See the port."""
        await self.connection.gate()
        self._snapshot()
        return {source: owned.next_offset for source, owned in self._owned.items()}

    async def recall(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """See the port. Waits five seconds for markers."""
        await self.connection.gate()
        faults = self._broker.faults
        if faults.fail_recall:
            faults.fail_recall -= 1
            raise CommitAborted("the committed offsets cannot be read: a fault was ordered")
        if not self.alive:
            raise CommitAborted("the source is not started, or closed already")
        offsets = self.group.offsets
        try:
            async with asyncio.timeout(_STABLE_SECONDS):
                while not all(offsets.is_stable(where) for where in partitions):
                    await self._stable()
        except TimeoutError:
            raise CommitAborted("a transaction over these partitions is not decided yet") from None
        return await self._request("recall", lambda: self._read(partitions))

    async def committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """See the port."""
        await self.connection.gate()
        if self._broker.faults.no_committed or not self.connection.reaches or not self.alive:
            return {}
        offsets = self.group.offsets
        told = [where for where in partitions if where in offsets.committed and offsets.is_stable(where)]
        return {where: offsets.committed[where].offset for where in told}

    async def close(self) -> None:
        """See the port."""
        await self.connection.gate()
        if self._closed or not self.alive:
            return
        self._closed = True
        await self.group.depart(self)
        self.alive = self._expelled = False
        await self.connection.gate()

    def wake(self) -> None:
        """Deliver what there is, in the next turn of the loop."""
        if not self._waking and self.alive and self._owned:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._deliver)

    async def hand_back(self, partitions: Collection[TopicPartition]) -> bool:
        """The group takes these away, after the listener is done or the time is up. Returns False where the process died or
        froze meanwhile: it is expelled and keeps believing."""
        told = tuple(source for source in partitions if source in self._owned)
        if told and self._listener is not None:
            try:
                async with asyncio.timeout(self._revoke_timeout):
                    await self._listener.revoked(told)
            except TimeoutError:
                pass
        if not self.connection.running:
            self._expelled = True
            return False
        for source in partitions:
            self._owned.pop(source, None)
            self._expected.pop(source, None)
        return True

    def drop_all(self) -> None:
        """Everything is lost at once."""
        lost = self.owned
        self._owned.clear()
        self._expected.clear()
        if lost and self._listener is not None:
            self._listener.lost(lost)

    def take(self, partitions: Collection[TopicPartition]) -> None:
        """The group gives these to the member; the listener hears of each once its committed offset is stable."""
        for source in partitions if self.alive else ():
            self._numbers += 1
            self._expected[source] = self._numbers
        self._resolve()

    def removed(self) -> None:
        """The group has removed it; it goes on as a zombie until `hear`."""
        self._expelled = self.alive

    async def hear(self) -> None:
        """It learns that it was expelled: `lost`, then it joins again."""
        if self._expelled and self.alive:
            self._expelled = False
            self.drop_all()
            self.group.join(self)
            await self.group.rebalance()

    def noticed(self) -> None:
        """The group has refused something as coming from no member: it hears in the next turn of the loop."""
        if self._expelled and self.connection.reaches:
            self._broker.spawn(self.hear())

    def _came_back(self) -> None:
        """Thawed, or connected again."""
        if self._expelled:
            self.noticed()
        elif self in self.group.members and self.generation != self.group.generation:
            self._broker.spawn(self.group.rebalance())
        self._resolve()
        self.wake()

    def _snapshot(self) -> Membership:
        if not self.alive or not (self._expelled or self in self.group.members):
            raise CommitAborted("this worker is in no consumer group at the moment")
        metadata = GroupMetadata(self.group.name, self.member_id, self.generation)
        return Membership(metadata, {where: owned.number for where, owned in self._owned.items()})

    def _commit(self, positions: Mapping[TopicPartition, Position], group: GroupMetadata) -> None:
        before = self.group.offsets.committed.copy()
        try:
            self.group.commit(positions, group, self._broker.offset_metadata_max)
        finally:
            now = self.group.offsets.committed
            stand = {where: now[where] for where in positions if now.get(where) is not before.get(where)}
            if stand:
                self._broker.plainly_committed(self.group.name, stand)

    def _read(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position]:
        offsets = self.group.offsets
        if not all(offsets.is_stable(where) for where in partitions):
            raise CommitAborted("a transaction over these partitions is not decided yet")
        missing = [where for where in partitions if where not in offsets.committed]
        if missing:
            raise CommitAborted(f"the committed offset of {missing[0]} cannot be told")
        return {where: offsets.committed[where] for where in partitions}

    async def _request(self, step: str, effect: Callable[[], Result]) -> Result:
        delays = self._broker.faults.delays
        try:
            return await self.connection.request(effect, delays(step), delays(f"{step}.answer"))
        except Unreachable as error:
            raise CommitAborted(str(error)) from None

    async def _stable(self) -> None:
        """Wait for the next marker of the group."""
        marked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def mark() -> None:
            if not marked.done():
                marked.set_result(None)

        self.group.offsets.when_stable.append(mark)
        await marked

    def _resolve(self) -> None:
        """Tell the listener of assignments whose committed offset is stable."""
        if not self._expected or not self.connection.reaches:
            return
        offsets = self.group.offsets
        assignments: dict[TopicPartition, Assignment] = {}
        for source, number in tuple(self._expected.items()):
            if not self._broker.has(source):
                del self._expected[source]
            elif offsets.is_stable(source):
                del self._expected[source]
                if source not in offsets.committed:
                    self._commit_first({source: self._broker.log(source).begin})
                start = offsets.committed[source]
                self._owned[source] = _Owned(number, start.offset)
                topic_id = self._broker.topic_id(source.topic)
                assignments[source] = Assignment(number, start, self._broker.cluster, topic_id)
        if self._expected and not self._awaiting:
            self._awaiting = True
            offsets.when_stable.append(self._marked)
        if assignments and self._listener is not None:
            self._listener.assigned(assignments)

    def _marked(self) -> None:
        self._awaiting = False
        self._resolve()

    def _deliver(self) -> None:
        self._waking = False
        if not self.alive or not self.connection.reaches:
            return
        batch: list[Record] = []
        for source, owned in self._owned.items():
            if owned.paused or not self._broker.has(source):
                continue
            log = self._broker.log(source)
            if not log.begin <= owned.next_offset <= log.end:
                self.fail(StartError(f"offset {owned.next_offset} of {source} is not in the topic any more"))
                return
            if len(batch) < _ROUND:
                found, owned.next_offset = log.fetch(owned.next_offset, _ROUND - len(batch))
                batch += [_under(record, owned.number) for record in found]
        if batch and self._listener is not None:
            self.wake()
            self._listener.arrived(batch)

    def _settle_start(self) -> None:
        missing = [name for name in self._topics if not self._broker.partitions((name,))]
        if missing:
            raise StartError(f"missing topics: {', '.join(missing)}. Make them with: embedding-worker topics create")
        partitions = self._broker.partitions(self._topics)
        if any(self.group.offsets.knows(source) for source in partitions):
            return
        held = sum(len(self._broker.log(source).records) for source in partitions)
        if held and self._start_from is None:
            raise StartError(
                f"consumer group {self.group.name} has no committed offset, and {', '.join(self._topics)} already holds "
                f"{held} records: set WORKER_KAFKA__START_FROM"
            )
        logs = {source: self._broker.log(source) for source in partitions}
        latest = self._start_from is StartFrom.LATEST
        self._commit_first({source: log.end if latest else log.begin for source, log in logs.items()})

    def _commit_first(self, offsets: Mapping[TopicPartition, int]) -> None:
        cluster, topic_id = self._broker.cluster, self._broker.topic_id
        positions = {
            at: Position(offset, first_metadata(cluster, topic_id(at.topic), at.partition, offset))
            for at, offset in offsets.items()
        }
        self.group.offsets.write(positions)
        self._broker.plainly_committed(self.group.name, positions)


def _under(record: Record, number: int) -> Record:
    return Record(record.source, record.offset, record.timestamp_ms, record.key, record.value, record.headers, number)
