"""The input events of a run: what each holds, when it arrives, and how it has to end."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from worker.model import OutcomeKind, Reason

HEADER = "event"
"""The header that names an event; it travels with every outcome."""


class Nature(StrEnum):
    """What becomes of an event when nothing goes wrong."""

    TEXT = "text"
    BLOCKED = "blocked"
    FAILS_ONCE = "fails once"
    FAILS_ALWAYS = "fails always"
    TOO_LARGE = "too large"
    UNDECODABLE = "undecodable"
    EMPTY = "empty"
    TOMBSTONE = "tombstone"
    NULL_NULL = "null key and null value"


MIXED = {
    Nature.TEXT: 76,
    Nature.BLOCKED: 4,
    Nature.FAILS_ONCE: 4,
    Nature.FAILS_ALWAYS: 3,
    Nature.TOO_LARGE: 3,
    Nature.UNDECODABLE: 3,
    Nature.EMPTY: 2,
    Nature.TOMBSTONE: 6,
    Nature.NULL_NULL: 2,
}

PLAIN = {Nature.TEXT: 1}
"""Nothing but texts: the sharpest for order and bills."""

FAILING = {Nature.TEXT: 40, Nature.FAILS_ONCE: 40, Nature.FAILS_ALWAYS: 20}
"""Many a job is made again, as late as its owner still believes in its lease."""

REFUSED = {Nature.TEXT: 50, Nature.TOO_LARGE: 30, Nature.TOMBSTONE: 20}
"""Many a vector that the output topic refuses, amid others of its key."""

LARGEST_VECTOR = 2_000
"""Bytes of a value that the output topic takes; an event that is too large has an id that makes it longer."""

POSTED = frozenset({Nature.TEXT, Nature.BLOCKED, Nature.FAILS_ONCE, Nature.FAILS_ALWAYS, Nature.TOO_LARGE})
"""The natures that cost a POST."""

ENDING: dict[Nature, tuple[OutcomeKind, Reason | None]] = {
    Nature.TEXT: (OutcomeKind.VECTOR, None),
    Nature.BLOCKED: (OutcomeKind.DEAD_LETTER, Reason.CONTENT_BLOCKED),
    Nature.FAILS_ONCE: (OutcomeKind.VECTOR, None),
    Nature.FAILS_ALWAYS: (OutcomeKind.DEAD_LETTER, Reason.INFERENCE_FAILED),
    Nature.TOO_LARGE: (OutcomeKind.DEAD_LETTER, Reason.INVALID_RESULT),
    Nature.UNDECODABLE: (OutcomeKind.DEAD_LETTER, Reason.INVALID_EVENT),
    Nature.EMPTY: (OutcomeKind.DEAD_LETTER, Reason.INVALID_EVENT),
    Nature.TOMBSTONE: (OutcomeKind.TOMBSTONE, None),
    Nature.NULL_NULL: (OutcomeKind.SKIPPED, None),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One input record. `gap`: so many offsets before it hold no record (compaction, transaction markers)."""

    number: int
    partition: int
    key: bytes | None
    nature: Nature
    arrives_at: float
    gap: int

    @property
    def text(self) -> str:
        """Unique: it tells of which event a POST is."""
        return f"{self.number} {self.nature}"

    @property
    def value(self) -> bytes | None:
        """The bytes of the record."""
        if self.nature in {Nature.TOMBSTONE, Nature.NULL_NULL}:
            return None
        if self.nature is Nature.UNDECODABLE:
            return b"\xff not a text event"
        text = "" if self.nature is Nature.EMPTY else self.text
        long = LARGEST_VECTOR * "-" if self.nature is Nature.TOO_LARGE else ""
        return json.dumps({"text": text, "id": f"event-{self.number}{long}"}).encode()

    @property
    def supersedes(self) -> bool:
        """Whether it makes older texts of its key pointless."""
        return self.nature in POSTED or self.nature is Nature.TOMBSTONE

    def __str__(self) -> str:
        key = self.key.decode() if self.key else "none"
        return f"event {self.number} ({self.nature}, partition {self.partition}, key {key})"


def event_of(text: str) -> int:
    """The number of the event that a request is about."""
    return int(text.split(maxsplit=1)[0])


def nature_of(text: str) -> Nature:
    """Its nature."""
    return Nature(text.split(maxsplit=1)[1])


def drawn(random: Random, *, partitions: int, lasts: float, refused: bool) -> Sequence[Event]:
    """Between 4 and 48 events of few keys, in bursts or evenly; a key stays in its partition, as a partitioner keeps it.
    `refused`: some are too large for the output topic."""
    number = random.choice((4, 8, 12, 16, 24, 48))
    keys = random.choice((1, 2, 4, 8))
    weights = random.choice((PLAIN, PLAIN, PLAIN, MIXED, MIXED, MIXED, FAILING, REFUSED))
    if not refused:
        weights = {nature: weight for nature, weight in weights.items() if nature is not Nature.TOO_LARGE}
    even = random.random() < 0.4
    gaps = random.random() < 0.3
    arrivals = sorted(lasts * random.random() if even else _in_bursts(random, lasts) for _ in range(number))
    return [_event(random, number, at, partitions, keys, weights, gaps=gaps) for number, at in enumerate(arrivals)]


def contested(random: Random, *, partitions: int, lasts: float) -> Sequence[Event]:
    """Many events, evenly, whose jobs often fail: at every moment some owner has a POST to make."""
    arrivals = sorted(lasts * random.random() for _ in range(48))
    return [_event(random, number, at, partitions, 48, FAILING, gaps=False) for number, at in enumerate(arrivals)]


def _in_bursts(random: Random, lasts: float) -> float:
    return random.choice((0.0, 0.0, 0.3 * lasts, lasts * random.random()))


def _event(
    random: Random, number: int, at: float, partitions: int, keys: int, weights: Mapping[Nature, int], *, gaps: bool
) -> Event:
    nature = random.choices([*weights], [*weights.values()])[0]
    unkeyed = nature is Nature.NULL_NULL or (random.random() < 0.1 and nature is not Nature.TOMBSTONE)
    chosen = random.randrange(keys)
    partition = random.randrange(partitions) if unkeyed else chosen % partitions
    gap = random.choice((1, 1, 2, 7)) if gaps and random.random() < 0.3 else 0
    return Event(number, partition, None if unkeyed else b"key-%d" % chosen, nature, at, gap)
