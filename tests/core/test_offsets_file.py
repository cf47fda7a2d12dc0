"""Committed offsets as a file: what was written is read, and nothing else."""

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.offsets_file import LARGEST_FILE, OffsetsFile, UnusableFile, read, written
from worker.model import Position, TopicPartition

NAMES = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=30).filter(
    lambda n: n not in {".", ".."}
)
POSITIONS = st.dictionaries(
    st.builds(TopicPartition, NAMES, st.integers(0, 2**31 - 1)),
    st.builds(
        Position, st.integers(0, 2**63 - 1), st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=50)
    ),
    max_size=5,
)
FILES = st.builds(
    OffsetsFile, NAMES, NAMES, st.just("2027-01-15T08:00:00.000Z"), st.dictionaries(NAMES, NAMES, max_size=3), POSITIONS
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

GOOD: dict[str, Any] = {
    "format": "embedding-worker offsets",
    "version": 1,
    "group": "g",
    "cluster": "c",
    "exported_at": "2027-01-15T08:00:00.000Z",
    "topics": {"texts": "id"},
    "offsets": [{"topic": "texts", "partition": 0, "offset": 7, "metadata": "ewl1"}],
}


def changed(**fields: object) -> bytes:
    return json.dumps(GOOD | fields).encode()


def with_offset(**fields: object) -> bytes:
    return changed(offsets=[GOOD["offsets"][0] | fields])


@given(FILES)
def test_what_was_written_is_read(file: OffsetsFile) -> None:
    assert read(written(file).encode()) == file


def test_a_line_holds_one_partition() -> None:
    positions = {TopicPartition("t", number): Position(number, "m") for number in (2, 0, 1)}
    text = written(OffsetsFile("g", "c", "now", {"t": "id"}, positions))
    assert [json.loads(line.rstrip(","))["partition"] for line in text.splitlines()[1:-1]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b"[]", "not made by pending --export"),
        (b"{}", "not made by pending --export"),
        (changed(format="kafka"), "not made by pending --export"),
        (changed(version=2), "version is not 1"),
        (changed(version=True), "version is not 1"),
        (changed(version=[1]), "version is not 1"),
        (changed(group="a b"), "its group is not a name"),
        (changed(group=None), "its group is not a name"),
        (changed(cluster=5), "its cluster is not a short text"),
        (changed(cluster="\x1b[2J"), "its cluster is not a short text"),
        (changed(exported_at="x" * 1000), "exported_at is not a short text"),
        (changed(topics=[]), "topics or offsets are missing"),
        (changed(topics={"\n": "id"}), "a topic is not a name"),
        (changed(topics={"t": 1}), "a topic's id is not a short text"),
        (changed(offsets={}), "topics or offsets are missing"),
        (changed(offsets=[None]), "entry 0 of its offsets is not an object"),
        (changed(offsets=GOOD["offsets"] * 2), "texts-0 is in it twice"),
        (with_offset(topic="../x"), "the topic of entry 0"),
        (with_offset(partition=-1), "not a number that Kafka can have"),
        (with_offset(partition=2**31), "not a number that Kafka can have"),
        (with_offset(partition=True), "not a number that Kafka can have"),
        (with_offset(offset=-1), "not a number that Kafka can have"),
        (with_offset(offset=2**63), "not a number that Kafka can have"),
        (with_offset(offset=1.0), "not a number that Kafka can have"),
        (with_offset(offset="1"), "not a number that Kafka can have"),
        (with_offset(metadata=None), "metadata of entry 0"),
        (with_offset(metadata="ü"), "metadata of entry 0"),
        (with_offset(metadata="a\0b"), "metadata of entry 0"),
        (with_offset(metadata="x" * 70_000), "metadata of entry 0"),
        (b" " * (LARGEST_FILE + 1), "larger than"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_with_the_reason(content: bytes, words: str) -> None:
    with pytest.raises(UnusableFile, match=words):
        read(content)


@given(JSON, st.sampled_from(sorted(GOOD)))
def test_a_file_in_which_anything_stands_is_read_or_refused(value: object, name: str) -> None:
    for content in (changed(**{name: value}), with_offset(**{name: value}), json.dumps(value).encode()):
        try:
            read(content)
        except UnusableFile as error:
            assert str(error).isprintable()  # noqa: PT017


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(UnusableFile):
        read(content)
