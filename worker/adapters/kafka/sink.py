"""The port `Sink` with at-least-once delivery: outcomes first, then the offsets."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from confluent_kafka import KafkaException

from worker.adapters.kafka.clients import Log, error_of
from worker.adapters.kafka.properties import producer_properties
from worker.adapters.kafka.publisher import Publisher
from worker.errors import CommitAborted, MetadataTooLarge, StartError
from worker.model import Batch, Membership, Position, TopicPartition
from worker.settings.sections import KafkaSettings

CommitOffsets = Callable[[Mapping[TopicPartition, Position], Membership], Awaitable[None]]

_CONNECT_SECONDS: Final = 10.0


class KafkaSink:
    """Commits batches one after the other on a thread of its own. `commit_offsets` is the source's `commit`."""

    def __init__(self, settings: KafkaSettings, commit_offsets: CommitOffsets, *, log: Log) -> None:
        self._settings = settings
        self._commit_offsets = commit_offsets
        self._log = log
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-sink")
        self._publisher: Publisher | None = None
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises StartError and ConfigurationError."""
        publisher = Publisher(producer_properties(self._settings), self._log)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, publisher.connect, _CONNECT_SECONDS)
        except KafkaException as problem:
            raise StartError(
                f"no Kafka broker answers at {self._settings.bootstrap_servers} ({error_of(problem).str()}): "
                "check WORKER_KAFKA__BOOTSTRAP_SERVERS"
            ) from None
        self._publisher = publisher

    async def commit(self, batch: Batch) -> None:
        """See the port."""
        async with self._one_at_a_time:
            publisher = self._publisher
            if publisher is None:
                raise CommitAborted("the sink is not started, or closed already")
            if batch.messages:
                await asyncio.get_running_loop().run_in_executor(self._thread, publisher.publish, batch.messages)
            try:
                await self._commit_offsets(batch.positions, batch.membership)
            except CommitAborted as error:
                raise CommitAborted(str(error), published=range(len(batch.messages))) from None
            except MetadataTooLarge as error:
                raise MetadataTooLarge(str(error), published=range(len(batch.messages))) from None

    async def settle(self) -> None:
        """See the port."""

    async def close(self) -> None:
        """See the port."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.give_up()
            await asyncio.get_running_loop().run_in_executor(self._thread, publisher.close)
        self._thread.shutdown(wait=False)
