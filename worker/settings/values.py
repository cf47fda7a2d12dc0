"""From what was written to a typed value, strictly: a number is a number, true is true. Raises ValueError whose text says
what is wanted and never repeats what was written."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.settings.catalogue import Kind, Setting

INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")

_TYPES: Mapping[Kind, type] = {
    Kind.INTEGER: int,
    Kind.BOOLEAN: bool,
    Kind.OBJECT: dict,
    Kind.LIST: tuple,
    Kind.NUMBER: float,
}


def from_text(setting: Setting, text: str) -> object:
    """The value of a string from the environment or a command line."""
    match setting.kind:
        case Kind.INTEGER if INTEGER.fullmatch(text):
            return int(text)
        case Kind.NUMBER if NUMBER.fullmatch(text):
            return from_typed(setting, float(text))
        case Kind.BOOLEAN if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        case Kind.LIST:
            return from_typed(setting, parse_json(text) if text.lstrip().startswith("[") else _split(text))
        case Kind.OBJECT:
            return from_typed(setting, parse_json(text))
        case Kind.TEXT | Kind.CHOICE | Kind.PATH:
            return from_typed(setting, text)
    raise ValueError(setting.words)


def from_typed(setting: Setting, value: object) -> object:
    """The value of something that already has a type, such as TOML's or a flag's. Nothing is converted but an integer
    to a number, a string to a path, and a comma list to a list."""
    if setting.kind is Kind.LIST and isinstance(value, str):
        return from_text(setting, value)
    if not _fits(setting.kind, value):
        raise ValueError(setting.words)
    if setting.kind is Kind.PATH:
        return Path(str(value))
    return tuple(value) if isinstance(value, list) else value


def _fits(kind: Kind, value: object) -> bool:
    match kind, value:
        # Python's bool is an int, ours is not.
        case Kind.INTEGER | Kind.NUMBER, bool():
            return False
        case Kind.NUMBER, int():
            return True
        case Kind.NUMBER, float():
            return math.isfinite(value)
        case Kind.LIST, list() | tuple():
            return all(isinstance(item, str) for item in value)
        case Kind.PATH, str() | Path():
            return str(value) != "" and "\0" not in str(value)
    return isinstance(value, _TYPES.get(kind, str))


def parse_json(text: str) -> object:
    """JSON in which no object has a name twice. Raises ValueError without a word of the text."""
    try:
        parsed: object = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        where = str(error) if isinstance(error, _TwiceInAnObject) else "its numbers or its nesting"
    else:
        return parsed
    raise ValueError(f"valid JSON (look at {where})")


class _TwiceInAnObject(ValueError):
    """JSON that Python would take, keeping the last of two values; which of them counts should not be a guess."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _TwiceInAnObject("a name that an object has twice")
    return made


def _split(text: str) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise ValueError("a comma list or a JSON list of strings, without empty items")
    return items
