"""Publishing a list of messages and waiting for every delivery report. Blocks: for a thread of its own."""

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, Producer

from worker.adapters.kafka.clients import Log, open_producer
from worker.adapters.kafka.producing import REFUSED, attend, hand_over, refusal, undelivered
from worker.adapters.kafka.properties import delivery_seconds
from worker.errors import CommitAborted, MessageRefused
from worker.model import Message

_POLL_SECONDS: Final = 0.1
_GRACE_SECONDS: Final = 5.0


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
            raise MessageRefused(refusal(messages, culprits), sorted(culprits), published=delivered)

    def give_up(self) -> None:
        """Make a `publish` under way raise CommitAborted soon, and every further one. From any thread."""
        self._given_up.set()

    def close(self) -> None:
        """Drop what is not published, and the connections."""
        if self._producer is not None:
            self._producer.purge()
            attend(self._producer.poll, 0)
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
            error = hand_over(
                producer,
                messages[index],
                partial(reported, index),
                lambda: time.monotonic() >= deadline or self._given_up.is_set(),
            )
            if error is not None:
                reported(index, error, None)
            attend(producer.poll, 0)
        while waiting and time.monotonic() < deadline and not self._given_up.is_set():
            attend(producer.flush, _POLL_SECONDS)
        if waiting:
            self.close()
            if self._given_up.is_set():
                raise CommitAborted(f"{len(waiting)} message(s) not delivered: the worker ends")
            raise CommitAborted(
                f"{len(waiting)} message(s) not delivered in {self._patience:g} s: are the brokers well?"
            )
        return errors

    def _check(self, messages: Sequence[Message], errors: Mapping[int, KafkaError]) -> None:
        """Raises CommitAborted for errors that are not refusals."""
        for index, error in errors.items():
            if error.code() in REFUSED:
                continue
            if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001
                self._log(logging.ERROR, f"the Kafka producer failed and is made anew: {error.str()}")
                self.close()
            raise CommitAborted(undelivered(messages[index].topic, error, len(errors)))


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
