"""The reader against fastavro on good bytes, and against everything hostile within bounds that are counted, not timed."""

import io
import struct
import tracemalloc
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.core.avro_cursor import MAX_VALUES
from worker.core.avro_reader import MAX_DEPTH, DatumReader
from worker.errors import ConfigurationError, InvalidEvent

TREE = {
    "type": "record",
    "name": "Tree",
    "namespace": "forest",
    "fields": [
        {"name": "value", "type": ["null", "long"]},
        {"name": "children", "type": {"type": "array", "items": "Tree"}},
    ],
}
LIST = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "next", "type": ["null", "Node"]}],
}
BOTTOMLESS = {"type": "record", "name": "Endless", "fields": [{"name": "again", "type": "Endless"}]}
NULLS = {"type": "array", "items": "null"}
EMPTY_RECORDS = {"type": "array", "items": {"type": "record", "name": "Empty", "fields": []}}
WIDE = {
    "type": "array",
    "items": {"type": "record", "name": "Wide", "fields": [{"name": f"f{i}", "type": "null"} for i in range(100)]},
}
NARROW = {
    "type": "array",
    "items": {"type": "record", "name": "Narrow", "fields": [{"name": "a", "type": "null"}]},
}
LISTS_OF_NULLS = {"type": "array", "items": NULLS}
MAP = {"type": "map", "values": ["null", "string", {"type": "map", "values": "bytes"}]}
EVERYTHING = {
    "type": "record",
    "name": "Everything",
    "fields": [
        {"name": "boolean", "type": "boolean"},
        {"name": "int", "type": "int"},
        {"name": "long", "type": {"type": "long"}},
        {"name": "float", "type": "float"},
        {"name": "double", "type": "double"},
        {"name": "bytes", "type": "bytes"},
        {"name": "string", "type": {"type": "string", "avro.java.string": "String"}},
        {"name": "color", "type": {"type": "enum", "name": "Color", "symbols": ["RED", "GREEN"]}},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
        {"name": "other", "type": ["null", "Hash", "Color"]},
        {"name": "numbers", "type": {"type": "array", "items": "int"}},
        {"name": "map", "type": {"type": "map", "values": {"type": "array", "items": "string"}}},
    ],
}
EVERYTHING_DATA = st.fixed_dictionaries(
    {
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(width=32, allow_nan=False),
        "double": st.floats(allow_nan=False),
        "bytes": st.binary(max_size=200),
        "string": st.text(max_size=200),
        "color": st.sampled_from(["RED", "GREEN"]),
        "hash": st.binary(min_size=4, max_size=4),
        "other": st.none() | st.binary(min_size=4, max_size=4) | st.sampled_from(["RED", "GREEN"]),
        "numbers": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20),
        "map": st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5), max_size=3), max_size=3),
    }
)
SCHEMAS = [TREE, LIST, BOTTOMLESS, NULLS, EMPTY_RECORDS, WIDE, LISTS_OF_NULLS, MAP, EVERYTHING]
PEAK_BYTES = 32_000_000


def reader_of(schema: Any) -> DatumReader:
    return DatumReader(parse_schema(schema))


def written(schema: Any, datum: object) -> bytes:
    buffer = io.BytesIO()
    schemaless_writer(buffer, parse_schema(schema), datum)
    return buffer.getvalue()


def varint(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    encoded = bytearray()
    while rest >= 0x80:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*encoded, rest])


@given(datum=EVERYTHING_DATA)
def test_it_reads_what_fastavro_writes(datum: Any) -> None:
    assert reader_of(EVERYTHING).read(written(EVERYTHING, datum)) == datum


