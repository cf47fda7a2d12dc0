"""Probes: is the cause of a halt gone? The free credits call is asked first where it can tell, then one single event."""

from collections.abc import Callable
from math import inf

from worker.core.halting import Asks, Cause, Halting, HealedBy
from worker.core.pace import Pace
from worker.errors import ApiError, Refused, Unanswered
from worker.gate.waiting import WaitingLine
from worker.ports import Clock, EmbeddingApi


class Probing:
    """Looks at the causes that stand, when it is time. `heal` is told the key of a cause that is gone."""

    def __init__(
        self,
        halting: Halting,
        polls: WaitingLine,
        submits: WaitingLine,
        pace: Pace,
        api: EmbeddingApi,
        clock: Clock,
        heal: Callable[[str], None],
    ) -> None:
        self._halting = halting
        self._polls = polls
        self._submits = submits
        self._pace = pace
        self._api = api
        self._clock = clock
        self._heal = heal
        self._encouraged: Cause | None = None

    async def look(self) -> float | None:
        """Probe if it is time. Returns the seconds until the next look (None: when something changes)."""
        until = self._heal_by_time()
        standing = self._halting.probed
        delay = self._halting.probe_in(self._clock.monotonic())
        if standing is None or delay > 0.0:
            return finite(min(delay, until))
        return finite(min(await self._probe(standing.cause), until))

    async def _probe(self, cause: Cause) -> float:
        """Probe now; returns the seconds until the next look."""
        if cause.asks is not Asks.NOTHING and self._encouraged is not cause:
            self._halting.probe_started()
            if not await self._says_yes(cause.asks):
                self._halting.probe_ended(self._clock.monotonic())
                return self._halting.probe_in(self._clock.monotonic())
            self._halting.probe_cancelled()
            self._encouraged = cause
            if self._halting.probed is None or self._halting.probed.cause is not cause:
                return 0.0
            if cause.healed_by is HealedBy.CREDITS or not self._may_try(cause):
                self._heal(cause.key)
                return 0.0
        return self._try_an_event(cause) if self._may_try(cause) else inf

    def _try_an_event(self, cause: Cause) -> float:
        """Let one single call in; returns the seconds until the next look."""
        pause = self._pace.take(self._clock.monotonic())
        if pause > 0.0:
            return pause
        self._encouraged = None
        self._halting.probe_started()
        self._line(cause).let_first_in(probe=True)
        return inf

    def _may_try(self, cause: Cause) -> bool:
        return self._halting.may_try_an_event and bool(self._line(cause))

    def _line(self, cause: Cause) -> WaitingLine:
        """Where the event waits that is tried."""
        polls_first = cause.healed_by is HealedBy.POLL or (cause.healed_by is HealedBy.CALL and not self._submits)
        return self._polls if polls_first and self._polls else self._submits

    def _heal_by_time(self) -> float:
        """What heals by time and whose time has come; returns the seconds until the next of them."""
        while timed := self._halting.timed():
            left = timed[0].until - self._clock.epoch()
            if left > 0.0:
                return left
            self._heal(timed[0].key)
        return inf

    async def _says_yes(self, asks: Asks) -> bool:
        """Does the free credits call speak for trying an event? Where it cannot tell, it does."""
        try:
            balance = await self._api.credits()
        except Refused as error:
            return error.status not in {401, 403, 429} and error.status < 500
        except ApiError as error:
            return not isinstance(error, Unanswered)
        return asks is not Asks.BALANCE or balance.credits + balance.free_credits > 0.0


def finite(seconds: float) -> float | None:
    """None in place of infinity."""
    return None if seconds == inf else seconds
