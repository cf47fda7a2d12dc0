"""Topics and offsets, asked before or beside the worker's own work."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from worker.adapters.kafka import lookups
from worker.adapters.kafka.clients import (
    Log,
    RememberedCause,
    error_of,
    masked,
    open_admin,
    open_consumer,
    open_producer,
)
from worker.adapters.kafka.properties import (
    admin_properties,
    consumer_properties,
    producer_properties,
    reader_properties,
    transactional_properties,
)
from worker.errors import StartError
from worker.model import Position, TopicPartition
from worker.settings.sections import KafkaSettings

T = TypeVar("T")

_PROBE_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.5
_WORD_SECONDS: Final = 10.0
_CREATE_SECONDS: Final = 15.0


class Topics:
    """Each call opens a client, asks on another thread and closes it again: these are questions of a start."""

    def __init__(self, settings: KafkaSettings, log: Log) -> None:
        self._settings = settings
        self._log = log

    async def try_properties(self) -> None:
        """Make the worker's consumer and its producers, which join and send nothing. Raises ConfigurationError."""
        await asyncio.to_thread(self._try_properties)

    def _try_properties(self) -> None:
        open_consumer(consumer_properties(self._settings), self._log).close()
        open_producer(producer_properties(self._settings), self._log)
        open_producer(transactional_properties(self._settings, "untried"), self._log)

    async def wait_reachable(self, progress: Callable[[str], None], patience: float = 60.0) -> int:
        """Wait until a broker answers; returns the number of brokers.

        `progress` hears a line, on the event loop, after the first attempt that failed and then every ten seconds. Raises
        StartError after `patience` seconds, with the last cause that the client has logged.
        """
        loop, servers = asyncio.get_running_loop(), self._settings.bootstrap_servers
        properties = reader_properties(self._settings)
        cause = RememberedCause(self._log)
        deadline, next_word = time.monotonic() + patience, 0.0
        # one client for all attempts, which backs off and repeats no line; one thread, so that it is not closed in use
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-wait")
        reader = open_consumer(properties, cause.log)
        try:
            while True:
                found = await loop.run_in_executor(thread, _brokers, reader)
                if isinstance(found, int):
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    detail = masked("; ".join(filter(None, (found, cause.line))), properties)
                    raise StartError(
                        f"no Kafka broker answers at {servers} ({detail}): "
                        "check WORKER_KAFKA__BOOTSTRAP_SERVERS, and TLS and SASL in WORKER_KAFKA__PROPERTIES"
                    )
                if time.monotonic() >= next_word:
                    next_word = time.monotonic() + _WORD_SECONDS
                    progress(f"no Kafka broker answers at {servers}: trying for {left:.0f} s more")
                await asyncio.sleep(min(_PAUSE_SECONDS, left))
        finally:
            thread.submit(reader.close)
            thread.shutdown(wait=False)

    async def describe(self, names: Iterable[str]) -> Mapping[str, int]:
        """Partitions of each topic. Raises StartError that lists all that are missing."""
        wanted = tuple(names)
        return await self._asked(lambda reader: lookups.partition_counts(reader, wanted))

    async def committed(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """What the group has committed, with metadata; partitions without are left out. Raises StartError."""
        return await self._asked(lambda reader: lookups.committed_positions(reader, partitions))

    async def offsets(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset and `read_committed` end of each partition. Raises StartError."""
        return await self._asked(lambda reader: lookups.watermarks(reader, partitions))

    async def create(
        self,
        names: Iterable[str],
        partitions: int,
        replication: int = -1,
        config: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """Make those that do not exist; returns their names. `replication` -1: the broker's default. Raises StartError."""
        wanted = tuple(dict.fromkeys(names))
        return await asyncio.to_thread(self._create, wanted, partitions, replication, dict(config or {}))

    def _create(
        self, names: Sequence[str], partitions: int, replication: int, config: dict[str, str]
    ) -> tuple[str, ...]:
        admin = open_admin(admin_properties(self._settings), self._log)
        wanted = [NewTopic(name, partitions, replication, config=config) for name in names]
        try:
            futures = admin.create_topics(wanted, request_timeout=_CREATE_SECONDS, operation_timeout=_CREATE_SECONDS)
        except (KafkaException, ValueError, TypeError) as problem:
            raise StartError(f"topics cannot be created: {problem}") from None
        made: list[str] = []
        for name, future in futures.items():
            try:
                future.result(_CREATE_SECONDS + 1)
            except KafkaException as problem:
                error = error_of(problem)
                if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise StartError(f"topic {name} cannot be created: {error.str()}") from None
            except FutureTimeoutError:
                raise StartError(f"topic {name} cannot be created: no answer in {_CREATE_SECONDS:g} s") from None
            else:
                made.append(name)
        return tuple(made)

    async def _asked(self, question: Callable[[Consumer], T]) -> T:
        def ask() -> T:
            reader = open_consumer(reader_properties(self._settings), self._log)
            try:
                return question(reader)
            finally:
                reader.close()

        return await asyncio.to_thread(ask)


def _brokers(reader: Consumer) -> int | str:
    """How many brokers there are, or why none answers."""
    try:
        return len(reader.list_topics(timeout=_PROBE_SECONDS).brokers)
    except KafkaException as problem:
        reader.poll(0)  # log lines are handed out by it alone
        return error_of(problem).str()
