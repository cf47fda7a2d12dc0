"""Handing one message to a producer, and what its error means; for both kinds of delivery."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.adapters.kafka.clients import error_of
from worker.model import Message

REFUSED: Final = frozenset({
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError._INVALID_DIFFERENT_RECORD,  # noqa: SLF001
})  # fmt: skip
"""What no repetition will change. A broker refuses all messages of a request for one of them: each is to be tried alone."""
_NO_TOPIC: Final = frozenset({
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
})  # fmt: skip
_NO_RIGHT: Final = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
_POLL_SECONDS: Final = 0.1
_BY_KEY: Final = -1
"""librdkafka's RD_KAFKA_PARTITION_UA."""


def hand_over(
    producer: Producer,
    message: Message,
    report: Callable[[KafkaError | None, object], None],
    stop: Callable[[], bool],
) -> KafkaError | None:
    """Give one message to the client; the error where it does not. Waits while its queue is full, until `stop` is true."""
    # 0 lets the client take the present time
    timestamp = max(0, message.timestamp_ms or 0)
    headers: list[tuple[str, str | bytes | None]] = [(_clean(name), value) for name, value in message.headers]
    while True:
        try:
            producer.produce(
                message.topic,
                value=message.value,
                key=message.key,
                partition=_BY_KEY if message.partition is None else message.partition,
                headers=headers,
                timestamp=timestamp,
                on_delivery=report,
            )
        except BufferError:
            if stop():
                return KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
            attend(producer.poll, _POLL_SECONDS)
        except KafkaException as problem:
            return error_of(problem)
        else:
            return None


def attend(poll_or_flush: Callable[[float], object], seconds: float) -> None:
    """Have delivery reports handed out. The client raises a fatal error here; each message it concerns has a report of it."""
    with contextlib.suppress(KafkaException):
        poll_or_flush(seconds)


def undelivered(topic: str, error: KafkaError, count: int) -> str:
    """Why messages were not delivered, and what to do about it."""
    if error.code() in _NO_TOPIC:
        return f"topic {topic} does not exist: make it with embedding-worker topics create"
    if error.code() in _NO_RIGHT:
        return f"no right to write to topic {topic}: grant WRITE and IDEMPOTENT_WRITE to the user"
    return f"{count} message(s) to topic {topic} not delivered: {error.str()}"


def refusal(messages: Sequence[Message], refused: Mapping[int, KafkaError]) -> str:
    """What is said of messages that the broker will never take."""
    first = min(refused)
    return f"{len(refused)} message(s) refused for good by topic {messages[first].topic}: {refused[first].str()}"


def _clean(name: str) -> str:
    """The client ends the whole process on a name that cannot be UTF-8, and cuts one at a zero."""
    return name.encode("utf-8", "replace").decode().replace("\0", "?")
