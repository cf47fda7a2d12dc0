"""`demo --input`: the user's own texts, one a line."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from worker.commands.demo.events import TextInput
from worker.errors import ConfigurationError

LARGEST_FILE: Final = 64 * 1024 * 1024
LONGEST_LINE: Final = 1024 * 1024
"""Bytes; the embedded broker keeps 5 MiB a partition, and a text over 64 KiB is a dead letter anyway."""

_SHOWN_PROBLEMS: Final = 5
_INT32: Final = range(-(2**31), 2**31)
_JSON_SUFFIXES: Final = frozenset({".jsonl", ".ndjson", ".json"})


class LineError(ValueError):
    """Why a line cannot become an event."""


class BadLines(ConfigurationError):
    """Lines that cannot become events; `problems` has a sentence for each of the first ones."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def read_inputs(name: str) -> list[TextInput]:
    """The texts of a file, or of standard input for `-`. Lines are JSON in a .jsonl file, and on standard input if the first
    one begins with a brace; else each line is a text. Blank lines are skipped.

    Raises ConfigurationError, which names the file and the first bad lines."""
    lines = _lines(name)
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not filled:
        raise ConfigurationError(f"--input {name}: no line with a text in it; write one text a line")
    is_json = filled[0][1].lstrip().startswith("{") if name == "-" else Path(name).suffix.lower() in _JSON_SUFFIXES
    inputs: list[TextInput] = []
    bad: list[str] = []
    for number, line in filled:
        try:
            inputs.append(_from_line(line, is_json=is_json))
        except LineError as error:
            bad.append(f"--input {name}: line {number}: {error}")
    if bad:
        more = len(bad) - _SHOWN_PROBLEMS
        left = f"--input {name}: and {more} more bad line{'s' if more > 1 else ''}"
        raise BadLines(bad[:_SHOWN_PROBLEMS] + ([left] if more > 0 else []))
    return inputs


def _lines(name: str) -> list[str]:
    try:
        if name == "-":
            content = _bounded(sys.stdin.buffer)
        else:
            with Path(name).open("rb") as file:
                content = _bounded(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"--input {name}: cannot be read: {reason}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"--input {name}: line {number} is not UTF-8; convert the file, e.g. with iconv -t utf-8"
        ) from None
    # splitlines() would also part texts at form feeds and Unicode's line separators
    return [line.removesuffix("\r") for line in text.split("\n")]


def _bounded(file: BinaryIO) -> bytes:
    content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(
            f"larger than {LARGEST_FILE // 1024**2} MiB; the demo keeps everything in memory, take a part of it"
        )
    return content


def _from_line(line: str, *, is_json: bool) -> TextInput:
    if len(line) > LONGEST_LINE or len(line.encode()) > LONGEST_LINE:
        raise LineError(f"longer than {LONGEST_LINE // 1024**2} MiB; split it, a text may have 64 KiB")
    return _from_json(line) if is_json else TextInput(line)


def _from_json(line: str) -> TextInput:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LineError(f"not JSON ({error.msg} at column {error.colno})") from None
    if isinstance(value, str):
        return TextInput(value)
    if not isinstance(value, dict):
        raise LineError('not a JSON object or string; write {"text": "..."}')
    text = value.get("text")
    if not isinstance(text, str):
        raise LineError('no string in "text"; write {"text": "..."}')
    return TextInput(
        text,
        _id(value.get("id")),
        _task_type(value.get("task_type")),
        _dimensionality(value.get("output_dimensionality")),
        _metadata(value.get("metadata")),
    )


def _id(value: object) -> str | None:
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return None if value is None else str(value)
    raise LineError('"id" is neither a string nor an integer')


def _task_type(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise LineError('"task_type" is not a string')


def _dimensionality(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value in _INT32):
        return value
    raise LineError('"output_dimensionality" is not an integer of 32 bits')


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or any(isinstance(entry, dict | list) for entry in value.values()):
        raise LineError('"metadata" is not an object of strings, numbers or booleans')
    return {
        name: entry if isinstance(entry, str) else orjson.dumps(entry).decode()
        for name, entry in value.items()
        if entry is not None
    }
