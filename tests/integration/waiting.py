"""Waiting for conditions, never for time."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

Found = TypeVar("Found")

_PAUSE: Final = 0.05


def until(look: Callable[[], Found], seconds: float, what: str, detail: Callable[[], str] = lambda: "") -> Found:
    """What `look` returns as soon as that is true. Raises AssertionError after `seconds`, with `detail` of that moment."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen {found!r}\n{detail()}")
        time.sleep(_PAUSE)
