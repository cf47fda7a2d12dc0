"""Avro's binary encoding, read in bounded memory and time.

fastavro is not safe on hostile bytes: a 5-byte record may claim 10^9 nulls, which it allocates, and it takes negative
lengths and negative union indexes. This reader checks every length and index, and spends a budget of values. Logical
types are read as what they are made of, which Avro allows and which cannot fail.
Format: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from collections.abc import Iterator, Mapping
from typing import Any

from worker.core.avro_cursor import PRIMITIVES, Cursor, Read, read_long, read_string
from worker.errors import ConfigurationError, InvalidEvent

MAX_DEPTH = 64
"""Deepest nesting of records: only recursive schemas reach it."""

Schema = str | list[Any] | Mapping[str, Any]


class DatumReader:
    """Reads data of one schema, which must have been parsed by fastavro (full names everywhere).

    Raises ConfigurationError where the schema has no meaning."""

    def __init__(self, schema: Schema) -> None:
        try:
            self._read = _Compiler().reader(schema)
        except (KeyError, TypeError, RecursionError) as error:
            raise ConfigurationError(f"unusable Avro schema: {type(error).__name__} {error}") from error

    def read(self, data: bytes, start: int = 0) -> object:
        """The datum from byte `start` to the end. Raises InvalidEvent for all that is not exactly one datum."""
        cursor = Cursor(data, start)
        try:
            datum: object = self._read(cursor)
        except RecursionError:
            raise InvalidEvent("bad Avro: nested too deeply") from None
        if cursor.position != len(data):
            raise InvalidEvent(f"bad Avro: {len(data) - cursor.position} bytes are left after the record")
        return datum


class _Compiler:
    """Turns a schema into nested readers, one for each node."""

    def __init__(self) -> None:
        self._named: dict[str, Read] = {}

    def reader(self, schema: Schema) -> Read:
        if isinstance(schema, list):
            return _union_reader([self.reader(branch) for branch in schema])
        if isinstance(schema, str):
            return PRIMITIVES[schema] if schema in PRIMITIVES else self._named[schema]
        return self._complex(schema)

    def _complex(self, schema: Mapping[str, Any]) -> Read:
        match schema["type"]:
            case "record" | "error":
                return self._record(schema)
            case "array":
                return _array_reader(self.reader(schema["items"]))
            case "map":
                return _map_reader(self.reader(schema["values"]))
            case "enum":
                return self._name(schema, _enum_reader(tuple(schema["symbols"])))
            case "fixed":
                return self._name(schema, _fixed_reader(schema["size"]))
            case plain:
                return self.reader(plain)

    def _record(self, schema: Mapping[str, Any]) -> Read:
        fields: list[tuple[str, Read]] = []
        read = self._name(schema, _record_reader(fields))
        fields += [(field["name"], self.reader(field["type"])) for field in schema["fields"]]
        return read

    def _name(self, schema: Mapping[str, Any], read: Read) -> Read:
        self._named[schema["name"]] = read
        return read


def _fixed_reader(size: int) -> Read:
    if type(size) is not int or size < 0:
        raise TypeError(f"a fixed of size {size!r}")

    def read(cursor: Cursor) -> bytes:
        start = cursor.take(size)
        return cursor.data[start : cursor.position]

    return read


def _enum_reader(symbols: tuple[str, ...]) -> Read:
    def read(cursor: Cursor) -> str:
        return symbols[_index(cursor, len(symbols), "enum")]

    return read


def _union_reader(branches: list[Read]) -> Read:
    def read(cursor: Cursor) -> object:
        return branches[_index(cursor, len(branches), "union")](cursor)

    return read


def _index(cursor: Cursor, size: int, kind: str) -> int:
    index = read_long(cursor)
    if not 0 <= index < size:
        raise InvalidEvent(f"bad Avro before byte {cursor.position}: index {index} in {kind} of {size}")
    return index


def _record_reader(fields: list[tuple[str, Read]]) -> Read:
    """`fields` is filled later, so that a record can hold itself."""

    def read(cursor: Cursor) -> dict[str, object]:
        cursor.spend(len(fields))
        cursor.depth += 1
        if cursor.depth > MAX_DEPTH:
            raise InvalidEvent(f"bad Avro at byte {cursor.position}: records nested deeper than {MAX_DEPTH}")
        datum = {name: read_field(cursor) for name, read_field in fields}
        cursor.depth -= 1
        return datum

    return read


def _array_reader(read_item: Read) -> Read:
    def read(cursor: Cursor) -> list[object]:
        items: list[object] = []
        for count in _blocks(cursor):
            items += [read_item(cursor) for _ in range(count)]
        return items

    return read


def _map_reader(read_value: Read) -> Read:
    def read(cursor: Cursor) -> dict[str, object]:
        entries: dict[str, object] = {}
        for count in _blocks(cursor):
            for _ in range(count):
                key = read_string(cursor)
                entries[key] = read_value(cursor)
        return entries

    return read


def _blocks(cursor: Cursor) -> Iterator[int]:
    """The item counts of an array's or map's blocks. A negative count is lawful: the block's size in bytes follows."""
    while (count := read_long(cursor)) != 0:
        end = None
        if count < 0:
            count = -count
            size = read_long(cursor)
            end = cursor.take(size) + size
            cursor.position -= size
        cursor.spend(count)
        yield count
        if end is not None and cursor.position != end:
            raise InvalidEvent(f"bad Avro at byte {cursor.position}: a block should end at byte {end}")
