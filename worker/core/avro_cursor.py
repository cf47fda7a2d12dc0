"""A cursor over Avro's binary encoding and the primitive types: every length is checked, every value counted.

Format: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from worker.errors import InvalidEvent

MAX_VALUES = 262_144
"""Most values (fields and items) in one datum: measured at worst 26 MB of objects and 0.3 s."""


class Cursor:
    """A position in the bytes of a datum, and what reading on may still cost."""

    __slots__ = ("data", "depth", "position", "values_left")

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position
        self.values_left = MAX_VALUES
        self.depth = 0

    def take(self, size: int) -> int:
        """Step over `size` bytes; returns where they start."""
        start = self.position
        if not 0 <= size <= len(self.data) - start:
            raise InvalidEvent(
                f"bad Avro at byte {start}: {size} bytes are claimed, {len(self.data) - start} are left; "
                "was it written with the configured schema?"
            )
        self.position = start + size
        return start

    def spend(self, values: int) -> None:
        """Account for values that are about to be read."""
        self.values_left -= values
        if self.values_left < 0:
            raise InvalidEvent(f"bad Avro at byte {self.position}: more than {MAX_VALUES} values in one record")


Read = Callable[[Cursor], Any]
"""Reads one value at the cursor and moves it behind. Raises InvalidEvent."""


def _read_null(_cursor: Cursor) -> None:
    return None


def _read_boolean(cursor: Cursor) -> bool:
    byte = cursor.data[cursor.take(1)]
    if byte > 1:
        raise InvalidEvent(f"bad Avro at byte {cursor.position - 1}: {byte} is no boolean")
    return byte == 1


def read_long(cursor: Cursor) -> int:
    data = cursor.data
    position = cursor.position
    shift = value = 0
    try:
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise InvalidEvent(f"bad Avro at byte {cursor.position}: a number of more than ten bytes")
    except IndexError:
        raise InvalidEvent(f"bad Avro: the record ends in a number, at byte {position}") from None
    if value >> 64:
        raise InvalidEvent(f"bad Avro at byte {cursor.position}: a number of more than 64 bits")
    cursor.position = position
    return (value >> 1) ^ -(value & 1)


def _read_int(cursor: Cursor) -> int:
    value = read_long(cursor)
    if not -0x80000000 <= value <= 0x7FFFFFFF:
        raise InvalidEvent(f"bad Avro before byte {cursor.position}: {value} is no 32-bit integer")
    return value


def _number_reader(layout: str) -> Read:
    number = struct.Struct(layout)

    def read(cursor: Cursor) -> float:
        value: float = number.unpack_from(cursor.data, cursor.take(number.size))[0]
        return value

    return read


def _read_bytes(cursor: Cursor) -> bytes:
    start = cursor.take(read_long(cursor))
    return cursor.data[start : cursor.position]


def read_string(cursor: Cursor) -> str:
    start = cursor.take(read_long(cursor))
    try:
        return cursor.data[start : cursor.position].decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"bad Avro at byte {start + error.start}: a string is not UTF-8") from None


PRIMITIVES: Mapping[str, Read] = {
    "null": _read_null,
    "boolean": _read_boolean,
    "int": _read_int,
    "long": read_long,
    "float": _number_reader("<f"),
    "double": _number_reader("<d"),
    "bytes": _read_bytes,
    "string": read_string,
}
