"""What goes wrong, by order of a test."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Unknown(StrEnum):
    """What becomes of an EndTxn whose answer never comes."""

    APPLIED = "applied"
    LOST = "lost"
    LATE = "late"  # still under way when the sink gives up: arrives `delays("late")` seconds after that


def no_delay(step: str) -> float:
    """Everything at once."""
    return 0.0


@dataclass(slots=True)
class Faults:
    """What goes wrong next. Counters go down with each fault; delays stay, in seconds.

    `abort_publish`: sink commits that fail before anything is published; `abort_commit`: offset commits (or offsets sent in a
    transaction) that are refused; `max_bytes` and `max_key`: largest value and key that each topic takes; `compacted`: topics
    that take no null key; `no_committed`: the group does not tell its committed offsets; `fail_settle`, `fail_recall`: calls of
    `settle` and `recall` that fail; `unknown_commit`: what becomes of the next EndTxns, first one first.

    `publish_delay` before messages are sent, `commit_delay` before offsets are. `delays(step)` is asked once for each request and
    each answer, in seconds. Steps: commit, begin, produce, offsets, end, abort, init, recall; each but begin has its answer,
    `"commit.answer"` and so on. Besides: `late` (see `Unknown`), `timeout` (what the coordinator's sweep adds to the transaction
    time-out). `marker_delay`: from EndTxn to a marker, a number or drawn for each output partition and for the offsets.
    """

    abort_publish: int = 0
    abort_commit: int = 0
    commit_delay: float = 0.0
    publish_delay: float = 0.0
    max_bytes: dict[str, int] = field(default_factory=dict)
    max_key: dict[str, int] = field(default_factory=dict)
    compacted: set[str] = field(default_factory=set)
    no_committed: bool = False
    fail_settle: int = 0
    fail_recall: int = 0
    unknown_commit: deque[Unknown] = field(default_factory=deque)
    delays: Callable[[str], float] = no_delay
    marker_delay: float | Callable[[], float] = 0.0

    def next_marker_delay(self) -> float:
        """Of one marker."""
        return self.marker_delay() if callable(self.marker_delay) else self.marker_delay

    def takes(self, topic: str, key: bytes | None, value: bytes | None) -> bool:
        """Whether a topic takes such a record."""
        if len(value or b"") > self.max_bytes.get(topic, 2**31):
            return False
        if len(key or b"") > self.max_key.get(topic, 2**31):
            return False
        return key is not None or topic not in self.compacted
