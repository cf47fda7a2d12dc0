"""The port `Source` where its topic is deleted and made again under the same name: no new record is left out."""

import asyncio
import logging

import pytest

from tests.conformance.clusters import Cluster, Recorder, publish
from tests.conformance.steps import commit, joined, numbered, offsets, until
from worker.core.takeover import first_metadata
from worker.model import Position, TopicPartition
from worker.ports import Source

REAL = pytest.mark.real_kafka
# topics of the embedded broker cannot be deleted
both_protocols = pytest.mark.parametrize(
    "cluster",
    ["fake", pytest.param("kafka", marks=REAL), pytest.param("kafka_new_protocol", marks=REAL)],
    indirect=True,
)


def ledger(recorder: Recorder, partition: TopicPartition, offset: int) -> str:
    """As the core would write it."""
    assignment = recorder.assignments[partition]
    return first_metadata(assignment.cluster, assignment.topic_id, partition.partition, offset)


@both_protocols
@pytest.mark.parametrize(("old", "new"), [(3, 8), (8, 3), (5, 5)], ids=["longer", "shorter", "as long"])
@pytest.mark.parametrize("pause", [0.0, 0.8], ids=["at once", "later"])
async def test_a_topic_made_anew_under_its_source_is_read_from_its_beginning_and_nothing_of_it_twice(
    cluster: Cluster, group: str, closing: list[Source], old: int, new: int, pause: float
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    await publish(cluster, *numbered(topic, old))
    source, recorder = await joined(cluster, group, topic, closing)
    await until(lambda: len(recorder.records) == old)
    await commit(source, partition, old, ledger(recorder, partition, old))
    first = recorder.assignments[partition]
    await cluster.delete(topic)
    await asyncio.sleep(pause)
    await cluster.make(topic)
    await publish(cluster, *numbered(topic, new))
    await until(lambda: len(recorder.records) >= old + new)
    second = recorder.assignments[partition]
    assert (first.cluster, first.number < second.number) == (second.cluster, True)
    assert first.topic_id != second.topic_id
    assert second.start == Position(0, ledger(recorder, partition, 0))
    assert [record.offset for record in recorder.records] == [*range(old), *range(new)]
    assert {record.assignment for record in recorder.records[old:]} == {second.number}
    assert await cluster.committed(group, topic) == {partition: second.start}
    await commit(source, partition, new)
    assert offsets(await cluster.committed(group, topic)) == {partition: new}


@both_protocols
async def test_the_end_of_an_old_topic_is_neither_committed_nor_waited_for(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    await publish(cluster, *numbered(topic, 4))
    source, recorder = await joined(cluster, group, topic, closing)
    await until(lambda: len(recorder.records) == 4)
    stale, metadata = await source.snapshot(), ledger(recorder, partition, 4)
    await cluster.delete(topic)
    await cluster.make(topic)
    # before the source knows of it: the brokers cannot tell this offset from one of the new topic
    await source.commit({partition: Position(4, metadata)}, stale)
    await publish(cluster, *numbered(topic, 6))
    await until(lambda: len(recorder.records) >= 10)
    assert [record.offset for record in recorder.records] == [*range(4), *range(6)]
    assert recorder.starts == {partition: Position(0, ledger(recorder, partition, 0))}


@both_protocols
@pytest.mark.parametrize(("old", "new"), [(3, 8), (8, 3)], ids=["longer", "shorter"])
async def test_an_offset_of_the_topic_that_had_the_name_before_is_void(
    cluster: Cluster, group: str, closing: list[Source], caplog: pytest.LogCaptureFixture, old: int, new: int
) -> None:
    topic = cluster.topic(partitions=2)
    both = [TopicPartition(topic, number) for number in range(2)]
    source, recorder = await joined(cluster, group, topic, closing, partitions=2)
    kept = {partition: Position(old, ledger(recorder, partition, old)) for partition in both}
    await source.close()
    await cluster.delete(topic)
    await cluster.make(topic, 2)
    await publish(cluster, *numbered(topic, new))
    cluster.put_back(group, kept)
    with caplog.at_level(logging.WARNING):
        _, again = await joined(cluster, group, topic, closing, partitions=2)
    assert again.starts == {partition: Position(0, ledger(again, partition, 0)) for partition in both}
    assert await cluster.committed(group, topic) == again.starts
    await until(lambda: len(again.records) == new)
    if not hasattr(cluster, "broker"):
        assert sum("was made anew: read from its beginning" in line for line in caplog.messages) == 1


@both_protocols
@pytest.mark.parametrize("metadata", ["", "another tool's", first_metadata("another cluster", "its topic", 0, 2)])
async def test_an_offset_without_a_ledger_or_from_another_cluster_is_kept(
    cluster: Cluster, group: str, closing: list[Source], metadata: str
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    await publish(cluster, *numbered(topic, 5))
    cluster.put_back(group, {partition: Position(2, metadata)})
    _, recorder = await joined(cluster, group, topic, closing)
    assert recorder.starts == {partition: Position(2, metadata)}
    await until(lambda: len(recorder.records) == 3)
