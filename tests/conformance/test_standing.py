"""The port `Source` where partitions stand: `waiting` tells of them, and the others go on."""

import asyncio
import logging

import pytest

from tests.conformance.clusters import Cluster, Recorder, listener, publish
from tests.conformance.steps import commit, joined, numbered, until
from worker.model import Batch, Message, Position, TopicPartition
from worker.ports import Source
from worker.settings.sections import OnOutOfRange

REAL = pytest.mark.real_kafka
# the embedded broker neither deletes records nor holds offsets back for a transaction
FAITHFUL = pytest.mark.parametrize(
    "cluster",
    ["fake", pytest.param("kafka", marks=REAL), pytest.param("kafka_new_protocol", marks=REAL)],
    indirect=True,
)


async def started(
    cluster: Cluster, group: str, topic: str, closing: list[Source], policy: OnOutOfRange
) -> tuple[Source, Recorder]:
    source = cluster.source(group, topic, on_out_of_range=policy)
    recorder = Recorder(source)
    closing.append(source)
    await source.start(listener(recorder))
    return source, recorder


async def test_an_offset_above_the_end_halts_its_partition_and_is_never_replaced(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic(partitions=2)
    await publish(cluster, *(Message(topic, b"%d" % key, b"", ()) for key in range(40)))
    cluster.put_back(group, {TopicPartition(topic, 0): Position(5000), TopicPartition(topic, 1): Position(1)})
    source, recorder = await started(cluster, group, topic, closing, OnOutOfRange.EARLIEST)
    await until(lambda: source.waiting() and recorder.records and len(recorder.starts) == 2)
    await until(lambda: any("5000" in sentence for sentence in source.waiting()))
    [sentence] = source.waiting()
    assert f"{topic}-0" in sentence
    assert {record.source.partition for record in recorder.records} == {1}
    assert (await source.positions())[TopicPartition(topic, 0)] == 5000
    assert (await cluster.committed(group, topic))[TopicPartition(topic, 0)] == Position(5000)
    await commit(source, TopicPartition(topic, 1), 2)
    await source.close()
    assert not source.waiting()


@FAITHFUL
@pytest.mark.parametrize("policy", list(OnOutOfRange))
async def test_records_that_retention_took_before_the_start_halt_their_partition_or_are_skipped(
    cluster: Cluster, group: str, closing: list[Source], policy: OnOutOfRange, caplog: pytest.LogCaptureFixture
) -> None:
    topic = cluster.topic(partitions=2)
    lost, well = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await publish(cluster, *(Message(topic, b"%d" % key, b"", ()) for key in range(60)))
    cluster.put_back(group, {lost: Position(2, "ledger"), well: Position(0)})
    await cluster.truncate(lost, 7)
    with caplog.at_level(logging.WARNING):
        source, recorder = await started(cluster, group, topic, closing, policy)
        await until(lambda: any(record.source == well for record in recorder.records))
        if policy is OnOutOfRange.HALT:
            await until(source.waiting)
            await publish(cluster, *(Message(topic, b"%d" % key, b"", ()) for key in range(60)))
            await until(lambda: sum(record.source == well for record in recorder.records) > 30)
            [sentence] = source.waiting()
            assert f"{lost} stands: its offset 2 is not in the topic" in sentence
            assert lost not in {record.source for record in recorder.records}
        else:
            ends = dict(await source.positions())
            if policy is OnOutOfRange.LATEST:
                async with asyncio.timeout(50):
                    while (await source.positions())[lost] <= 7:
                        await asyncio.sleep(0.02)
                ends = dict(await source.positions())
                await publish(cluster, *(Message(topic, b"%d" % key, b"", ()) for key in range(60)))
            await until(lambda: any(record.source == lost for record in recorder.records))
            first = next(record.offset for record in recorder.records if record.source == lost)
            assert first == (7 if policy is OnOutOfRange.EARLIEST else ends[lost])
            assert not source.waiting()
            assert recorder.starts[lost] == Position(2, "ledger")
            if not hasattr(cluster, "broker"):
                [line] = [line for line in caplog.messages if "records are lost" in line]
                assert f"{lost}: {first - 2} records are lost" in line
    assert (await cluster.committed(group, topic))[lost] == Position(2, "ledger")


@FAITHFUL
@pytest.mark.parametrize("policy", [OnOutOfRange.HALT, OnOutOfRange.EARLIEST])
async def test_a_paused_partition_that_retention_overtakes_stands_or_goes_on_once_it_is_resumed(
    cluster: Cluster, group: str, closing: list[Source], policy: OnOutOfRange
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    await publish(cluster, *numbered(topic, 5))
    source, recorder = await started(cluster, group, topic, closing, policy)
    await until(lambda: len(recorder.records) == 5)
    source.pause([partition])
    await source.positions()
    await publish(cluster, *numbered(topic, 10))
    await cluster.truncate(partition, 12)
    source.resume([partition])
    if policy is OnOutOfRange.HALT:
        await until(source.waiting)
        assert "stands: its offset" in source.waiting()[0]
        assert len(recorder.records) == 5
        await commit(source, partition, 5)
    else:
        await until(lambda: len(recorder.records) == 8)
        assert [record.offset for record in recorder.records[5:]] == [12, 13, 14]
        source.pause([partition])
        await source.positions()
        await publish(cluster, *numbered(topic, 1))
        await source.positions()
        assert len(recorder.records) == 8
        source.resume([partition])
        await until(lambda: len(recorder.records) == 9)


@FAITHFUL
async def test_a_member_whose_partitions_wait_for_a_transaction_says_so_until_it_is_decided(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    first, _ = await joined(cluster, group, topic, closing)
    decide = await cluster.undecided(Batch((), {partition: Position(0, "dead")}, await first.snapshot()))
    await first.close()
    source, recorder = await started(cluster, group, topic, closing, OnOutOfRange.HALT)
    await until(source.waiting)
    [sentence] = source.waiting()
    assert str(partition) in sentence
    assert not recorder.starts
    await decide()
    await until(lambda: recorder.starts)
    await until(lambda: not source.waiting())
