"""Why intake is halted, and when to look whether the cause is gone.

    open --halt--> halted --probe fails--> halted (a longer interval, by decorrelated jitter) --success--> open

A cause says itself how it heals. Of those that a probe heals one stands at a time, the last one met: what calls meet now is
what is wrong now. Those that heal otherwise (by time, or elsewhere) stand beside it, and while one stands no event is tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from worker.core.backoff import decorrelated

FIRST_PROBE = 5.0
"""Seconds from a halt to the first probe, and the least between two."""

LONGEST_PROBE = 300.0
"""Most seconds between two probes: a cause that is gone is noticed within this time."""


class HealedBy(StrEnum):
    """What shows that a cause is gone. The first five are of one single event."""

    SUBMIT = "submit"  # a submit is accepted
    POLL = "poll"  # a poll is answered: a poll met the cause
    CALL = "call"  # a submit or a poll, whichever waits
    RESULT = "result"  # a job brings its result
    VECTOR = "vector"  # a result holds a usable vector
    CREDITS = "credits"  # the free credits call alone, as `Cause.asks` has it
    TIME = "time"  # the wall clock reaches `Cause.until`
    TRIAL = "trial"  # records that are tried end well: intake is shut, the gate is not
    ELSEWHERE = "elsewhere"  # who has halted says so, by `Gate.heal`


class Asks(StrEnum):
    """What the free credits call must say before an event is tried."""

    NOTHING = "nothing"  # it can tell nothing of the cause: not made
    ANSWER = "answer"  # the API is up and takes the key
    BALANCE = "balance"  # there is money


@dataclass(frozen=True, slots=True)
class Cause:
    """Why intake is halted: `key` is short and stable, `sentence` names the fix. `polls_too`: polls would fail alike, and wait;
    `until`: seconds since the epoch, for what heals by time; `said`: the API's own words, one short line."""

    key: str
    sentence: str
    polls_too: bool = False
    healed_by: HealedBy = HealedBy.SUBMIT
    asks: Asks = Asks.NOTHING
    until: float = 0.0
    said: str = ""

    @property
    def probed(self) -> bool:
        """Whether a probe of the API finds out that it is gone."""
        return self.healed_by not in {HealedBy.TIME, HealedBy.TRIAL, HealedBy.ELSEWHERE}

    @property
    def shuts_gate(self) -> bool:
        """Whether no job may be started while it stands."""
        return self.healed_by is not HealedBy.TRIAL


@dataclass(frozen=True, slots=True)
class Standing:
    """A cause that stands, since `since` (monotonic seconds)."""

    cause: Cause
    since: float

    @property
    def name(self) -> tuple[str, float]:
        """Tells it from others, also from an earlier one of the same key; what is learned of its cause does not change it."""
        return self.cause.key, self.since


class Halting:
    """The causes that stand. Times are monotonic seconds, but for `Cause.until`."""

    def __init__(self) -> None:
        self.probed: Standing | None = None
        self._others: dict[str, Standing] = {}
        self._interval = FIRST_PROBE
        self._probe_at = 0.0
        self._probing = False

    @property
    def standing(self) -> Sequence[Standing]:
        """All causes that stand, the oldest first."""
        if self.probed is None and not self._others:
            return ()  # asked for with every call
        causes = [*self._others.values(), *([self.probed] if self.probed else ())]
        return sorted(causes, key=lambda standing: standing.since)

    @property
    def may_try_an_event(self) -> bool:
        """Whether a probe may be an event: not while a cause stands that no event disproves."""
        return not any(standing.cause.shuts_gate for standing in self._others.values())

    def closed_for(self, *, polls: bool) -> bool:
        """Whether polls, or submits, have to wait."""
        return any(standing.cause.polls_too or (standing.cause.shuts_gate and not polls) for standing in self.standing)

    def halt(self, cause: Cause, now: float) -> bool:
        """Stop. Returns True if no cause of this key stood before. Of causes that are probed a new one replaces an older one, and
        takes over its time."""
        if not cause.probed:
            before = self._others.get(cause.key)
            self._others[cause.key] = Standing(cause, before.since if before else now)
            return before is None
        before = self.probed
        if before is None:
            self._interval = FIRST_PROBE
            self._probe_at, self._probing = now + self._interval, False
        self.probed = Standing(cause, before.since if before else now)
        return before is None or before.cause.key != cause.key

    def heal(self, key: str) -> Standing | None:
        """The cause of this key is gone; returns what has stood."""
        if self.probed and self.probed.cause.key == key:
            gone, self.probed, self._probing = self.probed, None, False
            return gone
        return self._others.pop(key, None)

    def timed(self) -> Sequence[Cause]:
        """The causes that heal by time, the next one first."""
        timed = [one.cause for one in self._others.values() if one.cause.healed_by is HealedBy.TIME]
        return sorted(timed, key=lambda cause: cause.until)

    def probe_in(self, now: float) -> float:
        """Seconds until the next probe may start; infinite while one is under way, and where nothing is to be probed."""
        return float("inf") if self._probing or self.probed is None else max(0.0, self._probe_at - now)

    def probe_started(self) -> None:
        """One call is let through."""
        self._probing = True

    def probe_cancelled(self) -> None:
        """It has not begun after all; the next may start at once."""
        self._probing = False

    def probe_ended(self, now: float, unit: float) -> None:
        """The probe brought no success: wait for the next, longer as a rule. `unit` is random in [0, 1)."""
        if self._probing:
            self._probing = False
            self._interval = decorrelated(self._interval, unit, base=FIRST_PROBE, cap=LONGEST_PROBE)
            self._probe_at = now + self._interval

    def explain(self, cause: Cause, sentence: str) -> None:
        """More is known of the cause that is probed: it stands as before, with another sentence."""
        if self.probed and self.probed.cause is cause:
            self.probed = replace(self.probed, cause=replace(cause, sentence=sentence))
