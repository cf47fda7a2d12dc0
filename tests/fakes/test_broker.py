"""The in-memory Kafka where the conformance suite cannot look: time-outs, late markers, zombies, dead processes."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import pytest

from tests.fakes.broker import Decided, FakeBroker, FakeSource, FakeTransactionalSink, Unknown
from tests.fakes.virtual_time import run
from worker.core.takeover import first_metadata
from worker.errors import CommitAborted, CommitUnknown, MetadataTooLarge
from worker.model import Assignment, Batch, Membership, Message, Position, Record, TopicPartition
from worker.settings.sections import StartFrom

IN, OUT = TopicPartition("in", 0), TopicPartition("out", 0)
GROUP = "group"


class Ear:
    """A listener that resumes what it gets and keeps what it hears."""

    def __init__(self, source: FakeSource) -> None:
        self.source = source
        self.heard: list[str] = []
        self.starts: dict[TopicPartition, Assignment] = {}
        self.records: list[Record] = []
        self.when_revoked: Callable[[], Awaitable[None]] | None = None

    def assigned(self, assignments: Mapping[TopicPartition, Assignment]) -> None:
        self.heard.append("assigned")
        self.starts.update(assignments)
        self.source.resume(assignments)

    def arrived(self, records: Sequence[Record]) -> None:
        self.records += records

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        self.heard.append("revoked")
        if self.when_revoked:
            await self.when_revoked()

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        self.heard.append("lost")


class Member:
    """A source with its listener, and a transactional sink."""

    def __init__(self, broker: FakeBroker, transactional_id: str | None = None, revoke_timeout: float = 5.0) -> None:
        self.source = broker.source(GROUP, ["in"], start_from=StartFrom.EARLIEST, revoke_timeout=revoke_timeout)
        self.sink: FakeTransactionalSink = broker.transactional_sink(self.source, transactional_id)
        self.ear = Ear(self.source)

    async def start(self) -> "Member":
        await self.sink.start()
        await self.source.start(self.ear)
        return self

    async def commit(self, value: bytes, offset: int, membership: Membership | None = None) -> None:
        held = membership or await self.source.snapshot()
        await self.sink.commit(Batch([Message("out", b"k", value, ())], {IN: Position(offset, f"at {offset}")}, held))


def in_virtual_time(test: Callable[[FakeBroker], Awaitable[None]], partitions: int = 1) -> None:
    async def main() -> None:
        unhandled: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        broker = FakeBroker({"in": partitions, "out": 1})
        await test(broker)
        await broker.close()
        assert unhandled == []

    run(main())


def values(broker: FakeBroker) -> list[bytes | None]:
    return [record.value for record in broker.records("out")]


def committed(broker: FakeBroker) -> int:
    return broker.committed(GROUP)[IN].offset


async def left_hanging(work: Awaitable[object]) -> None:
    """Whatever the dead process awaits does not return within an hour."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work, 3600.0)


def test_a_commit_is_answered_before_its_markers_and_shows_with_them() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.marker_delay = 3.0
        await a.commit(b"1", 1)
        assert (values(broker), committed(broker), broker.latest(GROUP, IN)) == ([], 0, Position(1, "at 1"))
        began = asyncio.get_running_loop().time()
        assert await a.source.recall([IN]) == {IN: Position(1, "at 1")}
        assert asyncio.get_running_loop().time() == began + 3.0
        assert values(broker) == [b"1"]

    in_virtual_time(test)


def test_recall_gives_up_on_a_marker_that_does_not_come_and_committed_leaves_it_out() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.marker_delay = 60.0
        await a.commit(b"1", 1)
        with pytest.raises(CommitAborted, match="not decided"):
            await a.source.recall([IN])
        assert await a.source.committed([IN]) == {}

    in_virtual_time(test)


def test_the_next_transaction_waits_for_the_markers_of_the_one_before() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.marker_delay = 3.0
        await a.commit(b"1", 1)
        await a.commit(b"2", 2)
        assert asyncio.get_running_loop().time() == 3.0

    in_virtual_time(test)


