"""What becomes of a decoded datum: paths, templates, ids, the event's wishes, and everything hostile."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.extraction import MAX_METADATA_BYTES, TASK_TYPES, InputMapping, compile_mapping, fields_named
from worker.errors import ConfigurationError, InvalidEvent
from worker.model import Record, TextEvent, TopicPartition


def a_record(key: bytes | None = None) -> Record:
    return Record(TopicPartition("texts", 3), 17, 1_700_000_000_000, key, b"", (), 1)


def extract(
    datum: object, *, text: str = "text", id_path: str | None = None, limit: int = 65536, key: bytes | None = None
) -> TextEvent:
    return compile_mapping(InputMapping(text, id_path, limit))(datum, a_record(key))


def test_a_full_event_is_taken_over() -> None:
    datum = {
        "id": "a-1",
        "text": "Grüße",
        "task_type": "CLUSTERING",
        "output_dimensionality": 768,
        "metadata": {"lang": "de"},
    }
    assert extract(datum) == TextEvent("a-1", "Grüße", "CLUSTERING", 768, {"lang": "de"})


def test_an_event_with_text_alone_asks_for_nothing() -> None:
    assert extract({"text": "hello"}, key=b"k") == TextEvent("k", "hello", None, None, {})


def test_nulls_count_as_not_said() -> None:
    datum = {"id": None, "text": "t", "task_type": None, "output_dimensionality": None, "metadata": None}
    assert extract(datum, key=b"k") == TextEvent("k", "t")


@pytest.mark.parametrize(("datum", "kind"), [("text", "str"), (7, "int"), (None, "null"), ([{"text": "a"}], "list")])
def test_a_datum_that_is_no_record_is_invalid(datum: Any, kind: str) -> None:
    with pytest.raises(InvalidEvent, match=f"not a record but {kind}"):
        extract(datum)


@pytest.mark.parametrize(
    ("datum", "message"),
    [
        ({}, "field text is missing"),
        ({"text": None}, "not a string but null"),
        ({"text": 5}, "not a string but int"),
        ({"text": b"bytes"}, "not a string but bytes"),
        ({"text": ""}, "empty or only white space"),
        ({"text": " \t\n\u2003"}, "empty or only white space"),
        ({"text": "a\ud800b"}, "lone surrogate"),
    ],
)
def test_an_unusable_text_is_invalid(datum: Any, message: str) -> None:
    with pytest.raises(InvalidEvent, match=message):
        extract(datum)


@pytest.mark.parametrize("text", ["abcdefgh", "éééé", "😀😀"])
def test_the_limit_counts_bytes_of_utf8(text: str) -> None:
    assert extract({"text": text}, limit=8).text == text
    with pytest.raises(InvalidEvent, match="longer than 8 bytes"):
        extract({"text": text + "a"}, limit=8)


def test_a_dotted_path_leads_into_nested_records() -> None:
    assert extract({"doc": {"body": {"en": "hello"}}}, text="doc.body.en").text == "hello"


@pytest.mark.parametrize("datum", [{"doc": {}}, {"doc": None}, {"doc": "body"}, {"doc.body": "hello"}])
def test_a_path_that_leads_nowhere_is_invalid(datum: Any) -> None:
    with pytest.raises(InvalidEvent, match=r"field doc\.body is missing"):
        extract(datum, text="doc.body")


def test_a_template_puts_fields_together() -> None:
    datum = {"title": "Owls", "doc": {"body": "They hoot."}, "year": 1999, "score": 0.5, "draft": False}
    template = "{title} ({year})\n\n{doc.body} {{{score}}} {draft}"
    assert extract(datum, text=template).text == "Owls (1999)\n\nThey hoot. {0.5} false"


def test_what_a_field_holds_is_not_read_as_a_template() -> None:
    assert extract({"a": "{b}", "b": "secret"}, text="{a}").text == "{b}"


def test_a_null_field_of_a_template_is_empty_but_a_missing_one_is_invalid() -> None:
    assert extract({"title": None, "body": "b"}, text="{title}{body}").text == "b"
    with pytest.raises(InvalidEvent, match="field title is missing"):
        extract({"body": "b"}, text="{title}{body}")


@pytest.mark.parametrize("value", [b"x", [1], {"a": 1}])
def test_a_template_takes_scalars_only(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="field a does not fit into a text"):
        extract({"a": value}, text="{a}")


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", " a", "a. b", "{", "}", "{a", "a}", "{a}}", "{{a}}", "{}", "{ a}", "{a{b}}"]
)
def test_a_text_setting_that_cannot_be_meant_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="WORKER_INPUT__TEXT"):
        compile_mapping(InputMapping(text, None, 100))


@pytest.mark.parametrize("path", ["", "a..b", "{a}", " "])
def test_an_id_setting_that_cannot_be_meant_is_a_configuration_error(path: str) -> None:
    with pytest.raises(ConfigurationError, match="WORKER_INPUT__ID"):
        compile_mapping(InputMapping("text", path, 100))


@pytest.mark.parametrize(
    ("datum_id", "key", "expected"),
    [
        ("a", b"k", "a"),
        (42, b"k", "42"),
        (True, b"k", "k"),
        ("", b"k", "k"),
        (None, b"k", "k"),
        ({"a": 1}, b"k", "k"),
        (None, "schlüssel".encode(), "schlüssel"),
        (None, b"\xff\x00", "ff00"),
        (None, b"", "texts-3-17"),
        (None, None, "texts-3-17"),
    ],
)
def test_the_id_is_the_field_else_the_key_else_its_hex_else_the_position(
    datum_id: object, key: bytes | None, expected: str
) -> None:
    assert extract({"id": datum_id, "text": "t"}, key=key).id == expected


def test_a_configured_id_is_taken_and_the_field_id_ignored() -> None:
    assert extract({"id": "no", "doc": {"uid": "yes"}, "text": "t"}, id_path="doc.uid", key=b"k").id == "yes"


@pytest.mark.parametrize("value", [None, "", 1.5, True, b"x", {}])
def test_a_configured_id_that_is_unusable_is_invalid(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="field uid is no id"):
        extract({"uid": value, "text": "t"}, id_path="uid", key=b"k")


def test_an_id_with_a_lone_surrogate_is_invalid() -> None:
    with pytest.raises(InvalidEvent, match="the id holds a lone surrogate"):
        extract({"id": "\udfff", "text": "t"})


@pytest.mark.parametrize("task_type", sorted(TASK_TYPES))
def test_the_task_types_of_the_contract_pass(task_type: str) -> None:
    assert extract({"text": "t", "task_type": task_type}).task_type == task_type


@pytest.mark.parametrize("value", ["", "clustering", "RETRIEVAL", 1, ["CLUSTERING"]])
def test_any_other_task_type_is_invalid(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="task_type"):
        extract({"text": "t", "task_type": value})


def test_a_wrong_task_type_is_named_shortly_and_in_ascii() -> None:
    with pytest.raises(InvalidEvent, match=r"task_type 'nope\\n\\xe4") as caught:
        extract({"text": "t", "task_type": "nope\nä" + "x" * 100_000})
    assert len(str(caught.value)) < 500
    assert str(caught.value).isascii()


@pytest.mark.parametrize("value", [1, 65536])
def test_dimensionalities_in_range_pass(value: Any) -> None:
    assert extract({"text": "t", "output_dimensionality": value}).output_dimensionality == value


@pytest.mark.parametrize("value", [0, -1, 65537, True, 3.0, "768"])
def test_other_dimensionalities_are_invalid(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="output_dimensionality"):
        extract({"text": "t", "output_dimensionality": value})


def test_scalars_in_metadata_become_text_and_nulls_are_left_out() -> None:
    metadata = {"s": "x", "i": 7, "f": 0.5, "yes": True, "none": None}
    assert extract({"text": "t", "metadata": metadata}).metadata == {"s": "x", "i": "7", "f": "0.5", "yes": "true"}


@pytest.mark.parametrize("value", ["x", [], 0, {"a": {}}, {"a": [1]}, {"a": b"x"}, {1: "a"}, {"\ud800": "a"}])
def test_metadata_that_is_no_flat_map_is_invalid(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="metadata"):
        extract({"text": "t", "metadata": value})


def test_metadata_is_bounded_in_all() -> None:
    half = "é" * (MAX_METADATA_BYTES // 4 - 1)
    metadata = {"ab": half, "cd": half}
    assert extract({"text": "t", "metadata": metadata}).metadata == metadata
    with pytest.raises(InvalidEvent, match="metadata is longer than 65536 bytes"):
        extract({"text": "t", "metadata": metadata | {"e": ""}})


def check_message(error: InvalidEvent) -> None:
    assert "\n" not in str(error)
    str(error).encode()


_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=8)
_TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)
_VALUES = st.recursive(
    _SCALARS | _TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3)
)


@given(
    datum=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("text", "id", "task_type", "output_dimensionality", "metadata", "title"), _VALUES),
    ),
    key=st.none() | st.binary(max_size=6),
    text=st.sampled_from(["text", "{title}: {text}", "metadata.a"]),
    id_path=st.sampled_from([None, "id", "metadata.b"]),
)
def test_whatever_a_datum_holds_it_is_an_event_that_can_be_written_or_invalid(
    datum: Any, key: bytes | None, text: str, id_path: str | None
) -> None:
    try:
        event = extract(datum, text=text, id_path=id_path, key=key)
    except InvalidEvent as error:
        check_message(error)
        return
    assert event.id
    assert event.text.strip()
    "".join([event.id, event.text, *event.metadata, *event.metadata.values()]).encode()


@given(template=st.text("ab.{} ", max_size=12))
def test_every_text_setting_is_usable_or_a_configuration_error(template: str) -> None:
    try:
        extracting = compile_mapping(InputMapping(template, None, 100))
    except ConfigurationError:
        return
    with pytest.raises(InvalidEvent):
        extracting({}, a_record())


def test_the_fields_that_a_mapping_begins_in_are_known_before_any_record_comes() -> None:
    mapping = InputMapping("{doc.title} {{braces}} {body}", "meta.id", 100)
    assert fields_named(mapping) == {"doc", "body", "meta"}
    assert fields_named(InputMapping("text", None, 100)) == {"text"}
