"""The port `Sink` on the in-memory Kafka, at least once: messages first, then the offsets."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from tests.fakes.kafka.connection import Connection, Unreachable
from tests.fakes.kafka.faults import Faults
from worker.errors import CommitAborted, MessageRefused, MetadataTooLarge
from worker.model import Batch, Membership, Message, Position, Record, TopicPartition

CommitOffsets = Callable[[Mapping[TopicPartition, Position], Membership], Awaitable[None]]


class Publishing(Protocol):
    """What a sink needs of the broker."""

    faults: Faults

    def produce(self, message: Message) -> Record: ...


class FakeSink:
    """`commit_offsets` is the `commit` of a source."""

    def __init__(self, broker: Publishing, commit_offsets: CommitOffsets, connection: Connection) -> None:
        self.connection = connection
        self._broker = broker
        self._commit_offsets = commit_offsets
        self._open = False

    async def start(self) -> None:
        """See the port."""
        await self.connection.gate()
        self._open = True

    async def commit(self, batch: Batch) -> None:
        """See the port."""
        faults = self._broker.faults
        await self.connection.gate()
        if not self._open:
            raise CommitAborted("the sink is not started, or closed already")
        await asyncio.sleep(faults.publish_delay)
        if faults.abort_publish:
            faults.abort_publish -= 1
            raise CommitAborted("messages not delivered: a fault was ordered")
        published: list[int] = []
        if batch.messages:
            try:
                await self.connection.request(
                    lambda: self._publish(batch.messages, published),
                    faults.delays("produce"),
                    faults.delays("produce.answer"),
                )
            except Unreachable as error:
                raise CommitAborted(str(error), published=published) from None
        try:
            await self._commit_offsets(batch.positions, batch.membership)
        except MetadataTooLarge as error:
            raise MetadataTooLarge(str(error), published=published) from None
        except CommitAborted as error:
            raise CommitAborted(str(error), published=published) from None

    async def settle(self) -> None:
        """Nothing is ever unknown."""
        await self.connection.gate()

    async def close(self) -> None:
        """See the port."""
        await self.connection.gate()
        self._open = False

    def _publish(self, messages: Sequence[Message], published: list[int]) -> None:
        refused: list[int] = []
        missing: list[str] = []
        for index, message in enumerate(messages):
            if not self._broker.faults.takes(message.topic, message.key, message.value):
                refused.append(index)
                continue
            try:
                self._broker.produce(message)
            except KeyError:
                missing.append(message.topic)
            else:
                published.append(index)
        if missing:
            raise no_topic(missing[0], published)
        if refused:
            raise MessageRefused(f"{len(refused)} message(s) refused for good", refused, published=published)


def no_topic(name: str, published: Sequence[int] = ()) -> CommitAborted:
    """The error for a message whose topic is missing."""
    return CommitAborted(
        f"topic {name} does not exist: make it with embedding-worker topics create", published=published
    )