def test_an_assignment_is_told_once_its_offset_is_stable() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.marker_delay = 3.0
        await a.commit(b"1", 1)
        b = Member(broker)
        await b.start()
        await broker.kill(a.source)
        assert (b.ear.heard, b.source.owned, b.source.held) == ([], (), (IN,))
        await asyncio.sleep(4.0)
        assert b.ear.starts[IN].start == Position(1, "at 1")

    in_virtual_time(test)


def test_markers_take_offsets_and_what_is_aborted_is_hidden() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        await a.commit(b"1", 1)
        broker.faults.abort_commit = 1
        with pytest.raises(CommitAborted):
            await a.commit(b"2", 2)
        assert broker.log(OUT).stable == 4
        await a.commit(b"3", 3)
        assert [(record.offset, record.value) for record in broker.records("out")] == [(0, b"1"), (4, b"3")]
        assert broker.log(OUT).stable == broker.log(OUT).end
        assert broker.log(OUT).end == 6

    in_virtual_time(test)


def test_a_transaction_that_is_decided_first_waits_for_one_that_began_before_it() -> None:
    async def test(broker: FakeBroker) -> None:
        a, b = await Member(broker).start(), Member(broker)
        await b.sink.start()
        broker.faults.delays = lambda step: 2.0 if step == "end" else 0.0
        first = asyncio.create_task(a.commit(b"a", 1))
        await asyncio.sleep(1.0)
        broker.faults.delays = lambda step: 0.0
        await b.sink.commit(Batch([Message("out", b"k", b"b", ())], {}, Membership(None, {})))
        assert values(broker) == []
        await first
        assert values(broker) == [b"a", b"b"]

    in_virtual_time(test)


def test_nothing_behind_an_open_transaction_shows_until_it_times_out() -> None:
    async def test(broker: FakeBroker) -> None:
        a, b = await Member(broker).start(), Member(broker)
        await b.sink.start()
        broker.faults.delays = lambda step: 60.0 if step == "end" else 0.0
        late = asyncio.create_task(a.commit(b"1", 1))
        await asyncio.sleep(1.0)
        broker.faults.delays = lambda step: 0.0
        broker.publish("out", b"k", b"plain")
        assert (values(broker), broker.log(OUT).stable) == ([], 0)
        await asyncio.sleep(10.0)
        assert values(broker) == [b"plain"]
        with pytest.raises(CommitUnknown, match="fenced"):
            await late
        assert committed(broker) == 0
        with pytest.raises(CommitAborted, match="not known yet"):
            await a.commit(b"1", 1)
        await a.sink.settle()
        await a.commit(b"1", 1)
        assert (values(broker), committed(broker)) == ([b"plain", b"1"], 1)

    in_virtual_time(test)


@pytest.mark.parametrize(
    ("unknown", "stands"), [(Unknown.APPLIED, True), (Unknown.LOST, False), (Unknown.LATE, True), (None, True)]
)
def test_after_an_unknown_outcome_settle_and_recall_tell_what_stands(unknown: Unknown | None, stands: bool) -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.marker_delay = 2.0
        if unknown is None:  # the network breaks while the answer is under way
            broker.faults.delays = lambda step: 1.0 if step == "end.answer" else 0.0
            asyncio.get_running_loop().call_later(0.5, a.source.connection.unplug)
            asyncio.get_running_loop().call_later(3.5, a.source.connection.plug)
        else:
            broker.faults.unknown_commit.append(unknown)
        with pytest.raises(CommitUnknown):
            await a.commit(b"1", 1)
        broker.faults.fail_settle = 1
        with pytest.raises(CommitAborted):
            await a.sink.settle()
        while a.sink.unsettled:
            try:
                await a.sink.settle()
            except CommitAborted:
                await asyncio.sleep(0.5)
        assert (await a.source.recall([IN]))[IN].offset == int(stands)
        assert values(broker) == [b"1"] * stands

    in_virtual_time(test)


def test_a_late_end_of_a_settled_transaction_changes_nothing() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.unknown_commit.append(Unknown.LATE)
        broker.faults.delays = lambda step: 1.0 if step == "late" else 0.0
        with pytest.raises(CommitUnknown):
            await a.commit(b"1", 1)
        await a.sink.settle()
        await asyncio.sleep(2.0)
        assert (values(broker), committed(broker)) == ([], 0)

    in_virtual_time(test)


