"""Schemas, framing and the output record: what goes out is read back by fastavro with `schemas/embedding.avsc`."""

import io
import json
import math
from array import array
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.avro import AvroCodec, bundled_schema, schema_files
from worker.errors import ConfigurationError, InvalidEvent, InvalidResult
from worker.model import Embedding, Job, Metrics, Record, Redacted, TopicPartition
from worker.settings.sections import InputFormat

TEXT_EVENT = bundled_schema("text_event.avsc")
EMBEDDING = bundled_schema("embedding.avsc")
REDACTED = bundled_schema("redacted.avsc")
EVENT = {"id": "a", "text": "hello", "task_type": None, "output_dimensionality": 768, "metadata": {"k": "v"}}


def a_codec(*schemas: Path, input_format: InputFormat = InputFormat.AUTO) -> AvroCodec:
    return AvroCodec(schemas or (TEXT_EVENT,), input_format, EMBEDDING, REDACTED)


def parsed(path: Path) -> Any:
    return fastavro.parse_schema(json.loads(path.read_text()))


def bare(datum: object, schema: Path = TEXT_EVENT) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, parsed(schema), datum)
    return buffer.getvalue()


def header(schema: Path = TEXT_EVENT) -> bytes:
    form = fastavro.schema.to_parsing_canonical_form(parsed(schema))
    return b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(form, "CRC-64-AVRO"))


def a_schema(folder: Path, schema: object, name: str = "input.avsc") -> Path:
    path = folder / name
    path.write_text(json.dumps(schema))
    return path


def an_embedding(**changes: Any) -> Embedding:
    values: dict[str, Any] = {
        "id": "doc-1",
        "vector": array("f", [0.25, -1.5, 3.0]),
        "model": "gemini-embedding-001",
        "task_type": "CLUSTERING",
        "job": Job("job-1", 1_700_000_000.0, 2),
        "record": Record(TopicPartition("texts", 3), 2**40, 1_700_000_000_123, b"k", b"v", (), 1),
        "text_sha256": "ab" * 32,
        "embedded_at": 1_700_000_001.4567,
        "metrics": Metrics(0.5, 0.25, 0.75, 0.000033, 9.5),
        "metadata": {"lang": "de", "ключ": "значение"},
    }
    return Embedding(**(values | changes))


def check_message(error: InvalidEvent) -> None:
    assert "\n" not in str(error)


def read_back(value: bytes, schema: Path = EMBEDDING) -> Any:
    assert value[:10] == header(schema)
    stream = io.BytesIO(value[10:])
    datum = fastavro.schemaless_reader(stream, parsed(schema), None)
    assert stream.read() == b""
    return datum


@pytest.mark.parametrize("input_format", [InputFormat.AUTO, InputFormat.BARE])
async def test_a_bare_record_is_decoded(input_format: InputFormat) -> None:
    assert await a_codec(input_format=input_format).decode("texts", bare(EVENT)) == EVENT


@pytest.mark.parametrize("input_format", [InputFormat.AUTO, InputFormat.SINGLE_OBJECT])
async def test_a_single_object_record_is_decoded(input_format: InputFormat) -> None:
    assert await a_codec(input_format=input_format).decode("texts", header() + bare(EVENT)) == EVENT


async def test_a_producer_may_leave_out_all_but_the_text() -> None:
    assert await a_codec().decode("texts", bare({"text": "hello"})) == {
        "id": None,
        "text": "hello",
        "task_type": None,
        "output_dimensionality": None,
        "metadata": {},
    }


async def test_the_fingerprint_picks_among_several_schemas(tmp_path: Path) -> None:
    other = a_schema(tmp_path, {"type": "record", "name": "Other", "fields": [{"name": "body", "type": "string"}]})
    codec = a_codec(TEXT_EVENT, other)
    assert await codec.decode("texts", header(other) + bare({"body": "b"}, other)) == {"body": "b"}
    assert await codec.decode("texts", header() + bare(EVENT)) == EVENT
    with pytest.raises(InvalidEvent, match="a bare record, but 2 schemas"):
        await codec.decode("texts", bare(EVENT))


async def test_schemas_that_differ_in_words_only_are_one(tmp_path: Path) -> None:
    reworded = a_schema(tmp_path, json.loads(TEXT_EVENT.read_text()) | {"doc": "in other words"})
    assert await a_codec(TEXT_EVENT, reworded).decode("texts", bare(EVENT)) == EVENT


