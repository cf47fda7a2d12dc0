"""What tests of the suite do again and again."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from tests.conformance.clusters import Cluster, Recorder, listener
from worker.errors import CommitAborted
from worker.model import Message, Position, TopicPartition
from worker.ports import Source
from worker.settings.sections import StartFrom


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(50):
        while not condition():  # the condition is set by other threads' work
            await asyncio.sleep(0.005)


def numbered(topic: str, count: int) -> list[Message]:
    return [Message(topic, b"key", b"%d" % number, ()) for number in range(count)]


async def joined(
    cluster: Cluster,
    group: str,
    topic: str,
    closing: list[Source],
    *,
    start_from: StartFrom | None = StartFrom.EARLIEST,
    resume: bool = True,
    partitions: int = 1,
) -> tuple[Source, Recorder]:
    """A started source that has been given partitions."""
    source = cluster.source(group, topic, start_from=start_from)
    recorder = Recorder(source, resume=resume)
    closing.append(source)
    await source.start(listener(recorder))
    await until(lambda: len(recorder.starts) >= partitions)
    return source, recorder


async def member_of_a_group(source: Source) -> None:
    """Wait until the source has joined, whether it was given partitions or not."""
    async with asyncio.timeout(50):
        while True:
            with suppress(CommitAborted):
                await source.snapshot()
                return
            await asyncio.sleep(0.02)


async def commit(source: Source, partition: TopicPartition, offset: int, metadata: str = "") -> None:
    await source.commit({partition: Position(offset, metadata)}, await source.snapshot())


def offsets(positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, int]:
    """Without metadata."""
    return {partition: position.offset for partition, position in positions.items()}
