"""What the demo has seen on its topics, and whether it adds up."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.model import Reason, TopicPartition

Place = tuple[TopicPartition, int]
"""Partition and offset of an input record."""

KEPT_LETTERS: Final = 10
KEPT_VECTORS: Final = 10_000
"""Vectors kept for the neighbours: 30 MB at 768 dimensions."""

PAID_WITHOUT_VECTOR: Final = frozenset({Reason.INVALID_RESULT, Reason.TIMEOUT, Reason.EXPIRED, Reason.API_ERROR})
"""Dead letters whose job may have been completed, and so billed once, without a usable vector."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, as its headers tell."""

    place: Place
    reason: str
    detail: str
    attempts: str


@dataclass(slots=True)
class Tally:
    """Counts, filled by the reader from the topics alone. `inputs` holds the start of each input's text (None: a tombstone);
    `outcomes` counts how often an input record has ended; tombstones carry nothing but their key."""

    inputs: dict[Place, str | None] = field(default_factory=dict)
    keys: dict[Place, bytes] = field(default_factory=dict)
    outcomes: Counter[Place] = field(default_factory=Counter)
    tombstones: Counter[bytes] = field(default_factory=Counter)
    vectors: dict[Place, "array[float]"] = field(default_factory=dict)
    vector_count: int = 0
    letters: list[Letter] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    payable: Counter[str] = field(default_factory=Counter)
    """How often a text (SHA-256 of it) may have been billed: once for each event that was completed."""
    unread: int = 0
    """Records that a topic had lost before they were read."""

    def input(self, place: Place, key: bytes, text: str | None) -> None:
        """An input record; `text` None: it has no value."""
        self.inputs[place] = text
        self.keys[place] = key

    def vector(self, place: Place, text_sha256: str, vector: "array[float]") -> None:
        """A vector on the output topic."""
        self.vector_count += 1
        self.outcomes[place] += 1
        if self.outcomes[place] == 1:
            self.payable[text_sha256] += 1
            if len(self.vectors) < KEPT_VECTORS:
                self.vectors[place] = vector

    def dead_letter(self, letter: Letter, text_sha256: str) -> None:
        """A record on the dead-letter topic; `text_sha256` is empty where it tells none."""
        self.reasons[letter.reason] += 1
        self.outcomes[letter.place] += 1
        if len(self.letters) < KEPT_LETTERS:
            self.letters.append(letter)
        if text_sha256 and letter.reason in PAID_WITHOUT_VECTOR and self.outcomes[letter.place] == 1:
            self.payable[text_sha256] += 1

    def tombstone(self, key: bytes) -> None:
        """A record without a value on the output topic."""
        self.tombstones[key] += 1

    @property
    def ended(self) -> int:
        """Input records with an outcome."""
        return len(self.outcomes) + len(self.tombstones)

    def double_billed(self, bills: Mapping[str, int]) -> int:
        """Bills beyond one for each completed event; `bills` counts them by the SHA-256 of the text."""
        return sum(max(0, count - self.payable[text]) for text, count in bills.items())

    def missing(self) -> Sequence[Place]:
        """Input records without an outcome."""
        return [
            place
            for place, text in self.inputs.items()
            if (self.tombstones[self.keys[place]] if text is None else self.outcomes[place]) == 0
        ]

    def repeated(self) -> int:
        """Outcomes beyond the first of each input record, and those of no known input."""
        strangers = sum(count for place, count in self.outcomes.items() if place not in self.inputs)
        known = sum(count - 1 for place, count in self.outcomes.items() if count and place in self.inputs)
        wanted = Counter(self.keys[place] for place, text in self.inputs.items() if text is None)
        return strangers + known + (self.tombstones - wanted).total()
