"""The `Codec` port for Avro without a registry: bare and single-object encoding in, single-object encoding out.

Single-object encoding is C3 01, the CRC-64-AVRO fingerprint of the schema's parsing canonical form (8 bytes, little
endian), and the record: https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
fastavro parses schemas here and nothing else: `core/avro_reader` and `core/embedding_writer` say why.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fastavro.schema import SchemaParseException, fingerprint, parse_schema, to_parsing_canonical_form

from worker.core import embedding_writer, redacted_writer
from worker.core.avro_reader import DatumReader, Schema
from worker.errors import ConfigurationError, InvalidEvent
from worker.model import Embedding, Redacted
from worker.settings.secrets import shown_path
from worker.settings.sections import InputFormat

_MARKER = b"\xc3\x01"
_HEADER_SIZE = 10
_FRAMING_SIZE = 5
"""Bytes that Schema Registry's serializers put in front: 00 and a schema id."""


class AvroCodec:
    """Decodes by the configured schemas, encodes by `schemas/embedding.avsc` and `schemas/redacted.avsc`.

    `input_schemas` are `.avsc` files. Single-object encoded records may be of any of them; bare ones tell nothing about
    their schema and need exactly one. Raises ConfigurationError that names the file for a schema that cannot be used.
    """

    def __init__(
        self,
        input_schemas: Sequence[Path],
        input_format: InputFormat,
        output_schema: Path,
        redacted_schema: Path,
    ) -> None:
        schemas = [_checked_input(path) for path in input_schemas]
        self._fields = [_fields(schema.parsed) for schema in schemas]
        self._readers = {schema.fingerprint: schema.reader for schema in schemas}
        self._only_reader = schemas[0].reader if len(self._readers) == 1 else None
        self._format = input_format
        if not schemas:
            raise ConfigurationError("no input schema: set WORKER_INPUT__SCHEMA to an .avsc file")
        if input_format is InputFormat.BARE and self._only_reader is None:
            raise ConfigurationError(
                f"WORKER_INPUT__FORMAT=bare needs one schema, WORKER_INPUT__SCHEMA holds {len(self._readers)}"
            )
        self._output_header = _header(output_schema, embedding_writer.LAYOUT)
        self._redacted_header = _header(redacted_schema, redacted_writer.LAYOUT)

    @property
    def bare_schema(self) -> str:
        """The fingerprint (hex) of the schema that bare records are read by; "" where there is no such schema. A record in
        single-object encoding names its own."""
        return next(iter(self._readers)).hex() if self._only_reader else ""

    def require_fields(self, names: Collection[str]) -> None:
        """Raises ConfigurationError where no input schema has all these fields: every event would become a dead letter."""
        if not any(fields.issuperset(names) for fields in self._fields):
            known = ", ".join(sorted(frozenset().union(*self._fields)))
            missing = ", ".join(sorted(set(names) - frozenset().union(*self._fields)) or sorted(names))
            raise ConfigurationError(
                f"WORKER_INPUT__TEXT or WORKER_INPUT__ID names {missing}, which no input schema has; there are: {known}"
            )

    async def decode(self, topic: str, value: bytes) -> object:  # noqa: ARG002 - a registry's codec goes by the topic
        """The datum of an input record. Raises InvalidEvent for every kind of bad bytes, in bounded memory."""
        if self._format is InputFormat.BARE or (self._format is InputFormat.AUTO and value[:2] != _MARKER):
            if self._only_reader is None:
                problem = f"a bare record, but {len(self._readers)} schemas are configured: leave one of them"
                raise InvalidEvent(problem + _hint(value))
            try:
                return self._only_reader.read(value)
            except InvalidEvent as error:
                raise InvalidEvent(f"{error}{_hint(value)}") from None
        if value[:2] != _MARKER:
            raise InvalidEvent(f"not in single-object encoding: the record does not begin with C3 01{_hint(value)}")
        if len(value) < _HEADER_SIZE:
            raise InvalidEvent(f"the single-object header takes {_HEADER_SIZE} bytes, here are {len(value)}")
        reader = self._readers.get(value[2:_HEADER_SIZE])
        if reader is None:
            raise InvalidEvent(
                f"unknown schema fingerprint {value[2:_HEADER_SIZE].hex()} (as in the record): add its .avsc to "
                "WORKER_INPUT__SCHEMA, or set WORKER_INPUT__FORMAT=bare if the records have no header"
            )
        return reader.read(value, _HEADER_SIZE)

    def encode(self, embedding: Embedding) -> bytes:
        """The value of an output record. Raises InvalidResult where a string in it has no UTF-8."""
        return self._output_header + embedding_writer.write_embedding(embedding)

    def encode_redacted(self, redacted: Redacted) -> bytes:
        """The value of a dead letter whose text is left out. Never raises."""
        return self._redacted_header + redacted_writer.write_redacted(redacted)


