"""Which dead letters are meant: a deterministic function of the letter alone, and how a person writes it down."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from worker.core.dead_letters import Letter
from worker.errors import ConfigurationError
from worker.model import Reason, TopicPartition

_RELATIVE: Final = re.compile(r"(\d{1,9})([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PLACE: Final = re.compile(r"(?:([A-Za-z0-9._-]{1,249}):)?(\d{1,9}):(\d{1,18})")
_HEX_KEY: Final = "hex:"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a letter stands on a dead-letter topic."""

    source: TopicPartition
    offset: int


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """All that is given must hold; what is empty or None does not matter. `since` (inclusive) and `until` (exclusive) are seconds
    since the epoch and go by the time of the failure; `match` is looked for in the detail, upper and lower case alike."""

    reasons: frozenset[str] = frozenset()
    since: float | None = None
    until: float | None = None
    keys: frozenset[bytes] = frozenset()
    places: frozenset[Place] = frozenset()
    match: str = ""

    def takes(self, letter: Letter) -> bool:
        """Whether the letter is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and (not self.keys or letter.record.key in self.keys)
            and (not self.places or Place(letter.record.source, letter.record.offset) in self.places)
            and (not self.match or self.match.casefold() in letter.detail.casefold())
        )


def reasons_from(words: Iterable[str]) -> frozenset[str]:
    """Reasons, each word one or a comma list. Raises ConfigurationError."""
    named = [name.strip().upper() for word in words for name in word.split(",") if name.strip()]
    unknown = sorted(set(named) - {reason.value for reason in Reason})
    if unknown:
        raise ConfigurationError(f"--reason {unknown[0]}: there are {', '.join(Reason)}")
    return frozenset(named)


def time_from(text: str, now: float, flag: str) -> float:
    """Seconds since the epoch of RFC 3339, of a date (its beginning in UTC), or of a time ago (30m, 2h, 3d, 1w). Raises
    ConfigurationError."""
    relative = _RELATIVE.fullmatch(text.strip())
    if relative:
        return now - int(relative[1]) * _UNITS[relative[2]]
    try:
        time = datetime.fromisoformat(text.strip())
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ConfigurationError(
            f"{flag} {text}: want a time as 2026-01-31T12:00:00Z, a date, or how long ago as 30m, 2h, 3d, 1w"
        ) from None


def key_from(text: str) -> bytes:
    """A key as text, or as `hex:00ff`. Raises ConfigurationError."""
    if not text.startswith(_HEX_KEY):
        return text.encode("utf-8", "surrogateescape")
    try:
        return bytes.fromhex(text.removeprefix(_HEX_KEY))
    except ValueError:
        raise ConfigurationError(f"--key {text}: want pairs of hex digits behind hex:") from None


def place_from(text: str, topics: Sequence[str]) -> Place:
    """PARTITION:OFFSET of the one dead-letter topic, or TOPIC:PARTITION:OFFSET. Raises ConfigurationError."""
    found = _PLACE.fullmatch(text.strip())
    if not found:
        raise ConfigurationError(
            f"{text}: want PARTITION:OFFSET of the dead-letter topic, as `dead-letters list` shows it"
        )
    topic = found[1]
    if topic is None and len(topics) > 1:
        raise ConfigurationError(f"{text}: say which topic, e.g. {topics[0]}:{text} (there are {', '.join(topics)})")
    if topic is not None and topic not in topics:
        raise ConfigurationError(f"{text}: {topic} is not one of {', '.join(topics)}: name it with --topic")
    return Place(TopicPartition(topic or topics[0], int(found[2])), int(found[3]))
