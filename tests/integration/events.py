"""Input records: what is produced, and what must become of it."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import fastavro
from confluent_kafka import KafkaError, Message, Producer
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from tests.integration.processes import ROOT

VECTOR: Final = "vector"
TOMBSTONE: Final = "tombstone"
SKIPPED: Final = "skipped"

_FLUSH_SECONDS: Final = 30.0
_LARGEST_MESSAGE: Final = 16 * 1024 * 1024

Header = tuple[str, bytes | None]


def schema(name: str) -> Any:
    """A parsed schema of `schemas/`."""
    return parse_schema(fastavro.schema.load_schema(str(ROOT / "schemas" / name), _write_hint=False))


TEXT_EVENT: Final = schema("text_event.avsc")


def single_object_header(parsed: Any) -> bytes:
    """The ten bytes that name a schema."""
    return b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO"))


def encoded(text: str, *, single_object: bool = False, **fields: object) -> bytes:
    """A text event in Avro."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, TEXT_EVENT, {"text": text, **fields})
    return (single_object_header(TEXT_EVENT) if single_object else b"") + stream.getvalue()


def sha256(text: str) -> str:
    """SHA-256 of the text's UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Event:
    """A record to be produced. `ends`: VECTOR, TOMBSTONE, SKIPPED or the reason of its dead letter; `text` None: it never
    reaches the API; `id`, `dimensions`: of its vector; `fewest_attempts`: submits that it needs;
    `or_else`: the reason where the last of its attempts met an API fault."""

    key: bytes | None
    value: bytes | None
    ends: str
    text: str | None = None
    id: str = ""
    dimensions: int = 0
    fewest_attempts: int = 1
    headers: tuple[Header, ...] = ()
    or_else: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands."""

    partition: int
    offset: int


def good(text: str, *, key: bytes | None, own_id: str = "", dimensions: int, **fields: Any) -> Event:
    """An event that becomes a vector. `dimensions` is what the worker asks for; an id, if given, goes into the event."""
    named: dict[str, Any] = {"id": own_id} if own_id else {}
    value = encoded(text, **named, **fields)
    return Event(key, value, VECTOR, text, own_id or (key or b"").decode(), dimensions)


def produce(
    bootstrap_servers: str, topic: str, events: Sequence[Event], properties: Mapping[str, object] | None = None
) -> dict[Place, Event]:
    """Produce the events; where each of them stands."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "linger.ms": 5,
            "message.max.bytes": _LARGEST_MESSAGE,
            "partitioner": "murmur2_random",
            "sticky.partitioning.linger.ms": 0,
            **(properties or {}),
        }
    )
    placed: dict[Place, Event] = {}
    for event in events:

        def reported(error: KafkaError | None, message: Message, event: Event = event) -> None:
            assert error is None, error
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            placed[Place(partition, offset)] = event

        producer.produce(topic, key=event.key, value=event.value, headers=list(event.headers), on_delivery=reported)
        producer.poll(0)
    assert producer.flush(_FLUSH_SECONDS) == 0
    assert len(placed) == len(events)
    return placed