@given(datum=EVERYTHING_DATA)
def test_every_shortened_record_is_invalid(datum: Any) -> None:
    reader = reader_of(EVERYTHING)
    data = written(EVERYTHING, datum)
    for size in range(0, len(data), max(1, len(data) // 40)):
        with pytest.raises(InvalidEvent):
            reader.read(data[:size])


def test_a_recursive_record_is_read() -> None:
    leaf: Any = {"value": None, "children": []}
    tree = {"value": 1, "children": [leaf, {"value": -5, "children": [leaf]}]}
    assert reader_of(TREE).read(written(TREE, tree)) == tree


@pytest.mark.parametrize(("schema", "data"), [(NULLS, b"\x02\x00"), ("string", varint(1) + b"a"), ("null", b"")])
def test_bytes_after_the_record_are_invalid(schema: Any, data: bytes) -> None:
    reader = reader_of(schema)
    reader.read(data)
    with pytest.raises(InvalidEvent, match="2 bytes are left"):
        reader.read(data + b"\x00\x00")


@pytest.mark.parametrize("schema", ["string", "bytes"])
@pytest.mark.parametrize("length", [-1, -5, 4, 10**9, 2**63 - 1, -(2**63)])
def test_a_length_that_is_not_there_is_invalid(schema: Any, length: int) -> None:
    with pytest.raises(InvalidEvent, match=f"{length} bytes are claimed, 3 are left"):
        reader_of(schema).read(varint(length) + b"abc")


@pytest.mark.parametrize("data", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
def test_a_string_that_is_not_utf8_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidEvent, match="not UTF-8"):
        reader_of("string").read(varint(len(data)) + data)


@pytest.mark.parametrize("schema", [["null", "long"], {"type": "enum", "name": "E", "symbols": ["A", "B"]}])
@pytest.mark.parametrize("index", [-1, -2, 2, 2**62])
def test_an_index_out_of_range_is_invalid(schema: Any, index: int) -> None:
    with pytest.raises(InvalidEvent, match=f"index {index} in"):
        reader_of(schema).read(varint(index) + b"\x00")


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 0, -1])
def test_the_longest_numbers_are_read(value: Any) -> None:
    assert reader_of("long").read(varint(value)) == value


@pytest.mark.parametrize(
    ("schema", "data", "message"),
    [
        ("long", b"\x80" * 10 + b"\x00", "more than ten bytes"),
        ("long", b"\xff" * 9 + b"\x02", "more than 64 bits"),
        ("long", b"\x80" * 5, "ends in a number"),
        ("int", varint(2**31), "no 32-bit integer"),
        ("boolean", b"\x02", "no boolean"),
        ("boolean", b"", "1 bytes are claimed"),
        ("float", b"\x00" * 3, "4 bytes are claimed"),
        ("double", b"\x00" * 7, "8 bytes are claimed"),
        ({"type": "fixed", "name": "F", "size": 10**9}, b"", "bytes are claimed"),
    ],
)
def test_a_bad_scalar_is_invalid(schema: Any, data: bytes, message: str) -> None:
    with pytest.raises(InvalidEvent, match=message):
        reader_of(schema).read(data)


def test_a_negative_block_count_with_its_size_is_lawful() -> None:
    longs = reader_of({"type": "array", "items": "long"})
    assert longs.read(varint(-2) + varint(2) + b"\x02\x04" + varint(1) + b"\x06\x00") == [1, 2, 3]
    texts = reader_of({"type": "map", "values": "string"})
    assert texts.read(varint(-1) + varint(4) + b"\x02a\x02b\x00") == {"a": "b"}


@pytest.mark.parametrize("size", [-1, 1, 3, 4, 2**40])
def test_a_block_that_is_not_of_its_stated_size_is_invalid(size: int) -> None:
    with pytest.raises(InvalidEvent):
        reader_of({"type": "array", "items": "long"}).read(varint(-2) + varint(size) + b"\x02\x04\x00")