def test_a_producer_with_the_same_id_fences_the_older_one() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker, "id").start()
        broker.faults.delays = lambda step: 1.0 if step == "offsets" else 0.0
        older = asyncio.create_task(a.commit(b"1", 1))
        await asyncio.sleep(0.5)
        await broker.transactional_sink(transactional_id="id").start()
        with pytest.raises(CommitAborted, match="fenced"):
            await older
        assert values(broker) == []

    in_virtual_time(test)


def test_offsets_sent_before_a_rebalance_stand_and_those_sent_after_it_are_refused() -> None:
    async def test(broker: FakeBroker) -> None:
        a, b = await Member(broker).start(), Member(broker)
        await b.sink.start()
        broker.faults.delays = lambda step: 1.0 if step == "end" else 0.0
        sent = asyncio.create_task(a.commit(b"1", 1))
        await asyncio.sleep(0.5)
        membership = await a.source.snapshot()
        await broker.rebalance(GROUP)
        await sent
        assert (values(broker), committed(broker)) == ([b"1"], 1)
        with pytest.raises(CommitAborted, match="ILLEGAL_GENERATION"):
            await a.commit(b"2", 2, membership)
        await a.commit(b"2", 2)
        assert values(broker) == [b"1", b"2"]

    in_virtual_time(test)


def test_ownership_is_not_looked_at() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        b = await Member(broker).start()
        assert b.source.owned == ()
        await b.commit(b"b", 1, Membership((await b.source.snapshot()).group, {IN: 1}))
        assert (committed(broker), a.source.owned) == (1, (IN,))

    in_virtual_time(test)


def test_within_revoked_the_snapshot_is_of_the_new_generation_and_may_commit() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        before = await a.source.snapshot()
        refused: list[str] = []

        async def leave() -> None:
            try:
                await a.commit(b"stale", 1, before)
            except CommitAborted as error:
                refused.append(str(error))
            await a.commit(b"1", 1)

        a.ear.when_revoked = leave
        await Member(broker).start()
        assert (a.ear.heard, values(broker)) == (["assigned", "revoked"], [b"1"])
        assert "ILLEGAL_GENERATION" in refused[0]

    in_virtual_time(test, partitions=2)


def test_a_plain_commit_wins_over_offsets_that_were_sent_before_it_and_loses_to_later_ones() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.delays = lambda step: 1.0 if step == "end" else 0.0
        sent = asyncio.create_task(a.commit(b"1", 1))
        await asyncio.sleep(0.5)
        await a.source.commit({IN: Position(5)}, await a.source.snapshot())
        await sent
        assert committed(broker) == 5
        await a.commit(b"2", 2)
        assert committed(broker) == 2

    in_virtual_time(test)


def test_metadata_that_is_too_large_aborts_a_transaction_and_spoils_only_itself_in_a_plain_commit() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        decisions: list[Decided] = []
        broker.watchers.append(decisions.append)
        membership = await a.source.snapshot()
        both = {IN: Position(3, "x" * 4096), TopicPartition("in", 1): Position(4, "x" * 4095)}
        with pytest.raises(MetadataTooLarge):
            await a.sink.commit(Batch([Message("out", None, b"1", ())], both, membership))
        assert values(broker) == []
        assert {at.offset for at in broker.committed(GROUP).values()} == {0}
        assert [decided.committed for decided in decisions] == [False]
        for _ in range(2):
            with pytest.raises(MetadataTooLarge):
                await a.source.commit(both, membership)
            told = decisions.pop()
            assert (told.transactional_id, [*told.positions[GROUP]]) == (None, [TopicPartition("in", 1)])
        assert [at.offset for _, at in sorted(broker.committed(GROUP).items())] == [0, 4]

    in_virtual_time(test, partitions=2)


