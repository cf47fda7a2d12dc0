"""The vector inside the API's `output`, whose shape the vendor does not publish."""

import json
import sys
from array import array
from math import isfinite
from struct import Struct
from struct import error as StructError  # noqa: N812 - the library's own name says too little

from worker.errors import InvalidResult

_LONGEST = 65_536
_NUMBERS = frozenset((int, float))
_WITH_ARTICLE = {"object": "an object", "null": "null", "unknown": "something unknown"}
_ZERO, _ONE = Struct("f").pack(0.0), Struct("f").pack(1.0)
_UPPERMOST = 3 if sys.byteorder == "little" else 0
"""Of the four bytes of a float32, the one with the sign and the upper seven of eight bits of the exponent."""
_LARGEST = (0x7F, 0xFF)
"""What it is in an infinity, in no number at all, and in numbers from 2^127 on."""

_Path = tuple[str | int, ...]
_PATHS: tuple[_Path, ...] = (
    ("embedding",),
    ("embedding", "values"),
    ("values",),
    ("embeddings", 0),
    ("embeddings", 0, "values"),
    ("data", 0, "embedding"),
    ("predictions", 0, "embeddings", "values"),
)
"""Where models of this family put the vector in an object. A 0 stands for the only item of a list: one text was sent,
so of two vectors nobody could say which one is its own."""
_KNOWN = tuple(dict.fromkeys(str(path[0]) for path in _PATHS))


def extract(output: object, dimension: int | None) -> "array[float]":
    """The vector in `output` (parsed JSON), as float32; `dimension` is the length asked of the API, None for its
    default.

    Accepts a flat list of numbers, a list holding one such list, an object with such a list at one of the known places,
    and a JSON string of any of those. Raises InvalidResult, which tells the shape that came but nothing of its content,
    for everything else: no numbers at all, more than 65,536, another length than `dimension`, anything that is no
    number or is not finite as float32.
    """
    if isinstance(output, str):
        output = _parse(output)
    numbers = _find(output)
    if not numbers:
        raise InvalidResult("the vector is empty")
    if len(numbers) > _LONGEST:
        raise InvalidResult(f"the vector has {len(numbers)} numbers, more than {_LONGEST}")
    if dimension is not None and len(numbers) != dimension:
        raise InvalidResult(f"the vector has {len(numbers)} numbers where {dimension} were asked for")
    return _float32(numbers)


def _parse(text: str) -> object:
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidResult(f"the output is a string of {len(text)} characters that is not JSON") from None
    return parsed


def _find(output: object) -> list[object]:
    """The list where the vector should be. Looks no deeper than the known places, however deep the JSON is."""
    if isinstance(output, list):
        nested = len(output) == 1 and isinstance(output[0], list)
        return output[0] if nested else output
    if isinstance(output, dict):
        for path in _PATHS:
            found = _at(output, path)
            if isinstance(found, list):
                return found
    raise InvalidResult(f"no vector in the output, which is {_describe(output)}")


def _at(value: object, path: _Path) -> object:
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and len(value) == 1 else None
    return value


def _float32(numbers: list[object]) -> "array[float]":
    """One call of struct is three times as fast as `array("f", numbers)`, and refuses all that is no number but booleans. Those
    become exactly 0.0 or 1.0, so only where such bytes occur the types are looked at one by one. A sum is finite exactly if
    every summand is, because 65,536 times the largest float32 is far below the largest float. The uppermost bytes (sign and most
    of the exponent) show at once whether there is anything to look for at all: in a usual vector there is not."""
    try:
        packed = Struct(f"{len(numbers)}f").pack(*numbers)
    except StructError:
        _refuse_strangers(numbers)
        raise InvalidResult(f"the vector of {len(numbers)} holds a number outside float32") from None
    except OverflowError:
        raise InvalidResult(f"the vector of {len(numbers)} holds a number outside float32") from None
    uppermost = packed[_UPPERMOST::4]
    if (_ZERO[_UPPERMOST] in uppermost or _ONE[_UPPERMOST] in uppermost) and (_ZERO in packed or _ONE in packed):
        _refuse_strangers(numbers)
    vector = array("f", packed)
    if any(largest in uppermost for largest in _LARGEST) and not isfinite(sum(vector)):
        raise InvalidResult(f"the vector of {len(numbers)} holds a number that is not finite")
    return vector


def _refuse_strangers(numbers: list[object]) -> None:
    strangers = set(map(type, numbers)) - _NUMBERS
    if strangers:
        kinds = ", ".join(_WITH_ARTICLE.get(name, f"a {name}") for name in sorted(map(_name, strangers)))
        raise InvalidResult(f"the vector of {len(numbers)} holds {kinds} where a number belongs")


def _describe(value: object) -> str:
    if isinstance(value, dict):
        known = [name for name in _KNOWN if name in value]
        inner = "; ".join(f"{name}: {_name(type(value[name]))}" for name in known)
        return f"an object of {len(value)} members ({inner or 'none of them known'})"
    return f"of type {_name(type(value))}"


def _name(kind: type) -> str:
    names = {
        bool: "boolean",
        type(None): "null",
        str: "string",
        list: "list",
        dict: "object",
        int: "number",
        float: "number",
    }
    return names.get(kind, "unknown")