@pytest.mark.parametrize(
    ("schema", "datum"),
    [
        ({"type": "long", "logicalType": "timestamp-millis"}, 2**62),
        ({"type": "int", "logicalType": "date"}, -(2**31)),
        ({"type": "int", "logicalType": "time-millis"}, -5),
        ({"type": "string", "logicalType": "uuid"}, "no uuid"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\xff" * 50),
    ],
)
def test_logical_types_are_read_as_what_they_are_made_of(schema: Any, datum: Any) -> None:
    plain = schema["type"]
    assert reader_of(schema).read(written(plain, datum)) == datum


CLAIMS = [10**6, 10**9, 2**63 - 1, -(2**63), -(10**9)]


@pytest.mark.parametrize("schema", [NULLS, EMPTY_RECORDS, WIDE, LISTS_OF_NULLS, MAP], ids=str)
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_huge_claim_is_invalid_before_anything_is_allocated(schema: Any, claim: int) -> None:
    reader = reader_of(schema)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidEvent, match="more than 262144 values"):
            reader.read(varint(claim) + b"\x00" * 20)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (NULLS, varint(MAX_VALUES) + b"\x00"),
        (NULLS, varint(1000) * 1000),
        (EMPTY_RECORDS, varint(MAX_VALUES) + b"\x00"),
        (NARROW, varint(MAX_VALUES // 2) + b"\x00"),
        (WIDE, varint(MAX_VALUES // 101) + b"\x00"),
        (WIDE, varint(MAX_VALUES // 2) + b"\x00"),
        (LISTS_OF_NULLS, varint(MAX_VALUES) + b"\x00" * MAX_VALUES + b"\x00"),
        (LISTS_OF_NULLS, varint(1000) + (varint(1000) + b"\x00") * 1000 + b"\x00"),
        (TREE, (b"\x00" + varint(2**17)) * 60 + b"\x00" * 2**18),
        (TREE, b"\x00" + varint(87_000) + b"\x00" * 174_000 + b"\x00"),
        ({"type": "array", "items": "string"}, varint(MAX_VALUES) + b"\x06abc" * MAX_VALUES + b"\x00"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value)[:60],
)
def test_the_worst_records_stay_in_bounded_memory(schema: Any, data: bytes) -> None:
    reader = reader_of(schema)
    tracemalloc.start()
    try:
        datum = read_or_none(reader, data)
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()
    assert count_values(datum) <= MAX_VALUES + 1


def test_nesting_ends_at_the_limit() -> None:
    reader = reader_of(LIST)
    deepest = b"\x02" * (MAX_DEPTH - 1) + b"\x00"
    assert count_values(reader.read(deepest)) == MAX_DEPTH + 1
    with pytest.raises(InvalidEvent, match="nested deeper than 64"):
        reader.read(b"\x02" + deepest)


def test_a_record_that_must_hold_itself_is_invalid_for_all_bytes() -> None:
    with pytest.raises(InvalidEvent, match="nested deeper"):
        reader_of(BOTTOMLESS).read(b"")


def test_a_record_that_doubles_at_each_level_is_stopped() -> None:
    schema: Any = "null"
    for level in range(30):
        name = f"L{level}"
        fields = [{"name": "a", "type": schema}, {"name": "b", "type": f"L{level - 1}" if level else "null"}]
        schema = {"type": "record", "name": name, "fields": fields}
    with pytest.raises(InvalidEvent, match="more than 262144 values"):
        reader_of(schema).read(b"")


def test_the_depth_is_that_of_records_not_their_number() -> None:
    tree: Any = {"value": None, "children": [{"value": None, "children": []} for _ in range(10 * MAX_DEPTH)]}
    assert reader_of(TREE).read(written(TREE, tree)) == tree


@pytest.mark.parametrize("schema", ["unknown", {"type": "array"}, {"type": "fixed", "name": "F", "size": -1}, {}, [3]])
def test_a_schema_without_meaning_is_a_configuration_error(schema: Any) -> None:
    with pytest.raises(ConfigurationError, match="unusable Avro schema"):
        DatumReader(schema)


def check_message(error: InvalidEvent) -> None:
    assert "\n" not in str(error)


def read_or_none(reader: DatumReader, data: bytes) -> object:
    try:
        return reader.read(data)
    except InvalidEvent as error:
        check_message(error)
        return None


def count_values(datum: object) -> int:
    if isinstance(datum, dict):
        return 1 + sum(map(count_values, datum.values()))
    return 1 + sum(map(count_values, datum)) if isinstance(datum, list) else 1


NUMBERS = st.sampled_from([0, 1, 2, 3, -1, -2, 64, 1000, 10**9, -(10**9), 2**63 - 1, -(2**63)])
PIECES = st.lists(NUMBERS.map(varint) | st.binary(max_size=6) | st.just(struct.pack("<d", 1e300)), max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=st.sampled_from(SCHEMAS), pieces=PIECES)
def test_any_bytes_are_a_bounded_value_or_invalid(schema: Any, pieces: list[bytes]) -> None:
    assert count_values(read_or_none(reader_of(schema), b"".join(pieces))) <= MAX_VALUES + 1


@given(datum=EVERYTHING_DATA, place=st.integers(0), change=st.binary(min_size=1, max_size=3), cut=st.integers(0, 3))
def test_any_change_of_a_valid_record_gives_a_value_or_invalid(datum: Any, place: int, change: bytes, cut: int) -> None:
    data = written(EVERYTHING, datum)
    place %= len(data)
    read_or_none(reader_of(EVERYTHING), data[:place] + change + data[place + cut :])