def test_what_a_killed_process_had_sent_takes_effect_and_nothing_else_does() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.delays = lambda step: 1.0 if step == "end" else 0.0
        dying = asyncio.create_task(a.commit(b"1", 1))
        await asyncio.sleep(0.5)
        a.source.connection.cut()
        await left_hanging(a.source.snapshot())
        await left_hanging(dying)
        assert (values(broker), committed(broker)) == ([b"1"], 1)
        await left_hanging(a.sink.close())

        b = await Member(broker).start()
        assert not b.source.owned
        await broker.kill(a.source)
        assert b.source.owned == (IN,)
        assert a.ear.heard == ["assigned"]

    in_virtual_time(test)


def test_a_transaction_of_a_killed_process_is_aborted_by_its_time_out() -> None:
    async def test(broker: FakeBroker) -> None:
        decisions: list[Decided] = []
        broker.watchers.append(decisions.append)
        a = await Member(broker).start()
        broker.faults.delays = lambda step: 1.0 if step == "offsets" else 0.0
        dying = asyncio.create_task(a.commit(b"1", 1))
        await asyncio.sleep(0.5)
        a.source.connection.cut()
        b = await Member(broker).start()
        await broker.kill(a.source)
        await asyncio.sleep(1.0)
        assert b.source.owned == (IN,)  # its offsets were sent after it had gone from the group
        await asyncio.sleep(10.0)
        first, last = decisions
        assert (first.committed, first.transactional_id) == (True, None)
        assert (last.committed, last.at, [record.value for record in last.records]) == (False, 10.0, [b"1"])
        assert values(broker) == []
        await left_hanging(dying)

    in_virtual_time(test)


def test_a_frozen_member_is_refused_after_its_expulsion_and_hears_of_it_when_it_thaws() -> None:
    async def test(broker: FakeBroker) -> None:
        a, b = await Member(broker).start(), Member(broker)
        await b.start()
        a.source.connection.freeze()
        frozen = asyncio.create_task(a.commit(b"a", 1))
        await broker.rebalance(GROUP)
        assert not b.source.owned
        await broker.expel(a.source)
        assert (b.source.owned, a.source.owned, a.ear.heard) == ((IN,), (IN,), ["assigned"])
        await b.commit(b"b", 1)
        a.source.connection.thaw()
        with pytest.raises(CommitAborted, match="UNKNOWN_MEMBER_ID"):
            await frozen
        await asyncio.sleep(0.1)
        assert (a.ear.heard, values(broker)) == (["assigned", "lost"], [b"b"])
        assert (await a.source.snapshot()).owned == {}

    in_virtual_time(test)


def test_a_frozen_member_that_thaws_in_time_keeps_its_partitions_under_the_present_generation() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        a.source.connection.freeze()
        b = await Member(broker).start()
        stale = a.source.generation
        a.source.connection.thaw()
        await asyncio.sleep(0.1)
        assert a.source.generation > stale
        await a.commit(b"a", 1)
        assert (values(broker), b.source.owned) == ([b"a"], ())

    in_virtual_time(test)


def test_a_zombie_believes_in_its_assignment_until_it_hears() -> None:
    async def test(broker: FakeBroker) -> None:
        a, b = await Member(broker).start(), Member(broker)
        await b.start()
        await broker.expel(a.source, silent=30.0)
        assert (await a.source.snapshot()).owned == {IN: 1}
        await asyncio.sleep(29.0)
        assert a.source.expelled
        await asyncio.sleep(2.0)
        assert (a.ear.heard, a.source.expelled) == (["assigned", "lost"], False)

    in_virtual_time(test)


def test_a_member_that_freezes_while_it_hands_back_is_removed_and_keeps_believing() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()

        async def stuck() -> None:
            a.source.connection.freeze()
            await a.source.snapshot()

        a.ear.when_revoked = stuck
        b = await Member(broker).start()
        assert (len(a.source.owned), sorted(b.source.owned)) == (2, [IN, TopicPartition("in", 1)])
        a.source.connection.thaw()
        a.ear.when_revoked = None
        await asyncio.sleep(0.1)
        assert a.ear.heard == ["assigned", "revoked", "lost", "assigned"]
        assert len(a.source.owned) == len(b.source.owned) == 1

    in_virtual_time(test, partitions=2)


def test_two_rebalances_do_not_overlap() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        running = most = 0

        async def slow() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(1.0)
            running -= 1

        a.ear.when_revoked = slow
        await asyncio.gather(*(Member(broker).start() for _ in range(3)))
        assert most == 1
        assert len(a.source.owned) == 1

    in_virtual_time(test, partitions=4)


