"""Is the API down? One breaker for submits, one for polls: what polls meet stops everything, what submits meet stops submits."""

from collections.abc import Hashable
from dataclasses import dataclass

from worker.core.breaker import Breaker, Fault
from worker.core.endings import Call
from worker.core.halting import Asks, Cause, HealedBy
from worker.core.verdicts import shortened
from worker.errors import Refused, Unanswered, WorkerError

KEY = "outage"

GATEWAYS = frozenset({408, 425})
"""Statuses below 500 by which a gateway says that it has reached nobody."""


def is_failure(error: WorkerError) -> bool:
    """Whether the API failed: no answer at all, a 5xx, or a gateway's that could not reach it."""
    return isinstance(error, Unanswered) or (
        isinstance(error, Refused) and (error.status >= 500 or error.status in GATEWAYS)
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the sentence says of one kind of call."""

    calls: str
    polls_too: bool
    healed_by: HealedBy


_SUBMITS = _Kind("submits", polls_too=False, healed_by=HealedBy.SUBMIT)
_POLLS = _Kind("polls", polls_too=True, healed_by=HealedBy.POLL)


class Outage:
    """Both breakers. `cause` is why to halt, None while both are closed."""

    def __init__(self) -> None:
        self._submits = Breaker()
        self._polls = Breaker()
        self._last = ""
        self._cause: Cause | None = None

    @property
    def cause(self) -> Cause | None:
        """The same object until something changes."""
        return self._cause

    def succeeded(self, call: Call, event: Hashable) -> None:
        """A call was answered."""
        breaker = self._of(call)
        changes = breaker.is_open
        breaker.succeeded(event)
        if changes:
            self._cause = self._why()

    def failed(self, call: Call, detail: str, event: Hashable, now: float) -> Fault:
        """A call failed as `detail` says; whose fault it is. `now` in monotonic seconds."""
        breaker, self._last = self._of(call), shortened(detail)
        was_open = breaker.is_open
        fault = breaker.failed(event, now)
        if breaker.is_open != was_open:
            self._cause = self._why()
        return fault

    def fails_alone(self, call: Call, event: Hashable, now: float) -> bool:
        """See `Breaker.fails_alone`."""
        return self._of(call).fails_alone(event, now)

    def lasts(self, call: Call, now: float) -> float:
        """See `Breaker.lasts`."""
        return self._of(call).lasts(now)

    def heard(self, now: float, *, answers: bool) -> None:
        """The free credits call was made, with or without an answer."""
        were_open = self._polls.is_open, self._submits.is_open
        for breaker in (self._polls, self._submits):
            breaker.heard(now, answers=answers)
        if (self._polls.is_open, self._submits.is_open) != were_open:
            self._cause = self._why()

    def over(self) -> None:
        """The API answers again, as far as the credits call can tell. Should calls go on failing, the breakers open anew, and no
        event has been blamed meanwhile."""
        self._submits.close()
        self._polls.close()
        self._cause = None

    def _of(self, call: Call) -> Breaker:
        return self._submits if call is Call.SUBMIT else self._polls

    def _why(self) -> Cause | None:
        # what polls meet is named first: it stops submits as well
        for breaker, kind in ((self._polls, _POLLS), (self._submits, _SUBMITS)):
            if breaker.is_open:
                failures, calls = breaker.failures
                sentence = (
                    f"{KEY}: {failures} of the last {calls} {kind.calls} failed ({self._last}): look at Segmind's status, the "
                    "network and api.base_url, and after a change at api.model and api.output_dimensionality; intake resumes by "
                    "itself"
                )
                return Cause(KEY, sentence, kind.polls_too, kind.healed_by, Asks.ANSWER)
        return None
