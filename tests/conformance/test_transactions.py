"""The port `Sink` with exactly-once delivery, and what `Source.recall` tells: on the fake and on a real Kafka, with both
protocols of consumer groups. (The embedded broker has no transactions.)"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from tests.conformance.clusters import NOBODY, Cluster, Recorder, listener, publish
from tests.conformance.steps import commit, joined, numbered, offsets, until
from worker.errors import CommitAborted, CommitError, CommitUnknown, MessageRefused, MetadataTooLarge
from worker.model import Batch, Message, Position, TopicPartition
from worker.ports import Sink, Source

REAL = pytest.mark.real_kafka
ONE_PROTOCOL = ["fake", pytest.param("kafka", marks=REAL)]
both_protocols = pytest.mark.parametrize(
    "cluster", [*ONE_PROTOCOL, pytest.param("kafka_new_protocol", marks=REAL)], indirect=True
)
one_protocol = pytest.mark.parametrize("cluster", ONE_PROTOCOL, indirect=True)

_USABLE_METADATA = 4095
_TOO_MUCH = "A" * (_USABLE_METADATA + 1)
_A_WHILE = 0.7


@asynccontextmanager
async def started(sink: Sink) -> AsyncIterator[Sink]:
    """Closed at the end."""
    await sink.start()
    try:
        yield sink
    finally:
        await sink.close()


async def visible(cluster: Cluster, topic: str, count: int) -> list[bytes | None]:
    """The values that a `read_committed` reader sees, behind which another message has been written."""
    await publish(cluster, Message(topic, b"key", b"end", ()))
    values = [record.value for record in await cluster.read(topic, count + 1)]
    assert values[-1:] == [b"end"]
    return values[:-1]


def both(topic: str, first: Position, second: Position) -> Mapping[TopicPartition, Position]:
    return {TopicPartition(topic, 0): first, TopicPartition(topic, 1): second}


async def settled(sink: Sink) -> None:
    async with asyncio.timeout(50):
        while True:
            try:
                await sink.settle()
            except CommitAborted:
                await asyncio.sleep(0.05)
            else:
                return


@both_protocols
async def test_messages_and_offsets_stand_together(cluster: Cluster, group: str, closing: list[Source]) -> None:
    topic, output = cluster.topic(partitions=2), cluster.topic()
    source, _ = await joined(cluster, group, topic, closing, partitions=2)
    async with started(cluster.transactional(group)) as sink:
        membership = await source.snapshot()
        longest = "A" * _USABLE_METADATA
        await sink.commit(Batch(numbered(output, 50), both(topic, Position(4, "ledger"), Position(2)), membership))
        assert await source.recall([TopicPartition(topic, 0), TopicPartition(topic, 1)]) == both(
            topic, Position(4, "ledger"), Position(2)
        )
        await sink.commit(Batch((), {TopicPartition(topic, 0): Position(5, longest)}, membership))
        await sink.commit(Batch(numbered(output, 3), {}, NOBODY))
        found = await source.recall([TopicPartition(topic, 0)])
        assert found == {TopicPartition(topic, 0): Position(5, longest)}
        assert await cluster.committed(group, topic) == both(topic, Position(5, longest), Position(2))
        await sink.settle()
        await sink.close()
        with pytest.raises(CommitAborted):
            await sink.commit(Batch((), {TopicPartition(topic, 0): Position(6)}, membership))
        with pytest.raises(CommitAborted):
            await sink.settle()
    assert await visible(cluster, output, 53) == [b"%d" % number for number in (*range(50), *range(3))]


@both_protocols
async def test_a_batch_from_before_a_rebalance_is_refused_whole(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(partitions=2), cluster.topic()
    source, first = await joined(cluster, group, topic, closing, partitions=2)
    stale = await source.snapshot()
    async with started(cluster.transactional(group)) as sink:
        other, second = await joined(cluster, group, topic, closing)
        [moved] = second.starts
        await until(lambda: moved in first.revocations)
        [stayed] = first.starts
        for partitions in ((moved,), (stayed,), (moved, stayed)):
            with pytest.raises(CommitAborted) as aborted:
                await sink.commit(Batch(numbered(output, 3), dict.fromkeys(partitions, Position(7, "stale")), stale))
            assert not aborted.value.published
        assert offsets(await cluster.committed(group, topic)) == {moved: 0, stayed: 0}

        fresh = await source.snapshot()
        with pytest.raises(CommitAborted):
            await sink.commit(Batch(numbered(output, 3), dict.fromkeys((moved, stayed), Position(7)), fresh))
        await sink.commit(Batch((Message(output, b"key", b"fresh", ()),), {stayed: Position(1)}, fresh))
        async with started(cluster.transactional(group)) as others:
            batch = Batch((Message(output, b"key", b"other", ()),), {moved: Position(2)}, await other.snapshot())
            await others.commit(batch)
    assert await visible(cluster, output, 2) == [b"fresh", b"other"]
    assert offsets(await cluster.committed(group, topic)) == {stayed: 1, moved: 2}


@both_protocols
async def test_a_member_that_has_left_and_one_that_never_joined_commit_nothing(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(), cluster.topic()
    partition = TopicPartition(topic, 0)
    source, _ = await joined(cluster, group, topic, closing)
    former = await source.snapshot()
    async with started(cluster.transactional(group)) as sink:
        await source.close()
        for membership in (former, NOBODY):
            with pytest.raises(CommitAborted):
                await sink.commit(Batch(numbered(output, 2), {partition: Position(7)}, membership))
        successor, _ = await joined(cluster, group, topic, closing)
        with pytest.raises(CommitAborted):
            await sink.commit(Batch(numbered(output, 2), {partition: Position(7)}, former))
        await sink.commit(Batch(numbered(output, 1), {partition: Position(3)}, await successor.snapshot()))
    assert await visible(cluster, output, 1) == [b"0"]
    assert offsets(await cluster.committed(group, topic)) == {partition: 3}


@both_protocols
async def test_the_commit_made_while_a_partition_is_given_back_is_where_the_next_owner_starts(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(partitions=2), cluster.topic()
    source = cluster.source(group, topic)
    closing.append(source)
    async with started(cluster.transactional(group)) as sink:

        class Leaving(Recorder):
            async def before_revoked(self, partitions: tuple[TopicPartition, ...]) -> None:
                positions = dict.fromkeys(partitions, Position(5, "handed over"))
                await sink.commit(Batch(numbered(output, 1), positions, await source.snapshot()))
                assert await source.recall(partitions) == positions

        first = Leaving(source)
        await source.start(listener(first))
        await until(lambda: len(first.starts) == 2)
        _, second = await joined(cluster, group, topic, closing)
        [moved] = first.revocations
        assert second.starts == {moved: Position(5, "handed over")}
        await source.close()


@both_protocols
async def test_metadata_that_the_broker_does_not_take_is_told_apart_and_nothing_stands(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(partitions=2), cluster.topic()
    source, _ = await joined(cluster, group, topic, closing, partitions=2)
    before = await cluster.committed(group, topic)
    async with started(cluster.transactional(group)) as sink:
        membership = await source.snapshot()
        batch = Batch(numbered(output, 3), both(topic, Position(4, _TOO_MUCH), Position(2, "short")), membership)
        with pytest.raises(MetadataTooLarge) as refused:
            await sink.commit(batch)
        assert not refused.value.published
        assert await source.recall(before) == before
        shorter = both(topic, Position(4, "shorter"), Position(2, "short"))
        await sink.commit(Batch(numbered(output, 1), shorter, membership))
        assert await source.recall(before) == shorter
    assert await visible(cluster, output, 1) == [b"0"]


@one_protocol
async def test_metadata_that_the_broker_does_not_take_is_told_apart_outside_transactions_too(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(partitions=2), cluster.topic()
    source, _ = await joined(cluster, group, topic, closing, partitions=2)
    async with started(cluster.sink(source)) as sink:
        positions = both(topic, Position(4, _TOO_MUCH), Position(2, "short"))
        batch = Batch(numbered(output, 3), positions, await source.snapshot())
        with pytest.raises(MetadataTooLarge) as refused:
            await sink.commit(batch)
        assert refused.value.published == {0, 1, 2}
        await sink.settle()
        found = await source.recall([TopicPartition(topic, 0)])
        assert offsets(found) == {TopicPartition(topic, 0): 0}


@both_protocols
async def test_recall_waits_for_a_dead_workers_transaction_and_tells_what_became_of_it(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(partitions=2), cluster.topic()
    partition, free = TopicPartition(topic, 0), TopicPartition(topic, 1)
    source, _ = await joined(cluster, group, topic, closing, partitions=2)
    await commit(source, partition, 1, "before")
    membership = await source.snapshot()
    decide = await cluster.undecided(Batch(numbered(output, 1), {partition: Position(9, "undecided")}, membership))
    recall = asyncio.create_task(patient_recall(source, partition))
    assert offsets(await source.recall([free])) == {free: 0}
    await asyncio.sleep(_A_WHILE)
    assert not recall.done()
    await decide()
    assert await recall == {partition: Position(1, "before")}
    assert await visible(cluster, output, 0) == []


async def patient_recall(source: Source, partition: TopicPartition) -> Mapping[TopicPartition, Position]:
    while True:
        try:
            return await source.recall([partition])
        except CommitAborted:
            await asyncio.sleep(0.05)


@both_protocols
async def test_a_new_owner_waits_for_a_dead_workers_transaction_where_it_has_one_only(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(partitions=2), cluster.topic()
    held, free = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await publish(cluster, *(Message(topic, b"%d" % number, b"", ()) for number in range(20)))
    source, _ = await joined(cluster, group, topic, closing, partitions=2)
    await commit(source, held, 1, "before")
    batch = Batch(numbered(output, 1), {held: Position(9, "undecided")}, await source.snapshot())
    decide = await cluster.undecided(batch)
    await source.close()
    successor, recorder = await joined(cluster, group, topic, closing)
    await until(lambda: recorder.records)
    await asyncio.sleep(_A_WHILE)
    assert offsets(recorder.starts) == {free: 0}
    assert {record.source for record in recorder.records} == {free}
    await decide()
    await until(lambda: held in recorder.starts)
    assert recorder.starts[held] == Position(1, "before")
    await until(lambda: len(recorder.records) == 19)
    await successor.close()


@both_protocols
async def test_after_an_unknown_outcome_recall_tells_the_truth(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(), cluster.topic()
    partition = TopicPartition(topic, 0)
    source, _ = await joined(cluster, group, topic, closing)
    membership = await source.snapshot()
    expected: list[bytes] = []
    before, unknown = await source.recall([partition]), 0
    async with started(cluster.unsure(group)) as sink:
        for number in range(1, 9):
            value = b"%d" % number
            carried = {partition: Position(number, f"ledger {number}")}
            batch = Batch((Message(output, b"key", value, ()),), carried, membership)
            try:
                await sink.commit(batch)
            except CommitUnknown:
                unknown += 1
                with pytest.raises(CommitError):
                    await sink.commit(batch)
                await settled(sink)
            found = await source.recall([partition])
            assert found in (before, carried)
            if found == carried:
                expected.append(value)
            before = found
    assert unknown >= 3
    assert await visible(cluster, output, len(expected)) == expected
    assert await cluster.committed(group, topic) == before


@one_protocol
async def test_refused_messages_are_named_and_the_rest_goes_next_time(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(), cluster.topic(max_bytes=100_000)
    partition = TopicPartition(topic, 0)
    source, _ = await joined(cluster, group, topic, closing)
    left = [
        Message(output, b"%d" % number, b"x" * (200_000 if number in {3, 7} else 90_000), ()) for number in range(10)
    ]
    refused: list[bytes | None] = []
    async with started(cluster.transactional(group)) as sink:
        membership = await source.snapshot()
        for _ in range(3):
            try:
                await sink.commit(Batch(left, {partition: Position(9)}, membership))
            except MessageRefused as error:
                assert offsets(await source.recall([partition])) == {partition: 0}
                refused += [left[index].key for index in error.indexes]
                left = [message for index, message in enumerate(left) if index not in error.indexes]
            else:
                break
        assert sorted(refused, key=str) == [b"3", b"7"]
        assert offsets(await source.recall([partition])) == {partition: 9}
        assert [record.key for record in await cluster.read(output, 8)] == [message.key for message in left]
        with pytest.raises(MessageRefused) as alone:
            await sink.commit(Batch((Message(output, b"", b"x" * 200_000, ()),), {partition: Position(10)}, membership))
        assert alone.value.indexes == (0,)
        await sink.commit(Batch((), {partition: Position(11)}, membership))
        assert offsets(await source.recall([partition])) == {partition: 11}


@one_protocol
async def test_a_missing_output_topic_aborts_and_names_the_command_that_makes_it(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(), cluster.topic()
    partition = TopicPartition(topic, 0)
    source, _ = await joined(cluster, group, topic, closing)
    async with started(cluster.transactional(group)) as sink:
        membership = await source.snapshot()
        messages = [*numbered(output, 2), *numbered("nowhere", 1), *numbered(output, 1)]
        with pytest.raises(CommitAborted, match=r"nowhere.*embedding-worker topics create") as aborted:
            await sink.commit(Batch(messages, {partition: Position(9)}, membership))
        assert not aborted.value.published
        await sink.commit(Batch(numbered(output, 1), {partition: Position(1)}, membership))
    assert await visible(cluster, output, 1) == [b"0"]
    assert offsets(await cluster.committed(group, topic)) == {partition: 1}


@one_protocol
async def test_a_commit_that_nobody_waits_for_any_more_is_waited_for_by_the_next(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(), cluster.topic()
    partition = TopicPartition(topic, 0)
    source, _ = await joined(cluster, group, topic, closing)
    async with started(cluster.transactional(group)) as sink:
        membership = await source.snapshot()
        cancelled = asyncio.create_task(sink.commit(Batch(numbered(output, 5), {partition: Position(1)}, membership)))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        await sink.commit(Batch((), {partition: Position(2)}, membership))
        assert offsets(await source.recall([partition])) == {partition: 2}
