"""Bugs of the commit: what goes into a batch, what is made of its outcome, who fences it, and in which order outcomes leave."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.fakes.broker import FakeSink, FakeTransactionalSink
from tests.fakes.kafka.group import GroupMetadata
from tests.fakes.kafka.offsets import GroupOffsets
from tests.simulation.patching import Bugs, Patch, bug
from worker.core.ordering import KeyOrder
from worker.errors import CommitAborted
from worker.gate.attempt import Attempt
from worker.gate.outbox import Outbox
from worker.model import Batch, Membership
from worker.stages.commit import Commit

BUGS: Bugs = {}


@bug(BUGS)
def order_ignored() -> Sequence[Patch]:
    """Outcomes leave as they are ready, whatever their key."""
    enter = KeyOrder.enter
    return [Patch(KeyOrder, "enter", lambda self, offset, key: enter(self, offset, None))]


@bug(BUGS)
def superseded_is_published_late() -> Sequence[Patch]:
    """A superseded record loses its place in the order of its key, and is published all the same."""

    def supersede(self: KeyOrder[Any], offset: int) -> tuple[int, ...]:
        key = self._keys.get(offset)
        for older in [] if key is None else [older for older in self._queues[key] if older < offset]:
            del self._queues[key][older], self._keys[older]  # type: ignore[index]
            self._held.pop(older, None)
        return ()

    return [Patch(KeyOrder, "supersede", supersede)]


@bug(BUGS)
def last_commit_tried_once() -> Sequence[Patch]:
    """An owner leaves after its last commit, whether that stands or not."""
    return [Patch(Commit, "last", lambda self, _leaving: self.now())]


@bug(BUGS)
def refused_is_overtaken() -> Sequence[Patch]:
    """A record whose message was refused has lost its place in the order of its key."""
    return [Patch(KeyOrder, "comes_back", lambda _self, _offset: None)]


@bug(BUGS)
def offsets_outside_the_transaction() -> Sequence[Patch]:
    """The offsets are committed in a transaction of their own, before the outcomes."""
    commit = FakeTransactionalSink.commit

    async def apart(self: FakeTransactionalSink, batch: Batch) -> None:
        await commit(self, replace(batch, messages=()))
        if batch.messages:
            await commit(self, replace(batch, positions={}))

    return [Patch(FakeTransactionalSink, "commit", apart)]


@bug(BUGS)
def offsets_before_outcomes() -> Sequence[Patch]:
    """At least once: the offsets are committed, then the outcomes are published."""
    commit = FakeSink.commit

    async def reversed_order(self: FakeSink, batch: Batch) -> None:
        await self._commit_offsets(batch.positions, batch.membership)
        await commit(self, batch)

    return [Patch(FakeSink, "commit", reversed_order)]


@bug(BUGS)
def unknown_counts_as_failed() -> Sequence[Patch]:
    """Rule 4: a commit whose outcome is unknown is built and sent again."""

    async def _decide(self: Commit, attempt: Attempt, membership: Membership) -> None:
        await self._sink.settle()
        self._undecided = None
        self._failed(attempt, ())

    return [Patch(Commit, "_decide", _decide)]


@bug(BUGS)
def unknown_counts_as_committed() -> Sequence[Patch]:
    """Rule 4: a commit whose outcome is unknown is believed to stand."""

    async def _decide(self: Commit, attempt: Attempt, membership: Membership) -> None:
        await self._sink.settle()
        self._undecided = None
        self._stands(attempt)

    return [Patch(Commit, "_decide", _decide)]


def _present(sink: FakeTransactionalSink, group: object) -> object:
    """The group metadata as they are now, whatever was captured."""
    if not isinstance(group, GroupMetadata):
        return group
    member = sink._broker._group(group.group)._known[group.member_id]  # type: ignore[attr-defined]
    return GroupMetadata(group.group, member.member_id, member.generation)


@bug(BUGS)
def generation_read_when_sending() -> Sequence[Patch]:
    """Rule 1: ownership and group metadata are not of the same moment."""
    send = FakeTransactionalSink._send

    def _send(self: FakeTransactionalSink, transaction: Any, positions: Any, group: Any) -> None:
        send(self, transaction, positions, _present(self, group))  # type: ignore[arg-type]

    return [Patch(FakeTransactionalSink, "_send", _send)]


@bug(BUGS)
def aborted_batch_sent_as_it_was() -> Sequence[Patch]:
    """Rule 2: after an abort the same batch is sent again, under the present generation."""
    commit = FakeTransactionalSink.commit

    async def again(self: FakeTransactionalSink, batch: Batch) -> None:
        try:
            await commit(self, batch)
        except CommitAborted:
            membership = replace(batch.membership, group=_present(self, batch.membership.group))
            await commit(self, replace(batch, membership=membership))

    return [Patch(FakeTransactionalSink, "commit", again)]


@bug(BUGS)
def committed_offsets_read_unstable() -> Sequence[Patch]:
    """Rule 4: the ledger is read while a transaction over it is undecided or has no marker."""
    return [Patch(GroupOffsets, "is_stable", lambda self, where: True)]


@bug(BUGS)
def outcomes_of_lost_partitions_published() -> Sequence[Patch]:
    """What was ready when a partition went is published by its old owner."""
    return [Patch(Outbox, "keep_owned", lambda self, owned: None)]
