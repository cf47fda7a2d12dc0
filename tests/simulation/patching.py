"""How a bug is written down."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def patched(patches: Sequence[Patch]) -> Iterator[None]:
    """With these in place; everything is as it was afterwards."""
    before: list[tuple[Any, str, Any]] = []
    try:
        for patch in patches:
            before.append((patch.owner, patch.name, patch.owner.__dict__[patch.name]))
            setattr(patch.owner, patch.name, patch.put)
        yield
    finally:
        for owner, attribute, value in reversed(before):
            setattr(owner, attribute, value)