async def test_an_unknown_fingerprint_is_invalid_and_named() -> None:
    with pytest.raises(InvalidEvent, match="unknown schema fingerprint 0102030405060708"):
        await a_codec().decode("texts", b"\xc3\x01" + bytes(range(1, 9)) + bare(EVENT))


@pytest.mark.parametrize("size", range(2, 10))
async def test_a_cut_header_is_invalid(size: int) -> None:
    with pytest.raises(InvalidEvent, match="header takes 10 bytes"):
        await a_codec().decode("texts", header()[:size])


async def test_single_object_can_be_demanded() -> None:
    with pytest.raises(InvalidEvent, match="does not begin with C3 01"):
        await a_codec(input_format=InputFormat.SINGLE_OBJECT).decode("texts", bare(EVENT))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (
            b"\0\0\0\0\7" + bare(EVENT),
            r"Schema Registry framing \(00 and schema id 7\), which this version does not read",
        ),
        (b'{"text": "hello"}', "is it JSON"),
    ],
)
async def test_what_cannot_be_read_says_what_it_may_be_instead(value: bytes, hint: str, tmp_path: Path) -> None:
    other = a_schema(tmp_path, {"type": "record", "name": "Other", "fields": [{"name": "body", "type": "string"}]})
    codecs = (a_codec(), a_codec(input_format=InputFormat.SINGLE_OBJECT), a_codec(TEXT_EVENT, other))
    for codec in codecs:
        with pytest.raises(InvalidEvent, match=hint) as caught:
            await codec.decode("texts", value)
        check_message(caught.value)


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\0", b"\0\x20hello", b"\x02\x61"])
async def test_a_bare_record_that_was_cut_off_is_not_taken_for_something_else(value: bytes) -> None:
    with pytest.raises(InvalidEvent) as caught:
        await a_codec().decode("texts", value)
    assert "it begins" not in str(caught.value)


async def test_a_bare_record_may_begin_with_the_marker_if_bare_is_demanded(tmp_path: Path) -> None:
    schema = a_schema(tmp_path, {"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]})
    value = bare({"n": -98}, schema)
    assert value == b"\xc3\x01"
    assert await a_codec(schema, input_format=InputFormat.BARE).decode("texts", value) == {"n": -98}
    with pytest.raises(InvalidEvent):
        await a_codec(schema).decode("texts", value)
    assert await a_codec(schema).decode("texts", b"\xc3\x02") == {"n": -162}


@given(value=st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: header() + tail))
@pytest.mark.parametrize("input_format", list(InputFormat))
async def test_any_bytes_decode_to_a_record_or_are_invalid(input_format: InputFormat, value: Any) -> None:
    try:
        assert isinstance(await a_codec(input_format=input_format).decode("texts", value), dict)
    except InvalidEvent as error:
        check_message(error)


@pytest.mark.parametrize(
    ("schema", "fingerprint"),
    [("null", "8a8f25cce724dd63"), ("int", "8f5c393f1ad57572")],
)
def test_fingerprints_are_those_of_avro(schema: Any, fingerprint: str) -> None:
    form = fastavro.schema.to_parsing_canonical_form(fastavro.parse_schema(schema))
    assert fastavro.schema.fingerprint(form, "CRC-64-AVRO") == fingerprint


def test_the_canonical_form_has_full_names_and_no_words() -> None:
    enum = {"type": "enum", "name": "E", "doc": "words", "symbols": ["A"]}
    number = {"type": "long", "logicalType": "timestamp-millis"}
    fields = [
        {"name": "f", "type": enum, "default": "A"},
        {"name": "g", "type": ["null", "E"]},
        {"name": "h", "type": number},
    ]
    schema = {"type": "record", "name": "R", "namespace": "a.b", "aliases": ["Q"], "fields": fields}
    assert fastavro.schema.to_parsing_canonical_form(fastavro.parse_schema(schema)) == (
        '{"name":"a.b.R","type":"record","fields":[{"name":"f","type":{"name":"a.b.E","type":"enum","symbols":["A"]}},'
        '{"name":"g","type":["null","a.b.E"]},{"name":"h","type":"long"}]}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\udcff",
        "3",
        "{}",
        '"unknown"',
        '{"type": "record", "name": "R"}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Missing"}]}',
        '{"type": "record", "name": "R", "fields": 3}',
        '{"type": "fixed", "name": "F", "size": -1}',
        '{"type": "fixed", "name": "F", "size": "4"}',
        '{"type": "enum", "name": "E", "symbols": 3}',
        '{"type": "array"}',
        '{"type": {"type": ["null"]}}',
        "null",
        '"string"',
        '{"type": "array", "items": "string"}',
        "[" * 100_000,
        "[[[3]]]",
    ],
    ids=lambda text: text[:20].encode("ascii", "replace").decode(),
)
def test_a_file_that_is_no_schema_is_a_configuration_error_that_names_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.avsc"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError, match=r"broken\.avsc is no Avro schema") as caught:
        a_codec(path)
    assert "\n" not in str(caught.value)


