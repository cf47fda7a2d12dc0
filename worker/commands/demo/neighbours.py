"""Nearest neighbours among the demo's vectors."""

from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from operator import mul
from typing import Final

from worker.commands.demo.tally import Tally

_PAIRS: Final = 30_000
"""Most pairs of vectors that are compared, about 20 microseconds each at 768 dimensions."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A text and the texts nearest to it, the nearest first, each with its cosine similarity (-1 to 1)."""

    text: str
    vector: "array[float]"
    nearest: Sequence[tuple[float, str]]


def neighbours(tally: Tally, skip: Collection[bytes] = (), texts: int = 3, each: int = 3) -> list[Neighbours]:
    """For some texts, spread over the input, the nearest others. Of each part of the input the text is taken whose nearest
    neighbour is the closest. A text that occurs twice counts once; vectors of another length are not compared, and the
    events with the keys `skip` take no part."""
    vectors = _by_text(tally, skip)
    unit = {text: _unit(vector) for text, vector in vectors.items()}
    names = list(unit)
    tried = max(1, _PAIRS // (texts * max(1, len(names))))
    chosen = []
    parts = min(texts, len(names))
    for part in range(parts):
        names_of_part = names[part * len(names) // parts : (part + 1) * len(names) // parts]
        step = max(1, -(-len(names_of_part) // tried))
        found = [Neighbours(name, vectors[name], _nearest(name, unit, each)) for name in names_of_part[::step]]
        chosen.append(max(found, key=lambda one: one.nearest[0][0] if one.nearest else -1.0))
    return chosen


def _by_text(tally: Tally, skip: Collection[bytes]) -> "dict[str, array[float]]":
    """A vector for each different text, in the order of the keys: the topics do not tell the order of producing."""
    found: dict[str, array[float]] = {}
    for place in sorted(tally.vectors, key=lambda place: (tally.keys.get(place, b""), place)):
        text = tally.inputs.get(place)
        if text is not None and tally.keys[place] not in skip:
            found.setdefault(text, tally.vectors[place])
    return found


def _unit(vector: "array[float]") -> "array[float]":
    length = sqrt(sum(map(mul, vector, vector)))
    return array("f", [number / length for number in vector]) if length else vector


def _nearest(name: str, unit: "Mapping[str, array[float]]", count: int) -> list[tuple[float, str]]:
    own = unit[name]
    others = (
        (sum(map(mul, own, vector)), text) for text, vector in unit.items() if text != name and len(vector) == len(own)
    )
    return sorted(others, reverse=True)[:count]
