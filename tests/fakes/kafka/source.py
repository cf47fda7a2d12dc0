"""The port `Source` on the in-memory Kafka."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, Never, Protocol

from tests.fakes.kafka.connection import Connection, Result, Unreachable
from tests.fakes.kafka.faults import Faults
from tests.fakes.kafka.group import Group, GroupMetadata
from tests.fakes.kafka.holdings import Brokers, Holdings
from tests.fakes.kafka.starts import settle_start
from worker.errors import CommitAborted, StartError
from worker.model import Membership, Position, TopicPartition
from worker.ports import Listener
from worker.settings.sections import OnOutOfRange, StartFrom

_STABLE_SECONDS: Final = 5.0
"""How long `recall` waits for markers."""


class Broker(Brokers, Protocol):
    """What a source needs of the broker."""

    faults: Faults
    offset_metadata_max: int

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...


class FakeSource:
    """`owned`: what its listener knows of; `held`: what the group has given to it, including what still waits for stable
    offsets. `alive`: it has started, and was neither closed nor killed. `expelled`: the group has removed it, and it does not
    know yet. `standing`: what tests want `waiting` to tell."""

    def __init__(
        self,
        broker: Broker,
        group: Group,
        topics: Sequence[str],
        start_from: StartFrom | None,
        revoke_timeout: float,
        on_out_of_range: OnOutOfRange = OnOutOfRange.HALT,
    ) -> None:
        self.group = group
        self.connection = Connection()
        self.connection.when_back.append(self._came_back)
        self.topics = tuple(topics)
        self.member_id = ""
        self.generation = -1
        self.expelled = False
        self.stalled_seconds = 0.0
        self.standing: list[str] = []
        self._broker = broker
        self._start_from = start_from
        self._revoke_timeout = revoke_timeout
        self._holdings = Holdings(broker, group, self.connection, on_out_of_range)
        self._closed = False
        self._one_commit = asyncio.Lock()

    @property
    def alive(self) -> bool:
        """Started, and neither closed nor killed."""
        return self._holdings.open

    @property
    def owned(self) -> Collection[TopicPartition]:
        """What it owns at this moment, as far as it knows."""
        return tuple(self._holdings.owned)

    @property
    def held(self) -> Collection[TopicPartition]:
        """What the group has given to it."""
        return (*self._holdings.owned, *self._holdings.expected)

    # ---- the port

    async def start(self, listener: Listener) -> None:
        """See the port."""
        await self.connection.gate()
        settle_start(self._broker, self.group, self.topics, self._start_from)
        self._holdings.listener = listener
        self._holdings.open = True
        self.group.join(self)
        await self.group.rebalance()
        await self.connection.gate()

    async def wait_failed(self) -> Never:
        """Raises what `fail` was given, and nothing else."""
        await self._holdings.failed.wait()
        raise self._holdings.error or StartError("failed")

    def stalled(self) -> float:
        """See the port."""
        return self.stalled_seconds

    def waiting(self) -> Sequence[str]:
        """See the port."""
        holdings = self._holdings
        told = [*self.standing, *holdings.halted.values()]
        if not told and holdings.expected and not holdings.owned:
            told = [f"joining: waits for the committed offsets of {', '.join(map(str, holdings.expected))}"]
        return told

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """See the port."""
        self._holdings.pause(partitions, paused=True)

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """See the port."""
        self._holdings.pause(partitions, paused=False)
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
        return {source: owned.next_offset for source, owned in self._holdings.owned.items()}

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
                    await self._next_marker()
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
        self._holdings.open = self.expelled = False
        await self.connection.gate()

    # ---- what the group, the broker and tests do to it

    def fail(self, error: Exception) -> None:
        """The consumer ends with this error."""
        self._holdings.fail(error)

    def wake(self) -> None:
        """Deliver what there is, in the next turn of the loop."""
        self._holdings.wake()

    def take(self, partitions: Collection[TopicPartition]) -> None:
        """The group gives these to the member; the listener hears of each once its committed offset is stable."""
        self._holdings.take(partitions)

    async def hand_back(self, partitions: Collection[TopicPartition]) -> bool:
        """The group takes these away, after the listener is done or the time is up. Returns False where the process died or
        froze meanwhile: it is expelled and keeps believing."""
        listener = self._holdings.listener
        told = tuple(source for source in partitions if source in self._holdings.owned)
        if told and listener is not None:
            try:
                async with asyncio.timeout(self._revoke_timeout):
                    await listener.revoked(told)
            except TimeoutError:
                pass
        if not self.connection.running:
            self.expelled = True
            return False
        self._holdings.forget(partitions)
        return True

    def drop_all(self) -> None:
        """Everything is lost at once."""
        self._holdings.drop_all()

    def removed(self, *, killed: bool) -> None:
        """The group has removed it. Killed: its calls are refused from now on; else it goes on as a zombie until `hear`."""
        if killed:
            self._holdings.open = False
        self.expelled = self.alive

    async def hear(self) -> None:
        """It learns that it was expelled: `lost`, then it joins again."""
        if self.expelled and self.alive:
            self.expelled = False
            self.drop_all()
            self.group.join(self)
            await self.group.rebalance()

    def noticed(self) -> None:
        """The group has refused something as coming from no member: it hears in the next turn of the loop."""
        if self.expelled and self.connection.reaches:
            self._broker.spawn(self.hear())

    def _came_back(self) -> None:
        """Thawed, or connected again."""
        if self.expelled:
            self.noticed()
        elif self in self.group.members and self.generation != self.group.generation:
            self._broker.spawn(self.group.rebalance())
        self._holdings.resolve()
        self.wake()

    def _snapshot(self) -> Membership:
        if not self.alive or not (self.expelled or self in self.group.members):
            raise CommitAborted("this worker is in no consumer group at the moment")
        metadata = GroupMetadata(self.group.name, self.member_id, self.generation)
        return Membership(metadata, {where: owned.number for where, owned in self._holdings.owned.items()})

    def _commit(self, positions: Mapping[TopicPartition, Position], group: GroupMetadata) -> None:
        self.group.commit(positions, group, self._broker.offset_metadata_max, self._broker.plainly_committed)

    def _read(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position]:
        offsets = self.group.offsets
        unknown = [where for where in partitions if where not in offsets.committed or not offsets.is_stable(where)]
        if unknown:
            raise CommitAborted(f"the committed offset of {unknown[0]} cannot be told")
        return {where: offsets.committed[where] for where in partitions}

    async def _request(self, step: str, effect: Callable[[], Result]) -> Result:
        delays = self._broker.faults.delays
        try:
            return await self.connection.request(effect, delays(step), delays(f"{step}.answer"))
        except Unreachable as error:
            raise CommitAborted(str(error)) from None

    async def _next_marker(self) -> None:
        """Of the group's offsets."""
        marked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def mark() -> None:
            if not marked.done():
                marked.set_result(None)

        self.group.offsets.when_stable.append(mark)
        await marked