def test_a_commit_goes_on_when_its_caller_is_cancelled() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.delays = lambda step: 1.0 if step == "produce" else 0.0
        caller = asyncio.create_task(a.commit(b"1", 1))
        await asyncio.sleep(0.5)
        caller.cancel()
        await a.commit(b"2", 2)
        assert values(broker) == [b"1", b"2"]

    in_virtual_time(test)


def test_close_waits_three_seconds_for_a_commit_under_way_and_aborts_it_then() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.faults.publish_delay = 60.0
        caller = asyncio.create_task(a.commit(b"1", 1))
        await asyncio.sleep(0.5)
        caller.cancel()
        await a.sink.close()
        assert asyncio.get_running_loop().time() == 3.5
        assert values(broker) == []

    in_virtual_time(test)


def test_a_topic_that_is_made_again_has_another_id_and_no_committed_offsets() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        first = a.ear.starts[IN]
        assert first.start.metadata == first_metadata(broker.cluster, first.topic_id, 0, 0)
        await a.commit(b"1", 1)
        for keep_offsets in (True, False):
            broker.delete_topic("in", keep_offsets=keep_offsets)
            assert (IN in broker.committed(GROUP)) == keep_offsets
            broker.create_topic("in", 1)
        await broker.expel(a.source)
        assert a.ear.starts[IN].topic_id not in {"", first.topic_id}
        assert a.ear.starts[IN].start.offset == 0

    in_virtual_time(test)


def test_recall_of_a_partition_without_committed_offset_is_refused() -> None:
    async def test(broker: FakeBroker) -> None:
        a = await Member(broker).start()
        broker.committed(GROUP).clear()
        with pytest.raises(CommitAborted, match="in-0 cannot be told"):
            await a.source.recall([IN])

    in_virtual_time(test)


def test_an_assignment_that_moves_on_before_its_offset_is_stable_is_told_to_its_last_owner_only() -> None:
    async def test(broker: FakeBroker) -> None:
        dead, a = await Member(broker).start(), Member(broker)
        broker.faults.marker_delay = 3.0
        membership = await dead.source.snapshot()
        both = dict.fromkeys((IN, TopicPartition("in", 1)), Position(1))
        await dead.sink.commit(Batch((), both, membership))
        dead.source.connection.cut()
        await a.start()
        await broker.kill(dead.source)
        assert (a.source.owned, len(a.source.held)) == ((), 2)
        b = await Member(broker).start()
        await asyncio.sleep(4.0)
        assert (a.ear.heard, b.ear.heard) == (["assigned"], ["assigned"])
        assert {*a.source.owned, *b.source.owned} == {*both}
        assert len(a.source.owned) == 1

    in_virtual_time(test, partitions=2)


def test_a_zombie_hears_when_the_group_refuses_its_offsets() -> None:
    async def test(broker: FakeBroker) -> None:
        a, b = await Member(broker).start(), await Member(broker).start()
        ways: list[Callable[[Membership], Awaitable[None]]] = [
            lambda now: a.source.commit({IN: Position(1)}, now),
            lambda now: a.commit(b"a", 1, now),
        ]
        for number, way in enumerate(ways, 1):
            await broker.expel(a.source, silent=float("inf"))
            with pytest.raises(CommitAborted, match="UNKNOWN_MEMBER_ID"):
                await way(await a.source.snapshot())
            await asyncio.sleep(0.1)
            assert a.ear.heard.count("lost") == number
            await broker.expel(b.source)  # back to the first
        assert values(broker) == []

    in_virtual_time(test)


def test_the_position_moves_past_gaps_and_markers() -> None:
    async def test(broker: FakeBroker) -> None:
        broker.publish("in", None, b"0")
        broker.skip(IN, 3)
        broker.publish("in", None, b"4")
        broker.skip(IN, 2)
        a = await Member(broker).start()
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)
        assert [record.offset for record in a.ear.records] == [0, 4]
        assert await a.source.positions() == {IN: 7}

    in_virtual_time(test)
