"""Reads the demo's topics from their beginnings, while they are written: nothing that the worker says of itself is counted."""

import asyncio
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Partition

from worker.commands.demo.events import Avro
from worker.commands.demo.tally import Letter, Tally
from worker.errors import WorkerError
from worker.model import TopicPartition
from worker.settings.sections import TopicsSettings

KEPT_TEXT: Final = 240
"""Characters of each text that are kept to be shown."""

_AT_ONCE: Final = 500
_LONGEST_LOOK: Final = 0.05
_ANSWER_SECONDS: Final = 10.0


class DemoReader:
    """Fills a tally. `on_outcome` hears the key of every outcome on the event loop, so that more events can be fed."""

    def __init__(
        self,
        servers: str,
        topics: TopicsSettings,
        partitions: int,
        tally: Tally,
        on_outcome: Callable[[bytes], None],
    ) -> None:
        self._topics = topics
        self._tally = tally
        self._on_outcome = on_outcome
        self._events, self._embeddings = Avro("text_event.avsc"), Avro("embedding.avsc")
        names = (*topics.input, *topics.outcomes)
        self._next = {TopicPartition(name, number): 0 for name in names for number in range(partitions)}
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "demo-reader",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                # a long poll of the embedded broker does not wake up on new records
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        self._consumer.assign([Partition(where.topic, where.partition, 0) for where in self._next])

    async def run(self) -> None:
        """Read until cancelled. Raises WorkerError for what is not readable."""
        while True:
            await self._look()

    async def finish(self) -> None:
        """Read what is there still, to the end of every partition; then close."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                ends = await asyncio.to_thread(self._ends)
                while any(self._next[where] < end for where, end in ends.items()):
                    await self._look()
        except TimeoutError:
            raise WorkerError("demo: the embedded broker does not give its last records; run the demo again") from None

    async def close(self) -> None:
        """Free the consumer."""
        await asyncio.to_thread(self._consumer.close)

    async def _look(self) -> None:
        messages = await asyncio.to_thread(self._consumer.consume, _AT_ONCE, _LONGEST_LOOK)
        for message in messages:
            self._take(message)

    def _ends(self) -> dict[TopicPartition, int]:
        try:
            return {
                where: self._consumer.get_watermark_offsets(Partition(*where), timeout=_ANSWER_SECONDS)[1]
                for where in self._next
            }
        except KafkaException as error:
            raise WorkerError(f"demo: the embedded broker does not answer: {error}") from None

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF or error.retriable():  # noqa: SLF001 - its public name
                return
            raise WorkerError(f"demo: a topic cannot be read: {error.str()}")
        where = TopicPartition(message.topic() or "", message.partition() or 0)
        offset, key, value = message.offset() or 0, _bytes(message.key()), _bytes(message.value())
        self._tally.unread += offset - self._next[where]
        self._next[where] = offset + 1
        if where.topic in self._topics.input:
            self._tally.input((where, offset), key or b"", None if value is None else self._text(value))
            return
        if where.topic in self._topics.dead_letters:
            self._dead_letter(message)
        elif value is None:
            self._tally.tombstone(key or b"")
        else:
            self._vector(value)
        self._on_outcome(key or b"")

    def _text(self, value: bytes) -> str:
        record = self._events.decode(value)
        return value[:KEPT_TEXT].decode("utf-8", "replace") if record is None else str(record["text"])[:KEPT_TEXT]

    def _vector(self, value: bytes) -> None:
        record: Any = self._embeddings.decode(value)
        if record is None:
            raise WorkerError("demo: a record of the output topic is not of schemas/embedding.avsc")
        source = record["source"]
        place = (TopicPartition(source["topic"], source["partition"]), source["offset"])
        self._tally.vector(place, record["text_sha256"], array("f", record["vector"]))

    def _dead_letter(self, message: Message) -> None:
        facts = {name: (_bytes(value) or b"").decode("utf-8", "replace") for name, value in _headers(message)}
        place = (TopicPartition(facts["dlq.topic"], int(facts["dlq.partition"])), int(facts["dlq.offset"]))
        letter = Letter(place, facts["dlq.reason"], facts["dlq.detail"], facts.get("dlq.attempts", "0"))
        self._tally.dead_letter(letter, facts.get("dlq.text_sha256", ""))


def _headers(message: Message) -> Sequence[tuple[str, str | bytes | None]]:
    headers = message.headers() or []
    return list(headers.items()) if isinstance(headers, dict) else headers


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
