"""The events of the demo, as they are produced: Avro in single-object encoding."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from worker.adapters.avro import bundled_schema
from worker.commands.demo.samples import SPECIAL, TEXTS, TOMBSTONES, UNDECODABLE

SINGLE_OBJECT: Final = b"\xc3\x01"
HEADER_BYTES: Final = 10


@dataclass(frozen=True, slots=True)
class TextInput:
    """One text to be embedded, with what may be said of it (None: not said)."""

    text: str
    id: str | None = None
    task_type: str | None = None
    output_dimensionality: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DemoEvent:
    """A record for the input topic. `note` explains what is special about it; `dimensions`: length of the vector that it
    asks for, None: the demo's."""

    key: bytes
    value: bytes | None
    note: str = ""
    dimensions: int | None = None


class Avro:
    """One of the bundled schemas. Not for bytes from outside: the demo reads only what the worker has taken or written."""

    def __init__(self, name: str) -> None:
        self._schema = parse_schema(json.loads(bundled_schema(name).read_bytes()))
        digest = fingerprint(to_parsing_canonical_form(self._schema), "CRC-64-AVRO")
        self._header = SINGLE_OBJECT + bytes.fromhex(digest)

    def encode(self, record: Mapping[str, object]) -> bytes:
        """The record in single-object encoding."""
        buffer = io.BytesIO(self._header)
        buffer.seek(0, io.SEEK_END)
        schemaless_writer(buffer, self._schema, record)
        return buffer.getvalue()

    def decode(self, value: bytes) -> Mapping[str, object] | None:
        """The record, None for bytes that do not begin with the schema's fingerprint."""
        if not value.startswith(self._header):
            return None
        record = schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), self._schema, None)
        return record if isinstance(record, dict) else None


def events_of(inputs: Sequence[TextInput]) -> list[DemoEvent]:
    """The user's texts as events; the key is the id, or a running number."""
    schema = Avro("text_event.avsc")
    return [_event(schema, given.id or f"line-{number:05}", given) for number, given in enumerate(inputs, 1)]


def sample_events() -> list[DemoEvent]:
    """The built-in sample; what fails stands between what succeeds, as in life."""
    schema = Avro("text_event.avsc")
    events = [_event(schema, f"text-{number:02}", TextInput(text)) for number, text in enumerate(TEXTS, 1)]
    special = [_event(schema, key, TextInput(text), note) for key, (text, note) in SPECIAL.items()]
    key, value, note = UNDECODABLE
    special.append(DemoEvent(key.encode(), value, note))
    special += [DemoEvent(key.encode(), None, "deletes the vector of its key") for key in TOMBSTONES]
    step = len(events) // len(special)
    for number, event in enumerate(special):
        events.insert(number * (step + 1) + step, event)
    return events


def _event(schema: Avro, key: str, given: TextInput, note: str = "") -> DemoEvent:
    record = {
        "id": key,
        "text": given.text,
        "task_type": given.task_type,
        "output_dimensionality": given.output_dimensionality,
        "metadata": dict(given.metadata),
    }
    return DemoEvent(key.encode(), schema.encode(record), note, given.output_dimensionality)
