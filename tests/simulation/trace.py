"""What happened in a run, line by line: virtual time, who, what."""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import NamedTuple


class Line(NamedTuple):
    """One event. `about` names what it concerns (events, partitions), so that related lines can be found."""

    time: float
    who: str
    what: str
    about: tuple[object, ...]


class Trace:
    """All lines of a run, in order."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.lines: list[Line] = []

    def add(self, who: str, what: str, *about: object) -> None:
        """Take note."""
        self.lines.append(Line(self._now(), who, what, about))

    def digest(self) -> str:
        """The same for the same run, and for no other."""
        digest = sha256()
        for line in self.lines:
            digest.update(f"{line.time!r} {line.who} {line.what}\n".encode())
        return digest.hexdigest()[:16]

    def last(self, number: int) -> list[Line]:
        """The last lines."""
        return self.lines[-number:]

    def related(self, about: Iterable[object]) -> list[Line]:
        """The lines about one of these, and those that are about everything (faults, starts, ends)."""
        wanted = set(about)
        return [line for line in self.lines if not line.about or not wanted.isdisjoint(line.about)]


def shown(lines: Iterable[Line]) -> str:
    """For reading."""
    return "\n".join(f"{line.time:10.3f}  {line.who:6}  {line.what}" for line in lines)
