"""The circuit breaker: is it the API that fails, or one event? It counts failures of the API (5xx, timeouts, resets, answers of
gateways) over all events; a 429, another 4xx and a job that FAILED are answers.

    closed ----- for a second or longer 10 of the last 20 calls fail, or all of 5 and more, of different events
                 or beside a silent API ----------------------------------------------------------------------> open
    open ------- the pause is over (decorrelated jitter, see `halting`) and the free credits call answers -----> half-open
    half-open -- one call at a time is let in: it fails -------------------------------------------------------> open, longer
    half-open -- it succeeds ----------------------------------------------------------------------------------> closed

An event's attempts and time are used up by a failure only where it is the event's own (`Fault`). That does not wait for the
breaker to open, so an outage uses up nothing of the events that fail first, however few are in work:

    while it is open                                                                    not the event's
    while it is closed, and other events have succeeded since the event failed last     the event's own
    while it is closed, and no other event has failed since the last success            perhaps: the credits call decides,
                                                                                        once it has lasted for LONELY
    while it is closed, and others fail too, or the API is silent                       not the event's

Several events that are bad by themselves, with nothing else on the topic, look like an outage: they wait for the next good one.
"""

from collections import deque
from collections.abc import Hashable
from enum import StrEnum
from math import inf
from typing import NamedTuple

WINDOW, FAILED = 20, 10
"""Of so many calls so many failures are an outage."""

RUN = 5
"""So many failures in a row are an outage, too: at low traffic the window would remember better days for too long."""

LASTING = 1.0
"""Seconds for which it has to go on: however many calls are under way, one dropped connection is no outage."""

FRESH = 300.0
"""Seconds for which the failure of one event speaks for another one. Whoever pauses after a failure fails again before."""

LONELY = 3600.0
"""Seconds for which an event whose submits fail alone may be the first that meets an outage, on a topic too quiet for others to
show it; not where each try may be billed. A job whose polls fail alone has its deadline."""

REMEMBERED = 10_000
"""Events of which the last failure is known; one that is forgotten counts as one that fails for the first time."""


class Fault(StrEnum):
    """Whose fault a failure is."""

    EVENT = "event"
    PERHAPS = "perhaps"  # the event's where the API answers the free credits call
    API = "api"


class Failure(NamedTuple):
    """Whose call failed, and when (monotonic seconds)."""

    event: Hashable
    at: float


class Breaker:
    """Failures of one kind of call. Who asks reports each call, in the order in which calls end. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.is_open = False
        self._recent: deque[Failure | None] = deque(maxlen=WINDOW)  # None: a success
        self._failing: dict[Hashable, float] = {}
        self._run = 0
        self._run_began = 0.0
        self._failing_since: float | None = None
        self._successes = 0
        self._failed_at: dict[Hashable, int] = {}
        self._silent = False

    @property
    def failures(self) -> tuple[int, int]:
        """How many of how many recent calls have failed."""
        return sum(call is not None for call in self._recent), len(self._recent)

    def succeeded(self, event: Hashable) -> None:
        """A call was answered: half-open closes."""
        if self.is_open:
            self.close()
        self._recent.append(None)
        self._failing.clear()
        self._run, self._silent = 0, False
        if self.failures[0] < FAILED:
            self._failing_since = None
        self._successes += 1
        self._failed_at.pop(event, None)

    def failed(self, event: Hashable, now: float) -> Fault:
        """A call failed; tells whose fault it is, and may open the breaker. PERHAPS is to be followed by `heard`."""
        others_succeed = self._failed_at.pop(event, self._successes) < self._successes
        self._failed_at[event] = self._successes
        if len(self._failed_at) > REMEMBERED:
            del self._failed_at[next(iter(self._failed_at))]
        self._recent.append(Failure(event, now))
        if not self._run:
            self._run_began = now
        self._run += 1
        self._failing.pop(event, None)
        self._failing[event] = now
        if len(self._failing) > RUN:
            del self._failing[next(iter(self._failing))]
        self._open_if_due(now)
        if self.is_open:
            return Fault.API
        if others_succeed:
            return Fault.EVENT
        return Fault.PERHAPS if self.fails_alone(event, now) else Fault.API

    def fails_alone(self, event: Hashable, now: float) -> bool:
        """Whether no other event has failed since the last success, of late."""
        others = (at for other, at in self._failing.items() if other != event)
        return not self.is_open and all(now - at > FRESH for at in others)

    def lasts(self, now: float) -> float:
        """Seconds since the first of the failures in a row; 0 where the last call has succeeded."""
        return now - self._run_began if self._run else 0.0

    def heard(self, now: float, *, answers: bool) -> None:
        """The free credits call was made. No answer: the API is down, whoever fails. An answer: what one event alone has met is
        no outage."""
        self._silent = not answers
        if self.is_open and answers and len(self._failed_since()) < 2:
            self.close()
        else:
            self._open_if_due(now)

    def close(self) -> None:
        """Let calls through again, without a success: who has failed with others is still not blamed."""
        self.is_open, self._run, self._failing_since = False, 0, None
        self._recent.clear()

    def _open_if_due(self, now: float) -> None:
        if self.failures[0] >= FAILED and self._failing_since is None:
            self._failing_since = now
        many = self._failing_since is not None and now - self._failing_since >= LASTING
        all_of_them = self._run >= RUN and now - self._run_began >= LASTING
        if (many or all_of_them) and (self._silent or len(self._failed_since(now - FRESH)) > 1):
            self.is_open = True

    def _failed_since(self, when: float = -inf) -> set[Hashable]:
        """The events behind the recent failures since then."""
        return {call.event for call in self._recent if call is not None and call.at >= when}