def test_a_missing_schema_file_is_a_configuration_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.avsc: No such file"):
        a_codec(tmp_path / "absent.avsc")


def test_bare_input_with_several_schemas_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="needs one schema"):
        a_codec(TEXT_EVENT, EMBEDDING, input_format=InputFormat.BARE)
    with pytest.raises(ConfigurationError, match="no input schema"):
        AvroCodec((), InputFormat.AUTO, EMBEDDING, REDACTED)


def test_a_folder_stands_for_the_schemas_in_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no \.avsc file"):
        schema_files(tmp_path)
    first, second = a_schema(tmp_path, "int", "b.avsc"), a_schema(tmp_path, "int", "a.avsc")
    a_schema(tmp_path, "int", "c.json")
    assert schema_files(tmp_path) == (second, first)
    assert schema_files(first) == (first,)


def test_a_schema_that_is_not_bundled_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"schema no\.avsc is not part of this installation"):
        bundled_schema("no.avsc")


@pytest.mark.parametrize("path", [TEXT_EVENT, EMBEDDING, REDACTED], ids=lambda path: path.name)
def test_every_field_of_our_schemas_is_documented(path: Path) -> None:
    def undocumented(schema: Any) -> list[str]:
        if not isinstance(schema, dict) or schema["type"] != "record":
            return []
        own = [] if schema.get("doc") else [schema["name"]]
        fields = schema["fields"]
        return (
            own + [f["name"] for f in fields if not f.get("doc")] + [n for f in fields for n in undocumented(f["type"])]
        )

    assert undocumented(json.loads(path.read_text())) == []


def test_an_embedding_is_read_back_by_fastavro() -> None:
    assert read_back(a_codec().encode(an_embedding())) == {
        "id": "doc-1",
        "vector": [0.25, -1.5, 3.0],
        "dimensions": 3,
        "model": "gemini-embedding-001",
        "task_type": "CLUSTERING",
        "request_id": "job-1",
        "source": {
            "topic": "texts",
            "partition": 3,
            "offset": 2**40,
            "timestamp": datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC),
        },
        "text_sha256": "ab" * 32,
        "embedded_at": datetime(2023, 11, 14, 22, 13, 21, 457_000, tzinfo=UTC),
        "attempts": 2,
        "metrics": {"inference_time": 0.5, "queue_time": 0.25, "total_time": 0.75, "cost": 0.000033},
        "metadata": {"lang": "de", "ключ": "значение"},
    }


def test_what_is_not_known_is_null() -> None:
    unknown_time = Record(TopicPartition("texts", 0), 0, -1, None, b"", (), 1)
    datum = read_back(
        a_codec().encode(an_embedding(task_type=None, record=unknown_time, metrics=Metrics(), metadata={}))
    )
    assert datum["task_type"] is None
    assert datum["source"]["timestamp"] is None
    assert set(datum["metrics"].values()) == {None}
    assert datum["metadata"] == {}


@given(
    vector=st.lists(st.floats(width=32, allow_nan=False), max_size=70).map(lambda numbers: array("f", numbers)),
    event_id=st.text(min_size=1, max_size=80),
    offset=st.integers(0, 2**63 - 1),
    attempt=st.integers(1, 2**31 - 1),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=80), max_size=70),
)
def test_the_bytes_are_those_that_fastavro_writes(
    vector: "array[float]", event_id: str, offset: int, attempt: int, metadata: dict[str, str]
) -> None:
    record = Record(TopicPartition("texts", 3), offset, 1_700_000_000_123, None, b"", (), 1)
    value = a_codec().encode(
        an_embedding(vector=vector, id=event_id, record=record, job=Job("j", 0.0, attempt), metadata=metadata)
    )
    datum = read_back(value)
    assert (datum["id"], datum["source"]["offset"], datum["attempts"], datum["metadata"]) == (
        event_id,
        offset,
        attempt,
        metadata,
    )
    assert array("f", datum["vector"]) == vector
    assert datum["dimensions"] == len(vector)
    assert bare(datum, EMBEDDING) == value[10:]


