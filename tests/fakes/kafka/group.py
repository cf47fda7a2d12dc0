"""A consumer group: its members, its generation, and who gets which partitions."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from tests.fakes.kafka.connection import Connection
from tests.fakes.kafka.offsets import GroupOffsets, too_large
from tests.fakes.kafka.transactions import Transaction
from worker.errors import CommitAborted
from worker.model import Position, TopicPartition


class GroupMetadata(NamedTuple):
    """What fences a commit; opaque in `Membership.group`."""

    group: str
    member_id: str
    generation: int


PlainCommit = Callable[[str, Mapping[TopicPartition, Position]], None]


class Member(Protocol):
    """A source, as the group sees it."""

    connection: Connection
    member_id: str
    generation: int
    topics: tuple[str, ...]

    @property
    def held(self) -> Collection[TopicPartition]: ...

    async def hand_back(self, partitions: Collection[TopicPartition]) -> bool: ...

    def take(self, partitions: Collection[TopicPartition]) -> None: ...

    def noticed(self) -> None: ...

    def wake(self) -> None: ...


class Group:
    """One rebalance at a time. `partitions` lists the partitions of topics."""

    def __init__(self, name: str, partitions: Callable[[Sequence[str]], list[TopicPartition]]) -> None:
        self.name = name
        self.generation = 0
        self.members: list[Member] = []
        self.offsets = GroupOffsets()
        self._partitions = partitions
        self._known: dict[str, Member] = {}
        self._lock = asyncio.Lock()

    @property
    def committed(self) -> dict[TopicPartition, Position]:
        """The committed positions."""
        return self.offsets.committed

    def join(self, member: Member) -> None:
        """A new member id; partitions come with the next rebalance."""
        member.member_id = f"{self.name}-member-{len(self._known) + 1}"
        self._known[member.member_id] = member
        self.members.append(member)

    def leave(self, member: Member) -> None:
        """At once: what it sends from now on is refused."""
        if member in self.members:
            self.members.remove(member)

    async def rebalance(self) -> None:
        """Cooperative: what has to move is revoked under a new generation, then assigned under the next. Members that do not
        answer keep what they have, and do not learn the generation."""
        async with self._lock:
            while await self._round():
                continue

    async def depart(self, member: Member) -> None:
        """A member leaves in order: hands everything back, then the others take over."""
        async with self._lock:
            await member.hand_back(member.held)
            self.leave(member)
        await self.rebalance()

    def check(self, metadata: GroupMetadata) -> None:
        """Raises CommitAborted unless this is a member of the present generation. Who owns what is not looked at."""
        if not any(member.member_id == metadata.member_id for member in self.members):
            if metadata.member_id in self._known:
                self._known[metadata.member_id].noticed()
            raise CommitAborted("the group refused the offsets: UNKNOWN_MEMBER_ID")
        if metadata.generation != self.generation:
            raise CommitAborted("the group refused the offsets: ILLEGAL_GENERATION")

    def commit(
        self, positions: Mapping[TopicPartition, Position], metadata: GroupMetadata, most: int, told: PlainCommit
    ) -> None:
        """OffsetCommit; what fits stands, and `told` hears of it. Raises CommitAborted, MetadataTooLarge."""
        self.check(metadata)
        fitting = {where: at for where, at in positions.items() if too_large({where: at}, most) is None}
        self.offsets.write(fitting)
        told(self.name, fitting)
        error = too_large(positions, most)
        if error is not None:
            raise error

    def send(
        self, transaction: Transaction, positions: Mapping[TopicPartition, Position], metadata: GroupMetadata, most: int
    ) -> None:
        """TxnOffsetCommit. Raises CommitAborted and MetadataTooLarge: the client has to abort then."""
        self.check(metadata)
        error = too_large(positions, most)
        if error is not None:
            raise error
        self.offsets.pend(transaction, positions)
        transaction.offsets.setdefault(self.name, (self.offsets, {}))[1].update(positions)

    async def _round(self) -> bool:
        """Returns whether a member went silent in it, so that another round is needed."""
        members = [member for member in self.members if member.connection.reaches]
        silent = {where for member in self.members if member not in members for where in member.held}
        self._advance(members)
        topics = list(dict.fromkeys(topic for member in members for topic in member.topics))
        targets = spread(members, [where for where in self._partitions(topics) if where not in silent])
        leaving = []
        for member, target in zip(members, targets, strict=True):
            gone = [where for where in member.held if where not in target]
            if gone:
                leaving.append((member, gone))
        if leaving:
            answers = await asyncio.gather(*(member.hand_back(gone) for member, gone in leaving))
            for (member, _), answered in zip(leaving, answers, strict=True):
                if not answered:
                    self.leave(member)
            self._advance([member for member in self.members if member in members and member.connection.reaches])
        for member, target in zip(members, targets, strict=True):
            if member in self.members and member.connection.reaches:
                member.take([where for where in target if where not in member.held])
        return bool(leaving) and not all(answers)

    def _advance(self, members: Collection[Member]) -> None:
        self.generation += 1
        for member in members:
            member.generation = self.generation


def spread(members: Sequence[Member], partitions: Sequence[TopicPartition]) -> list[list[TopicPartition]]:
    """Even shares, in the order of the members; a member keeps what it has as far as its share goes."""
    if not members:
        return []
    share, extra = divmod(len(partitions), len(members))
    free = dict.fromkeys(partitions)
    quotas = [share + (1 if position < extra else 0) for position in range(len(members))]
    targets: list[list[TopicPartition]] = []
    for member, quota in zip(members, quotas, strict=True):
        kept = [where for where in member.held if where in free][:quota]
        targets.append(kept)
        for where in kept:
            del free[where]
    rest = list(free)
    for target, quota in zip(targets, quotas, strict=True):
        room = quota - len(target)
        target.extend(rest[:room])
        del rest[:room]
    return targets