def _hint(value: bytes) -> str:
    """What a value that cannot be read may be instead. Of a schema id's four bytes the first is 0 below 16 million; bare
    records that begin with 00 are too many to be told from it by that alone."""
    if value[:2] == b"\x00\x00" and len(value) >= _FRAMING_SIZE:
        number = int.from_bytes(value[1:_FRAMING_SIZE], "big")
        return f"; it begins like Schema Registry framing (00 and schema id {number}), which this version does not read"
    return "; it begins with a brace: is it JSON?" if value[:1] == b"{" else ""


def bundled_schema(name: str) -> Path:
    """A schema that comes with the worker: `worker/schemas` in a wheel, `schemas` at the top of the repository.

    Raises ConfigurationError where neither has it."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "schemas", package.parent / "schemas"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(f"schema {name} is not part of this installation: install embedding-worker again")


def schema_files(path: Path) -> tuple[Path, ...]:
    """The file itself, or every `.avsc` in a folder. Raises ConfigurationError for a folder without any."""
    if not path.is_dir():
        return (path,)
    files = tuple(sorted(path.glob("*.avsc")))
    if not files:
        raise ConfigurationError(f"WORKER_INPUT__SCHEMA: no .avsc file in {path}: put the input's schema there")
    return files


class _Schema(NamedTuple):
    parsed: Schema
    fingerprint: bytes
    reader: DatumReader


def _load(path: Path) -> _Schema:
    try:
        parsed = parse_schema(json.loads(path.read_bytes()))
        digest = fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO")
        return _Schema(parsed, bytes.fromhex(digest), DatumReader(parsed))
    except OSError as error:
        raise ConfigurationError(f"cannot read schema {shown_path(path)}: {error.strerror}") from error
    except (SchemaParseException, ConfigurationError, ValueError, LookupError, TypeError, AttributeError) as error:
        detail = " ".join(f"{error}".split())[:200]
        raise ConfigurationError(f"{path} is no Avro schema: {type(error).__name__} {detail}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path} is no Avro schema: nested too deeply") from error


def _fields(schema: Schema) -> frozenset[str]:
    """The names of a record's fields, of all records where it is a union."""
    branches = schema if isinstance(schema, list) else [schema]
    return frozenset(
        field["name"] for branch in branches if isinstance(branch, Mapping) for field in branch.get("fields", ())
    )


def _checked_input(path: Path) -> _Schema:
    """An input schema that some datum can be read with: of any other, every event would become a dead letter."""
    try:
        schema = _load(path)
    except ConfigurationError as error:
        raise ConfigurationError(f"WORKER_INPUT__SCHEMA: {error}") from None
    if not _fields(schema.parsed):
        raise ConfigurationError(
            f"WORKER_INPUT__SCHEMA: {path} is no Avro schema of a record with fields: text events are records"
        )
    return schema


def _header(path: Path, written: Sequence[tuple[str, str]]) -> bytes:
    """The single-object header of a schema that is sure to say what is written by it."""
    schema = _load(path)
    layout = tuple(_layout(schema.parsed, ""))
    for states, writes in zip(layout, written, strict=False):
        if states != writes:
            raise ConfigurationError(f"{path} says {' '.join(states)} where the worker writes {' '.join(writes)}")
    if len(layout) != len(written):
        raise ConfigurationError(f"{path} has {len(layout)} fields, the worker writes {len(written)}")
    return _MARKER + schema.fingerprint


def _layout(schema: Schema, prefix: str) -> Iterator[tuple[str, str]]:
    """The fields in the order in which they are written, nested ones by their dotted path."""
    if not isinstance(schema, Mapping) or schema["type"] != "record":
        yield prefix.removesuffix("."), _describe(schema)
        return
    for field in schema["fields"]:
        yield from _layout(field["type"], f"{prefix}{field['name']}.")


def _describe(schema: Schema) -> str:
    if isinstance(schema, list):
        return "|".join(_describe(branch) for branch in schema)
    if not isinstance(schema, Mapping):
        return str(schema)
    match schema["type"]:
        case "array":
            return f"array<{_describe(schema['items'])}>"
        case "map":
            return f"map<{_describe(schema['values'])}>"
        case other:
            return str(schema.get("logicalType", other))
