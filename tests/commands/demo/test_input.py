"""What `demo --input` makes of a file."""

import io
import json
import sys
from pathlib import Path

import pytest

from worker.commands.demo import input as demo_input
from worker.commands.demo.events import TextInput
from worker.commands.demo.input import BadLines, read_inputs
from worker.errors import ConfigurationError


def written(tmp_path: Path, name: str, content: str) -> str:
    (tmp_path / name).write_bytes(content.encode())
    return str(tmp_path / name)


def test_a_text_file_has_a_text_a_line_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    name = written(tmp_path, "a.txt", "\ufeffone\r\n\n  \n two\u2028still two\n{three}")
    assert [given.text for given in read_inputs(name)] == ["one", " two\u2028still two", "{three}"]


def test_all_that_a_json_line_may_say_is_read(tmp_path: Path) -> None:
    line = {
        "text": "t",
        "id": 7,
        "task_type": "X",
        "output_dimensionality": 8,
        "metadata": {"a": 1, "b": True, "c": None},
    }
    assert read_inputs(written(tmp_path, "a.jsonl", json.dumps(line))) == [
        TextInput("t", "7", "X", 8, {"a": "1", "b": "true"})
    ]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "5",
        "{}",
        '{"text": null}',
        '{"text": 5}',
        '{"text": "\\ud800"}',
        '{"text": "a", "id": 1.5}',
        '{"text": "a", "id": true}',
        '{"text": "a", "task_type": 1}',
        '{"text": "a", "output_dimensionality": "8"}',
        '{"text": "a", "output_dimensionality": true}',
        '{"text": "a", "output_dimensionality": 3000000000}',
        '{"text": "a", "metadata": []}',
        '{"text": "a", "metadata": {"b": {}}}',
        "[" * 100_000,
    ],
)
def test_a_bad_json_line_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadLines, match="line 3: "):
        read_inputs(written(tmp_path, "a.jsonl", f'"fine"\n\n{line}\n'))


def test_only_the_first_bad_lines_are_shown(tmp_path: Path) -> None:
    with pytest.raises(BadLines) as caught:
        read_inputs(written(tmp_path, "a.jsonl", "{\n" * 8))
    assert len(caught.value.problems) == 6
    assert caught.value.problems[-1].endswith("and 3 more bad lines")
    with pytest.raises(BadLines) as caught:
        read_inputs(written(tmp_path, "a.jsonl", "{\n" * 6))
    assert caught.value.problems[-1].endswith("and 1 more bad line")


def test_standard_input_is_json_lines_if_it_begins_with_a_brace(monkeypatch: pytest.MonkeyPatch) -> None:
    for content, text in ((b'{"text": "a"}\n', "a"), (b"a {b}\n", "a {b}")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert [given.text for given in read_inputs("-")] == [text]


def test_what_would_fill_the_memory_or_the_broker_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="line 2: longer than 1 MiB"):
        read_inputs(written(tmp_path, "long.txt", "a\n" + "b" * 1_100_000))
    monkeypatch.setattr(demo_input, "LARGEST_FILE", 10)
    with pytest.raises(ConfigurationError, match="larger than"):
        read_inputs(written(tmp_path, "large.txt", "a" * 11))


@pytest.mark.parametrize("name", ["", "a\0b", "."])
def test_a_name_that_is_no_file_is_one_clear_line(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_inputs(name)
