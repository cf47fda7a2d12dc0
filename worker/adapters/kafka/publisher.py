"""Publishing a list of messages and waiting for every delivery report. Blocks: for a thread of its own."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.adapters.kafka.clients import Log, error_of, open_producer
from worker.adapters.kafka.properties import delivery_seconds
from worker.errors import CommitAborted, MessageRefused
from worker.model import Message

_POLL_SECONDS: Final = 0.1
_GRACE_SECONDS: Final = 5.0

# what no repetition will change; a broker refuses all messages of a request for one of them
_REFUSED: Final = frozenset({
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
})  # fmt: skip
_NO_TOPIC: Final = frozenset({
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
})  # fmt: skip
_NO_RIGHT: Final = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})


class Publisher:
    """An idempotent producer, made anew after a fatal error. One thread at a time."""

    def __init__(self, properties: Mapping[str, Any], log: Log) -> None:
        self._properties = properties
        self._log = log
        self._patience = delivery_seconds(properties) + _GRACE_SECONDS
        self._producer: Producer | None = None

    def connect(self, seconds: float) -> None:
        """Raises KafkaException if no broker answers, ConfigurationError for bad properties."""
        self._open().list_topics(timeout=seconds)

    def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all are durable, in order per key. Raises CommitAborted, or MessageRefused where all others are
        published."""
        errors = self._deliver(messages, range(len(messages)))
        refused = {index for index, error in errors.items() if error.code() in _REFUSED}
        self._check(messages, errors, refused)
        if not refused:
            return
        # a request of many is refused for one: each is tried alone, and what has to follow it is repeated behind it
        alone: dict[int, KafkaError] = {}
        keys: set[tuple[str, bytes]] = set()
        for index, message in enumerate(messages):
            if index not in refused and (message.key is None or (message.topic, message.key) not in keys):
                continue
            if message.key is not None:
                keys.add((message.topic, message.key))
            alone.update(self._deliver(messages, (index,)))
        culprits = {index for index, error in alone.items() if error.code() in _REFUSED}
        self._check(messages, alone, culprits)
        if culprits:
            first = min(culprits)
            raise MessageRefused(
                f"{len(culprits)} message(s) refused for good by topic {messages[first].topic}: {alone[first].str()}",
                sorted(culprits),
            )

    def close(self) -> None:
        """Drop what is not published, and the connections."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.poll(0)
            self._producer = None

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = open_producer(self._properties, self._log)
        return self._producer

    def _deliver(self, messages: Sequence[Message], indexes: Sequence[int]) -> dict[int, KafkaError]:
        """Produce and wait; the errors, by index."""
        producer = self._open()
        deadline = time.monotonic() + self._patience
        errors: dict[int, KafkaError] = {}
        waiting = set(indexes)

        def reported(index: int, error: KafkaError | None, _message: object) -> None:
            waiting.discard(index)
            if error is not None:
                errors[index] = error

        for index in indexes:
            error = _produced(producer, messages[index], partial(reported, index), deadline)
            if error is not None:
                reported(index, error, None)
        while waiting and time.monotonic() < deadline:
            producer.flush(_POLL_SECONDS)
        if waiting:
            self.close()
            raise CommitAborted(
                f"{len(waiting)} message(s) not delivered in {self._patience:g} s: are the brokers well?"
            )
        return errors

    def _check(self, messages: Sequence[Message], errors: Mapping[int, KafkaError], refused: set[int]) -> None:
        """Raises CommitAborted for errors that are not refusals."""
        for index, error in errors.items():
            if index in refused:
                continue
            topic = messages[index].topic
            if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001
                self._log(logging.ERROR, f"the Kafka producer failed and is made anew: {error.str()}")
                self.close()
            if error.code() in _NO_TOPIC:
                raise CommitAborted(f"topic {topic} does not exist: make it with embedding-worker topics create")
            if error.code() in _NO_RIGHT:
                raise CommitAborted(f"no right to write to topic {topic}: grant WRITE and IDEMPOTENT_WRITE to the user")
            raise CommitAborted(f"{len(errors)} message(s) to topic {topic} not delivered: {error.str()}")


def _produced(
    producer: Producer, message: Message, report: Callable[[KafkaError | None, object], None], deadline: float
) -> KafkaError | None:
    """Hand one message to the client, waiting while its queue is full; the error where it does not take it."""
    # 0 lets the client take the present time
    timestamp = max(0, message.timestamp_ms or 0)
    headers: list[tuple[str, str | bytes | None]] = [(_clean(name), value) for name, value in message.headers]
    while True:
        try:
            producer.produce(
                message.topic,
                value=message.value,
                key=message.key,
                headers=headers,
                timestamp=timestamp,
                on_delivery=report,
            )
        except BufferError:
            if time.monotonic() >= deadline:
                return KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
            producer.poll(_POLL_SECONDS)
        except KafkaException as problem:
            return error_of(problem)
        else:
            producer.poll(0)
            return None


def _clean(name: str) -> str:
    """The client ends the whole process on a name that cannot be UTF-8, and cuts one at a zero."""
    return name.encode("utf-8", "replace").decode().replace("\0", "?")
