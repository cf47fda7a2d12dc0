"""Messages of the client become records; group metadata becomes readable."""

import logging
import struct
from operator import methodcaller
from typing import Final, cast

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message

from worker.adapters.kafka.clients import Log
from worker.errors import StartError
from worker.model import Headers, Record, TopicPartition

UNREADABLE_HEADERS: Final = "kafka.headers.unreadable"

# Not `message.headers()`: for a name that is not UTF-8 the client returns a list with a hole in it *and* sets an exception.
# Python notices (SystemError), but not where its interpreter has specialised a call that ran often: there the process
# dies of a segmentation fault. A call made from C is checked every time.
_CHECKED_HEADERS: Final = methodcaller("headers")

_METADATA_MAGIC: Final = b"CGMDv2:"  # rd_kafka_consumer_group_metadata_write in librdkafka
_GENERATION: Final = struct.Struct("=i")


def partition_of(message: Message) -> TopicPartition:
    """Where the message is from. The client leaves both names out of errors that concern no partition only."""
    return TopicPartition(message.topic() or "", message.partition() or 0)


def record_of(message: Message, source: TopicPartition, assignment: int) -> Record:
    """The record of a message without error.

    The client cannot hand over headers of which one has a name that is not UTF-8 (it raises SystemError for all of
    them): such a record carries the one header `kafka.headers.unreadable` in their place, and is otherwise whole.
    """
    kind, timestamp = message.timestamp()
    return Record(
        source=source,
        offset=message.offset() or 0,
        timestamp_ms=-1 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=_headers(message),
        assignment=assignment,
    )


def judge(error: KafkaError, log: Log) -> None:
    """A message that is an error. Raises StartError where the consumer cannot go on; the client sees to the others."""
    if error.fatal():
        raise StartError(f"the Kafka consumer failed: {error.str()}")
    log(logging.WARNING, f"Kafka: {error.str()}")


def is_member(metadata: object) -> bool:
    """Whether consumer group metadata are those of a joined member.

    confluent-kafka gives them as bytes: a magic, the generation as a native int32, then group id and member id, each
    ended by a zero. A consumer that has not joined has generation -1 and no member id: brokers take commits with these
    unfenced. Bytes of another form count as not joined.
    """
    if not isinstance(metadata, bytes) or not metadata.startswith(_METADATA_MAGIC):
        return False
    body = metadata[len(_METADATA_MAGIC) :]
    if len(body) < _GENERATION.size:
        return False
    generation: int = _GENERATION.unpack_from(body)[0]
    names = body[_GENERATION.size :].split(b"\0")
    return generation >= 0 and len(names) > 1 and bool(names[1])


def _headers(message: Message) -> Headers:
    try:
        pairs = _CHECKED_HEADERS(message) or []
    except (SystemError, UnicodeDecodeError):
        return ((UNREADABLE_HEADERS, b"a header's name is not UTF-8"),)
    # a list of pairs, although the client's types say that it may be a dict
    return tuple((name, _bytes(value)) for name, value in cast("list[tuple[str, str | bytes | None]]", pairs))


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
