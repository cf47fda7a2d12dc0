"""When intake is halted, and when to look whether the cause is gone.

open --halt--> halted --probe fails--> halted (interval doubled) --success--> open
"""

from dataclasses import dataclass

FIRST_PROBE = 5.0
"""Seconds from a halt to the first probe."""

LONGEST_PROBE = 300.0
"""Most seconds between two probes: a cause that is gone is noticed within this time."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why intake is halted: `key` is short and stable, `sentence` names the fix. `polls_too`: polls would fail alike;
    `by_poll`: a poll met it, so only a poll can show that it is gone."""

    key: str
    sentence: str
    polls_too: bool
    by_poll: bool = False


class Halting:
    """The state of halt. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.cause: Cause | None = None
        self.since = 0.0
        self._interval = FIRST_PROBE
        self._probe_at = 0.0
        self._probing = False

    def halt(self, cause: Cause, now: float) -> bool:
        """Stop. Returns True if the worker was not halted before; a new cause replaces an older one."""
        fresh = self.cause is None
        if fresh:
            self.since, self._interval = now, FIRST_PROBE
            self._probe_at, self._probing = now + self._interval, False
        self.cause = cause
        return fresh

    def heal(self) -> Cause | None:
        """Go on. Returns the cause that is gone."""
        cause, self.cause, self._probing = self.cause, None, False
        return cause

    def probe_in(self, now: float) -> float:
        """Seconds until the next probe may start; infinite while one is under way."""
        return float("inf") if self._probing else max(0.0, self._probe_at - now)

    def probe_started(self) -> None:
        """One call is let through."""
        self._probing = True

    def probe_cancelled(self) -> None:
        """It has not begun after all; the next may start at once."""
        self._probing = False

    def probe_ended(self, now: float) -> None:
        """The probe brought no success: wait twice as long for the next."""
        if self._probing:
            self._probing = False
            self._interval = min(2 * self._interval, LONGEST_PROBE)
            self._probe_at = now + self._interval