def test_a_clock_before_1970_is_written_all_the_same() -> None:
    assert read_back(a_codec().encode(an_embedding(embedded_at=-1.5)))["embedded_at"].timestamp() == -1.5


def test_a_long_vector_keeps_its_bits() -> None:
    vector = array("f", [math.sin(i) for i in range(3072)])
    assert array("f", read_back(a_codec().encode(an_embedding(vector=vector)))["vector"]) == vector


def test_a_string_without_utf8_is_an_invalid_result() -> None:
    with pytest.raises(InvalidResult, match="lone surrogate"):
        a_codec().encode(an_embedding(job=Job("\ud800", 0.0, 1)))


def test_a_vector_of_doubles_is_a_bug() -> None:
    with pytest.raises(ValueError, match="typecode"):
        a_codec().encode(an_embedding(vector=array("d", [1.0])))


def test_an_output_schema_that_the_worker_does_not_write_is_a_configuration_error(tmp_path: Path) -> None:
    def refused(change: Any) -> str:
        schema = json.loads(EMBEDDING.read_text())
        change(schema["fields"])
        with pytest.raises(ConfigurationError, match=r"out\.avsc") as caught:
            AvroCodec((TEXT_EVENT,), InputFormat.AUTO, a_schema(tmp_path, schema, "out.avsc"), REDACTED)
        return str(caught.value)

    assert "says vector array<float> where the worker writes id string" in refused(lambda fields: fields.pop(0))
    assert "has 17 fields" in refused(lambda fields: fields.pop())
    assert "has 19 fields" in refused(lambda fields: fields.append({"name": "extra", "type": "int"}))
    assert "says vector array<double>" in refused(lambda fields: fields[1]["type"].update(items="double"))
    assert "says task_type string|null" in refused(lambda fields: fields[4].update(type=["string", "null"], default=""))
    assert "says source.offset int" in refused(lambda fields: fields[6]["type"]["fields"][2].update(type="int"))
    assert "timestamp-micros" in refused(lambda fields: fields[8]["type"].update(logicalType="timestamp-micros"))


def test_a_field_that_no_input_schema_has_is_said_at_start(tmp_path: Path) -> None:
    schema = tmp_path / "mine.avsc"
    schema.write_text('{"type": "record", "name": "Doc", "fields": [{"name": "title", "type": "string"}]}')
    codec = AvroCodec([schema], InputFormat.AUTO, bundled_schema("embedding.avsc"), REDACTED)
    codec.require_fields({"title"})
    with pytest.raises(ConfigurationError, match="names body, which no input schema has; there are: title"):
        codec.require_fields({"body"})


@given(
    st.builds(
        Redacted, st.text(), st.text("0123456789abcdef", max_size=64), st.integers(0, 2**24), st.integers(0, 2**24)
    )
)
def test_a_redacted_dead_letter_is_read_back_by_its_schema(redacted: Redacted) -> None:
    value = a_codec().encode_redacted(redacted)
    assert value[:10] == header(REDACTED)
    assert read_back(value, REDACTED) == {
        "id": redacted.id,
        "text_sha256": redacted.text_sha256,
        "characters": redacted.characters,
        "bytes": redacted.utf8_bytes,
    }


def test_an_id_that_has_no_utf_8_is_null_in_a_redacted_dead_letter() -> None:
    value = a_codec().encode_redacted(Redacted("\ud800", "00", 1, 3))
    assert read_back(value, REDACTED) == {"id": None, "text_sha256": "00", "characters": 1, "bytes": 3}


def test_a_schema_of_redacted_dead_letters_that_says_something_else_is_refused(tmp_path: Path) -> None:
    fields = [field for field in json.loads(REDACTED.read_text())["fields"] if field["name"] != "bytes"]
    schema = a_schema(tmp_path, {"type": "record", "name": "Redacted", "fields": fields}, "redacted.avsc")
    with pytest.raises(ConfigurationError, match="has 3 fields, the worker writes 4"):
        AvroCodec((TEXT_EVENT,), InputFormat.AUTO, EMBEDDING, schema)
