"""Probes: is the cause of a halt gone? The free credits call is asked first where it can tell, then one single event."""

from collections.abc import Callable
from math import inf

from worker.core.halting import Asks, Cause, Halting, HealedBy, Standing
from worker.core.pace import Pace
from worker.gate.inquiry import Inquiry
from worker.gate.waiting import WaitingLine
from worker.ports import Clock

PATIENCE = 60.0
"""Seconds for which a probe waits for the call that can show most: who pauses after a failure (see `backoff`) is back by then."""


class Probing:
    """Looks at the causes that stand, when it is time. `heal` is told the key of a cause that is gone, `heard` that the credits
    call speaks for trying an event."""

    def __init__(
        self,
        halting: Halting,
        polls: WaitingLine,
        submits: WaitingLine,
        pace: Pace,
        inquiry: Inquiry,
        clock: Clock,
        heal: Callable[[str], None],
        heard: Callable[[], None],
        random: Callable[[], float],
    ) -> None:
        self._halting = halting
        self._polls = polls
        self._submits = submits
        self._pace = pace
        self._inquiry = inquiry
        self._clock = clock
        self._heal = heal
        self._heard = heard
        self._random = random
        self._due: tuple[str, float] | None = None
        self._due_at = 0.0
        self._discouraged: tuple[str, float] | None = None

    async def look(self) -> float | None:
        """Probe if it is time. Returns the seconds until the next look (None: when something changes)."""
        until = self._heal_by_time()
        standing = self._halting.probed
        delay = self._halting.probe_in(self._clock.monotonic())
        if standing is None or delay > 0.0:
            return finite(min(delay, until))
        return finite(min(await self._probe(standing), until))

    async def _probe(self, standing: Standing) -> float:
        """Probe now; returns the seconds until the next look."""
        cause = standing.cause
        if self._due != standing.name:
            if cause.asks is not Asks.NOTHING and not await self._says_yes(standing):
                return self._halting.probe_in(self._clock.monotonic())
            self._due, self._due_at = standing.name, self._clock.monotonic()
            return 0.0  # what stands may have changed meanwhile
        if cause.healed_by is HealedBy.CREDITS:
            self._heal(cause.key)
            return 0.0
        line = self._line(cause)
        if line and self._halting.may_try_an_event:
            return self._try_an_event(line)
        return self._without_an_event(standing)

    async def _says_yes(self, standing: Standing) -> bool:
        """Ask the credits call."""
        cause = standing.cause
        self._halting.probe_started()
        says_yes = await self._inquiry.says_yes(cause.asks)
        self._halting.explain(cause, self._inquiry.account.sentence(cause))
        if says_yes:
            self._halting.probe_cancelled()
            self._heard()
        else:
            self._discouraged = standing.name
            self._halting.probe_ended(self._clock.monotonic(), self._random())
        return says_yes

    def _try_an_event(self, line: WaitingLine) -> float:
        """Let one single call in; returns the seconds until the next look."""
        pause = self._pace.take(self._clock.monotonic())
        if pause > 0.0:
            return pause
        self._due = None
        self._halting.probe_started()
        line.let_first_in(probe=True)
        return inf

    def _without_an_event(self, standing: Standing) -> float:
        """Nobody waits who could show that the cause is gone, or nobody may; returns the seconds until the next look."""
        left = self._due_at + PATIENCE - self._clock.monotonic()
        if standing.cause.asks is Asks.NOTHING:
            return left if left > 0.0 else inf
        # it would say no while the cause stands, or has done so
        shows_all = standing.cause.healed_by is HealedBy.CALL or self._discouraged == standing.name
        if shows_all or left <= 0.0:
            self._heal(standing.cause.key)
            return 0.0
        return left

    def _line(self, cause: Cause) -> WaitingLine:
        """Where the event waits that is tried."""
        if cause.healed_by is HealedBy.POLL and not self._polls:
            # a submit would be paid, and its polls are what shows it
            is_patient = self._clock.monotonic() - self._due_at < PATIENCE
            return self._polls if is_patient else self._submits
        polls_first = cause.healed_by is HealedBy.POLL or (cause.healed_by is HealedBy.CALL and not self._submits)
        return self._polls if polls_first else self._submits

    def _heal_by_time(self) -> float:
        """What heals by time and whose time has come; returns the seconds until the next of them."""
        while timed := self._halting.timed():
            left = timed[0].until - self._clock.epoch()
            if left > 0.0:
                return left
            self._heal(timed[0].key)
        return inf


def finite(seconds: float) -> float | None:
    """None in place of infinity."""
    return None if seconds == inf else seconds
