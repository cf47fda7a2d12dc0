"""Runs of equal refusals: what many different events in a row are refused for is not the events' fault."""

import re
from collections import OrderedDict
from collections.abc import Hashable

LIMIT = 20
"""So many different events refused alike in a row are the configuration's fault (design, section "Failures")."""

REMEMBERED = 10_000
"""Events of which the last refusal is known."""

_LONGEST = 300
"""Characters of a signature: enough to tell messages apart, and a bound on what is kept."""

_LONGEST_READ = 4096
"""Characters of a message that are read at all."""

_VALUES = (
    re.compile(r"\"[^\"]*(?:\"|$)|`[^`]*(?:`|$)|“[^”]*(?:”|$)|«[^»]*(?:»|$)"),
    # A single quote opens only where no word goes on ("can't"). An unclosed quote was cut off: it ends with the text.
    re.compile(r"(?<!\w)'.*?(?:'(?!\w)|$)", re.DOTALL),
    re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    re.compile(r"\b(?=\w*\d)(?=\w*[^\W\d])\w{8,}\b"),
    re.compile(r"[-+]?\d+(?:[.,:]\d+)*"),
)
"""What differs between equal refusals, in order: quoted values, UUIDs, other ids (long words with digits), numbers."""


def signature(status: int | None, message: str) -> str:
    """What makes two refusals equal: the status, and the message without case, layout and the values in it (each becomes
    `#`). At most 300 characters after the status."""
    text = message[:_LONGEST_READ].lower()
    for values in _VALUES:
        text = values.sub("#", text)
    text = " ".join(text.split())[:_LONGEST]
    return text if status is None else f"{status} {text}"


class RefusalRun:
    """Counts the different events refused alike with no success between them. Keeps at most `LIMIT` of them."""

    def __init__(self) -> None:
        self._signature: str | None = None
        self._events: set[Hashable] = set()
        self._last_run: frozenset[Hashable] = frozenset()
        self._refused_at: OrderedDict[Hashable, int] = OrderedDict()
        self.successes = 0
        self.is_blamed = False  # the configuration, for this run
        self.was_blamed = False  # for the last one

    def refused(self, event: Hashable, signature: str) -> int:
        """Returns the length of the run that this refusal belongs to: how many different events it has, counted up to
        `LIMIT`. A signature other than the last starts a new run."""
        if signature != self._signature:
            self._signature = signature
            self._events.clear()
        if len(self._events) < LIMIT:
            self._events.add(event)
        return len(self._events)

    def refused_again(self, event: Hashable) -> bool:
        """To be asked at each refusal: was the event refused before, and have others succeeded since?"""
        before = self._refused_at.pop(event, self.successes)
        self._refused_at[event] = self.successes
        if len(self._refused_at) > REMEMBERED:
            self._refused_at.popitem(last=False)
        return before < self.successes

    def is_alone(self, event: Hashable, signature: str) -> bool:
        """Whether no other event has been refused so in the run that goes on."""
        return signature != self._signature or self._events <= {event}

    def was_alone(self, event: Hashable) -> bool:
        """Whether no other event was in the run that a success has ended last."""
        return self._last_run <= {event}

    def succeeded(self) -> None:
        """The run is over: the configuration works for somebody."""
        self.successes += 1
        if self._events:
            self._last_run, self.was_blamed = frozenset(self._events), self.is_blamed
        self.is_blamed = False
        self._signature = None
        self._events.clear()
