"""The ports `Source` and `Sink`: what holds on the fake holds on the embedded broker and on a real Kafka."""

import asyncio

import pytest

from tests.conformance.clusters import Cluster, Recorder, listener, publish
from tests.conformance.steps import commit, joined, member_of_a_group, numbered, offsets, until
from worker.core.takeover import first_metadata
from worker.errors import CommitAborted, MessageRefused, StartError
from worker.model import Batch, Membership, Message, Position, Record, TopicPartition
from worker.ports import Source
from worker.settings.sections import StartFrom

_FIVE_MEGABYTES = 5 * 1024 * 1024

# the embedded broker has no topic configuration, makes unknown topics by itself, and loses records of 5 MB
FAITHFUL = ["fake", pytest.param("kafka", marks=pytest.mark.real_kafka)]


async def test_a_new_group_needs_no_start_from_for_an_empty_topic(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic(partitions=2)
    _, recorder = await joined(cluster, group, topic, closing, start_from=None, partitions=2)
    assert set(offsets(recorder.starts).values()) == {0}
    assert await cluster.committed(group, topic) == recorder.starts


async def test_first_offsets_carry_an_empty_ledger_of_their_place(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, other = cluster.topic(partitions=3), cluster.topic()
    _, recorder = await joined(cluster, group, topic, closing, partitions=3)
    _, elsewhere = await joined(cluster, f"{group}-other", other, closing)
    for partition, assignment in recorder.assignments.items():
        expected = first_metadata(assignment.cluster, assignment.topic_id, partition.partition, 0)
        assert assignment.start == Position(0, expected)
    [place] = {(assignment.cluster, assignment.topic_id) for assignment in recorder.assignments.values()}
    [other_place] = {(assignment.cluster, assignment.topic_id) for assignment in elsewhere.assignments.values()}
    assert all(place)
    assert place[0] == other_place[0]
    assert place[1] != other_place[1]


async def test_a_new_group_without_start_from_is_refused_where_records_are(cluster: Cluster, group: str) -> None:
    topic = cluster.topic()
    await publish(cluster, *numbered(topic, 3))
    source = cluster.source(group, topic, start_from=None)
    with pytest.raises(StartError, match=r"3 records.*WORKER_KAFKA__START_FROM"):
        await source.start(listener(Recorder(source)))
    assert not await cluster.committed(group, topic)


async def test_a_missing_topic_is_named_with_the_command_that_makes_it(cluster: Cluster, group: str) -> None:
    source = cluster.source(group, "nowhere")
    with pytest.raises(StartError, match=r"nowhere.*embedding-worker topics create"):
        await source.start(listener(Recorder(source)))


async def test_latest_is_committed_before_anything_arrives(cluster: Cluster, group: str, closing: list[Source]) -> None:
    topic = cluster.topic()
    await publish(cluster, *numbered(topic, 3))
    _, recorder = await joined(cluster, group, topic, closing, start_from=StartFrom.LATEST)
    assert offsets(recorder.starts) == {TopicPartition(topic, 0): 3}
    assert await cluster.committed(group, topic) == recorder.starts
    await publish(cluster, Message(topic, None, b"new", ()))
    await until(lambda: recorder.records)
    assert [record.value for record in recorder.records] == [b"new"]


async def test_a_partition_without_offset_in_a_known_group_is_read_from_its_beginning(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic(partitions=2)
    keys = [b"%d" % number for number in range(20)]
    await publish(cluster, *(Message(topic, key, b"", ()) for key in keys))
    cluster.reset(group, topic, 1)  # partition 0 only
    _, recorder = await joined(cluster, group, topic, closing, start_from=StartFrom.LATEST, partitions=2)
    reset, fresh = TopicPartition(topic, 0), recorder.assignments[TopicPartition(topic, 1)]
    assert (recorder.starts[reset], fresh.start.offset) == (Position(1), 0)
    assert fresh.start.metadata == first_metadata(fresh.cluster, fresh.topic_id, 1, 0)
    assert await cluster.committed(group, topic) == recorder.starts
    await until(lambda: len(recorder.records) == 19)


async def test_records_arrive_in_order_under_the_number_of_their_assignment(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic()
    await publish(cluster, *numbered(topic, 2500))
    source, recorder = await joined(cluster, group, topic, closing)
    await until(lambda: len(recorder.records) >= 2500)
    partition = TopicPartition(topic, 0)
    assert [record.offset for record in recorder.records] == list(range(2500))
    assert [int(record.value or b"") for record in recorder.records] == list(range(2500))
    assert {(record.source, record.assignment) for record in recorder.records} == {
        (partition, recorder.numbers[partition])
    }
    assert await source.positions() == {partition: 2500}


async def test_nothing_arrives_from_a_partition_until_it_is_resumed(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic(partitions=2)
    await publish(cluster, *(Message(topic, b"%d" % number, b"", ()) for number in range(40)))
    source, recorder = await joined(cluster, group, topic, closing, resume=False, partitions=2)
    source.resume([TopicPartition(topic, 1), TopicPartition("not owned", 0)])
    await until(lambda: recorder.records)
    assert {record.source.partition for record in recorder.records} == {1}
    source.resume([TopicPartition(topic, 0)])
    await until(lambda: len(recorder.records) == 40)


async def test_a_pause_on_arrival_holds_back_all_further_records_and_loses_none(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    source = cluster.source(group, topic)
    rounds: list[int] = []

    class Cautious(Recorder):
        def arrived(self, records: "list[Record]") -> None:  # type: ignore[override]
            rounds.append(len(records))
            self.source.pause([partition, TopicPartition("not owned", 0)])
            super().arrived(records)

    recorder = Cautious(source)
    closing.append(source)
    await publish(cluster, *numbered(topic, 3000))
    await source.start(listener(recorder))
    expected = 0
    while len(recorder.records) < 3000:
        expected += 1
        await until(lambda: len(rounds) >= expected)  # noqa: B023  # called at once only
        await source.positions()  # a round trip through the consumer: what was under way has arrived
        assert len(rounds) == expected
        source.resume([partition])
    assert [record.offset for record in recorder.records] == list(range(3000))


async def test_a_commit_and_its_metadata_reach_the_next_member(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    await publish(cluster, *numbered(topic, 5))
    first, _ = await joined(cluster, group, topic, closing)
    ledger = "A" * 4000
    await commit(first, partition, 3, ledger)
    await first.close()
    _, recorder = await joined(cluster, group, topic, closing)
    assert recorder.starts == {partition: Position(3, ledger)}
    await until(lambda: len(recorder.records) == 2)
    assert [record.offset for record in recorder.records] == [3, 4]


async def test_many_commits_in_a_row_end_with_the_last(cluster: Cluster, group: str, closing: list[Source]) -> None:
    topic = cluster.topic()
    source, _ = await joined(cluster, group, topic, closing)
    membership = await source.snapshot()
    partition = TopicPartition(topic, 0)
    await asyncio.gather(*(source.commit({partition: Position(n, str(n))}, membership) for n in range(10)))
    assert await cluster.committed(group, topic) == {partition: Position(9, "9")}


async def test_outside_a_group_there_is_no_snapshot_and_no_commit(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic()
    source = cluster.source(group, topic)
    with pytest.raises(CommitAborted):
        await source.snapshot()
    source, _ = await joined(cluster, group, topic, closing)
    membership = await source.snapshot()
    await source.close()
    with pytest.raises(CommitAborted):
        await source.snapshot()
    with pytest.raises(CommitAborted):
        await source.commit({TopicPartition(topic, 0): Position(1)}, membership)
    await source.close()


async def test_a_rebalance_waits_for_revoked_and_the_commit_made_in_it_is_where_the_next_owner_starts(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic(partitions=2)
    await publish(cluster, *(Message(topic, b"%d" % number, b"", ()) for number in range(40)))
    source = cluster.source(group, topic)

    class Leaving(Recorder):
        async def before_revoked(self, partitions: tuple[TopicPartition, ...]) -> None:
            await asyncio.sleep(0.05)  # the other has nothing yet, however long this takes
            for partition in partitions:
                await commit(source, partition, 5, "handed over")

    first = Leaving(source)
    closing.append(source)
    await source.start(listener(first))
    await until(lambda: len(first.starts) == 2)
    numbers = dict(first.numbers)
    stale = await source.snapshot()
    other, second = await joined(cluster, group, topic, closing)
    [moved] = first.revocations
    assert second.starts == {moved: Position(5, "handed over")}
    assert set(first.starts) | set(second.starts) == {TopicPartition(topic, 0), TopicPartition(topic, 1)}

    with pytest.raises(CommitAborted):
        await source.commit({moved: Position(9)}, stale)
    await other.close()
    await until(lambda: len(first.starts) == 2)
    assert first.numbers[moved] > max(numbers.values())
    with pytest.raises(CommitAborted):
        await source.commit({moved: Position(9)}, stale)
    assert (await cluster.committed(group, topic))[moved] == Position(5, "handed over")
    both = dict.fromkeys(numbers, Position(7))
    await source.commit(both, stale)
    [stayed] = set(numbers) - {moved}
    found = await cluster.committed(group, topic)
    assert (found[stayed], found[moved].offset) == (Position(7), 5)


async def test_records_go_on_arriving_after_rebalances_that_bring_nothing_new(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic(partitions=1)
    _, recorder = await joined(cluster, group, topic, closing)
    for number in range(3):  # more members than partitions: what the first one has stays its own
        other = cluster.source(group, topic)
        await other.start(listener(Recorder(other)))
        await member_of_a_group(other)
        await publish(cluster, *numbered(topic, 1))
        await until(lambda number=number: len(recorder.records) == number + 1)  # type: ignore[misc]
        await other.close()
    assert recorder.revocations == []


async def test_close_revokes_everything_once_and_its_commit_lands(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    source = cluster.source(group, topic)

    class Leaving(Recorder):
        async def before_revoked(self, partitions: tuple[TopicPartition, ...]) -> None:
            await commit(source, partition, 1, "done")

    recorder = Leaving(source)
    await publish(cluster, *numbered(topic, 1))
    await source.start(listener(recorder))
    await until(lambda: recorder.records)
    await source.close()
    await source.close()
    assert recorder.revocations == [partition]
    assert await cluster.committed(group, topic) == {partition: Position(1, "done")}


async def test_a_batch_is_published_and_then_committed(cluster: Cluster, group: str, closing: list[Source]) -> None:
    topic, output = cluster.topic(), cluster.topic()
    partition = TopicPartition(topic, 0)
    source, _ = await joined(cluster, group, topic, closing)
    sink = cluster.sink(source)
    await sink.start()
    membership = await source.snapshot()
    await sink.commit(Batch(numbered(output, 50), {partition: Position(4, "ledger")}, membership))
    assert await cluster.committed(group, topic) == {partition: Position(4, "ledger")}
    assert [record.value for record in await cluster.read(output, 50)] == [b"%d" % number for number in range(50)]
    await sink.commit(Batch((), {partition: Position(5)}, membership))
    assert await cluster.committed(group, topic) == {partition: Position(5)}
    await sink.close()
    await sink.close()
    with pytest.raises(CommitAborted):
        await sink.commit(Batch((), {partition: Position(6)}, membership))


async def test_a_batch_whose_offsets_are_refused_tells_that_its_messages_are_published(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(), cluster.topic()
    partition = TopicPartition(topic, 0)
    source, _ = await joined(cluster, group, topic, closing)
    sink = cluster.sink(source)
    await sink.start()
    stale = Membership((await source.snapshot()).group, {partition: -1})
    with pytest.raises(CommitAborted) as aborted:
        await sink.commit(Batch(numbered(output, 3), {partition: Position(4)}, stale))
    assert aborted.value.published == {0, 1, 2}
    assert len(await cluster.read(output, 3)) == 3
    assert offsets(await cluster.committed(group, topic)) == {partition: 0}
    await sink.close()


async def test_committed_tells_of_everybodys_partitions_and_leaves_out_what_is_not_known(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic(partitions=2)
    await publish(cluster, *(Message(topic, b"%d" % number, b"", ()) for number in range(40)))
    first, _ = await joined(cluster, group, topic, closing, partitions=2)
    both = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    await commit(first, both[0], 3)
    other = cluster.source(group, topic)
    closing.append(other)
    recorder = Recorder(other)
    await other.start(listener(recorder))
    await until(lambda: recorder.starts)
    async with asyncio.timeout(50):  # at times the group does not answer, which is "not known"
        while not (known := await other.committed(both)):
            await asyncio.sleep(0.05)
    assert known == {both[0]: 3, both[1]: 0}
    assert await other.committed([TopicPartition("elsewhere", 0)]) == {}
    await other.close()
    assert await other.committed([TopicPartition("elsewhere", 0)]) == {}


async def test_keys_values_headers_and_timestamps_come_back_as_they_were_sent(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic()
    headers = (("traceparent", b"00-1"), ("empty", b""), ("none", None), ("é", b"\x00\xff"), ("traceparent", b"twice"))
    sent = [
        Message(topic, None, b"no key", ()),
        Message(topic, b"key", None, headers, timestamp_ms=1_600_000_000_000),
        Message(topic, b"", b"", ()),
        Message(topic, bytes(range(256)), bytes(range(256)), ()),
    ]
    await publish(cluster, *sent)
    _, recorder = await joined(cluster, group, topic, closing)
    await until(lambda: len(recorder.records) == len(sent))
    assert [(record.key, record.value, record.headers) for record in recorder.records] == [
        (message.key, message.value, message.headers) for message in sent
    ]
    assert recorder.records[1].timestamp_ms == 1_600_000_000_000
    assert recorder.records[0].timestamp_ms > 1_600_000_000_000


@pytest.mark.parametrize("cluster", FAITHFUL, indirect=True)
async def test_a_message_over_the_topics_limit_is_named_and_its_neighbours_are_not(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(), cluster.topic(max_bytes=100_000)
    source, _ = await joined(cluster, group, topic, closing)
    sink = cluster.sink(source)
    await sink.start()
    messages = [
        Message(output, b"%d" % number, b"x" * (200_000 if number in {3, 7} else 90_000), ()) for number in range(10)
    ]
    with pytest.raises(MessageRefused) as refused:
        await sink.commit(Batch(messages, {TopicPartition(topic, 0): Position(9)}, await source.snapshot()))
    assert refused.value.indexes == (3, 7)
    assert refused.value.published == {0, 1, 2, 4, 5, 6, 8, 9}
    assert offsets(await cluster.committed(group, topic)) == {TopicPartition(topic, 0): 0}
    published = {record.key for record in await cluster.read(output, 8)}
    assert published == {message.key for message in messages} - {b"3", b"7"}
    await sink.close()


@pytest.mark.parametrize("cluster", FAITHFUL, indirect=True)
async def test_a_missing_output_topic_aborts_the_commit_and_names_the_command_that_makes_it(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic, output = cluster.topic(), cluster.topic()
    source, _ = await joined(cluster, group, topic, closing)
    sink = cluster.sink(source)
    await sink.start()
    messages = [*numbered(output, 2), *numbered("nowhere", 1), *numbered(output, 1)]
    batch = Batch(messages, {TopicPartition(topic, 0): Position(9)}, await source.snapshot())
    with pytest.raises(CommitAborted, match=r"nowhere.*embedding-worker topics create") as aborted:
        await sink.commit(batch)
    assert aborted.value.published == {0, 1, 3}
    assert len(await cluster.read(output, 3)) == 3
    assert offsets(await cluster.committed(group, topic)) == {TopicPartition(topic, 0): 0}
    await sink.close()


@pytest.mark.parametrize("cluster", FAITHFUL, indirect=True)
async def test_a_record_of_five_megabytes_comes_through(cluster: Cluster, group: str, closing: list[Source]) -> None:
    topic = cluster.topic(max_bytes=2 * _FIVE_MEGABYTES)
    value = bytes(range(256)) * (_FIVE_MEGABYTES // 256)
    await publish(cluster, Message(topic, b"large", value, ()), Message(topic, b"small", b"after", ()))
    _, recorder = await joined(cluster, group, topic, closing)
    await until(lambda: len(recorder.records) == 2)
    assert [record.value for record in recorder.records] == [value, b"after"]
