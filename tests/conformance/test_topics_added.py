"""The port `Source` where a topic is new to a group that has others: its start is decided as that of a new group."""

import pytest

from tests.conformance.clusters import Cluster, Recorder, listener, publish
from tests.conformance.steps import joined, numbered, until
from worker.errors import StartError
from worker.model import Position, TopicPartition
from worker.ports import Source
from worker.settings.sections import StartFrom

FAITHFUL = pytest.mark.parametrize(
    "cluster",
    [
        "fake",
        pytest.param("kafka", marks=pytest.mark.real_kafka),
        pytest.param("kafka_new_protocol", marks=pytest.mark.real_kafka),
    ],
    indirect=True,
)


async def test_a_filled_topic_added_to_a_group_is_refused_by_its_name_without_start_from(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    old, empty, filled = cluster.topic(), cluster.topic(), cluster.topic(partitions=2)
    await publish(cluster, *numbered(old, 4), *numbered(filled, 3))
    cluster.reset(group, old, 2)
    source = cluster.source(group, old, empty, filled, start_from=None)
    with pytest.raises(
        StartError, match=rf"for these topics: {filled} already holds 3 records.*WORKER_KAFKA__START_FROM"
    ):
        await source.start(listener(Recorder(source)))
    assert not await cluster.committed(group, filled)
    assert not await cluster.committed(group, empty)


@pytest.mark.parametrize("start_from", list(StartFrom))
async def test_a_topic_added_to_a_group_starts_where_it_is_told_to_and_the_others_stay(
    cluster: Cluster, group: str, closing: list[Source], start_from: StartFrom
) -> None:
    old, added = cluster.topic(), cluster.topic()
    await publish(cluster, *numbered(old, 4), *numbered(added, 3))
    cluster.reset(group, old, 2)
    source = cluster.source(group, old, added, start_from=start_from)
    recorder = Recorder(source)
    closing.append(source)
    await source.start(listener(recorder))
    await until(lambda: len(recorder.starts) == 2)
    begin = 3 if start_from is StartFrom.LATEST else 0
    assert recorder.starts[TopicPartition(added, 0)].offset == begin
    assert recorder.starts[TopicPartition(old, 0)] == Position(2)
    await publish(cluster, *numbered(added, 1))
    await until(lambda: len(recorder.records) == 2 + 4 - begin)


@FAITHFUL
async def test_a_filled_topic_added_while_others_of_the_group_run_starts_from_earliest_or_is_refused(
    cluster: Cluster, group: str, closing: list[Source]
) -> None:
    old, added = cluster.topic(), cluster.topic()
    await publish(cluster, *numbered(added, 3))
    await joined(cluster, group, old, closing)
    late = cluster.source(group, old, added, start_from=StartFrom.LATEST)
    with pytest.raises(StartError, match=rf"{added}: new to .*Stop all workers of the group"):
        await late.start(listener(Recorder(late)))
    assert not await cluster.committed(group, added)
    source = cluster.source(group, old, added)
    recorder = Recorder(source)
    closing.append(source)
    await source.start(listener(recorder))
    await until(lambda: len(recorder.records) == 3)
