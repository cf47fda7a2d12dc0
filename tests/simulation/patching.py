"""How a bug is written down."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Patch(NamedTuple):
    """`owner.name` is replaced by `put`; the owner is a class or a module."""

    owner: Any
    name: str
    put: Any


Bugs = dict[str, Callable[[], Sequence[Patch]]]


def bug(bugs: Bugs) -> Callable[[Callable[[], Sequence[Patch]]], Callable[[], Sequence[Patch]]]:
    """Enter a function among the bugs, under its name."""

    def enter(function: Callable[[], Sequence[Patch]]) -> Callable[[], Sequence[Patch]]:
        bugs[function.__name__] = function
        return function

    return enter
