"""Publishing a list of messages and waiting for every delivery report. Blocks: for a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
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
        self._given_up = threading.Event()

    def connect(self, seconds: float) -> None:
        """Raises KafkaException if no broker answers, ConfigurationError for bad properties."""
        self._open().list_topics(timeout=seconds)

    def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all are durable, in order per key. Raises CommitAborted, or MessageRefused where all others are
        published; both tell what is (see the port `Sink`)."""
        delivered: set[int] = set()
        try:
            culprits = self._publish(messages, delivered)
        except CommitAborted as error:
            raise CommitAborted(str(error), published=in_order(messages, delivered)) from None
        if culprits:
            first = min(culprits)
            raise MessageRefused(
                f"{len(culprits)} message(s) refused for good by topic {messages[first].topic}: {culprits[first].str()}",
                sorted(culprits),
                published=delivered,
            )

    def give_up(self) -> None:
        """Make a `publish` under way raise CommitAborted soon, and every further one. From any thread."""
        self._given_up.set()

    def close(self) -> None:
        """Drop what is not published, and the connections."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.poll(0)
            self._producer = None

    def _publish(self, messages: Sequence[Message], delivered: set[int]) -> Mapping[int, KafkaError]:
        """The refused ones, by index; `delivered` is kept up to date. Raises CommitAborted."""
        errors = self._deliver(messages, range(len(messages)), delivered)
        self._check(messages, errors)
        # a request of many is refused for one: each is tried alone, and what has to follow it is repeated behind it
        repeated: list[int] = []
        keys: set[tuple[str, bytes]] = set()
        for index, message in enumerate(messages):
            if index not in errors and (message.key is None or (message.topic, message.key) not in keys):
                continue
            if message.key is not None:
                keys.add((message.topic, message.key))
            repeated.append(index)
        delivered.difference_update(repeated)
        culprits: dict[int, KafkaError] = {}
        for index in repeated:
            culprits.update(self._deliver(messages, (index,), delivered))
            self._check(messages, culprits)
        return culprits

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = open_producer(self._properties, self._log)
        return self._producer

    def _deliver(
        self, messages: Sequence[Message], indexes: Sequence[int], delivered: set[int]
    ) -> dict[int, KafkaError]:
        """Produce and wait; the errors, by index. Adds to `delivered`. Raises CommitAborted where there is no answer."""
        producer = self._open()
        deadline = time.monotonic() + self._patience
        errors: dict[int, KafkaError] = {}
        waiting = set(indexes)

        def reported(index: int, error: KafkaError | None, _message: object) -> None:
            waiting.discard(index)
            if error is not None:
                errors[index] = error
            else:
                delivered.add(index)

        for index in indexes:
            error = self._produced(producer, messages[index], partial(reported, index), deadline)
            if error is not None:
                reported(index, error, None)
        while waiting and time.monotonic() < deadline and not self._given_up.is_set():
            producer.flush(_POLL_SECONDS)
        if waiting:
            self.close()
            if self._given_up.is_set():
                raise CommitAborted(f"{len(waiting)} message(s) not delivered: the worker ends")
            raise CommitAborted(
                f"{len(waiting)} message(s) not delivered in {self._patience:g} s: are the brokers well?"
            )
        return errors

    def _produced(
        self, producer: Producer, message: Message, report: Callable[[KafkaError | None, object], None], deadline: float
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
                if time.monotonic() >= deadline or self._given_up.is_set():
                    return KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
                producer.poll(_POLL_SECONDS)
            except KafkaException as problem:
                return error_of(problem)
            else:
                producer.poll(0)
                return None

    def _check(self, messages: Sequence[Message], errors: Mapping[int, KafkaError]) -> None:
        """Raises CommitAborted for errors that are not refusals."""
        for index, error in errors.items():
            if error.code() in _REFUSED:
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


def _clean(name: str) -> str:
    """The client ends the whole process on a name that cannot be UTF-8, and cuts one at a zero."""
    return name.encode("utf-8", "replace").decode().replace("\0", "?")


def in_order(messages: Sequence[Message], delivered: Collection[int]) -> frozenset[int]:
    """The delivered ones that need not be repeated. One does that has its topic and key in common with an earlier message that
    was not delivered: that one is yet to come, and the newer one must stay the last."""
    kept: set[int] = set()
    broken: set[tuple[str, bytes]] = set()
    for index, message in enumerate(messages):
        if index in delivered and (message.key is None or (message.topic, message.key) not in broken):
            kept.add(index)
        elif message.key is not None:
            broken.add((message.topic, message.key))
    return frozenset(kept)
