"""Whose fault is a refusal, the event's or the configuration's? Refusals are free: nothing is decided before something shows it.

others have succeeded since the event was refused before                              the event's
20 different events have been refused alike, and none succeeded between               the configuration's
it was the configuration's before, and none has succeeded since                       the configuration's
else it is open:
    another one succeeds, and this was the only one refused                           the event's
    another one succeeds, and several were refused: the cause may be gone             it is tried once more
    nothing happens for a while, and it is the only one refused                       the event's
    nothing happens for long, several are refused, and events have succeeded before   the events'
    nothing happens for a while, several are refused, and no event ever succeeded     the configuration's
"""

from collections.abc import Hashable
from enum import StrEnum

from worker.core.endings import Call, Reject, Retry
from worker.core.halting import Cause, HealedBy
from worker.core.refusals import LIMIT, RefusalRun
from worker.model import Completed

MOMENT, WHILE, LONG = 2.0, 60.0, 600.0
"""Seconds for which it is open: for one alone once the configuration has proved itself, before it has, and for several at once
once it has."""


class Whose(StrEnum):
    """Whose fault a refusal is."""

    EVENT = "event"
    CONFIGURATION = "configuration"
    OPEN = "open"


class Blame:
    """Refusals and successes of all events: of submits, and of jobs that FAILED for their input."""

    def __init__(self) -> None:
        self._submits = RefusalRun()
        self._jobs = RefusalRun()

    def succeeded(self, call: Call, answer: object) -> bool:
        """A call brought what was asked for; returns whether that can show whose fault an open refusal is."""
        if call is Call.SUBMIT:
            self._submits.succeeded()
        if isinstance(answer, Completed):
            self._jobs.succeeded()
        return call is Call.SUBMIT or isinstance(answer, Completed)

    def successes(self, call: Call) -> int:
        """How often this has succeeded: submits, or jobs."""
        return self._of(call).successes

    def refused(self, call: Call, verdict: Retry | Reject, event: Hashable) -> Whose:
        """An event was refused."""
        run = self._of(call)
        again = run.refused_again(event)
        many = run.refused(event, verdict.signature) >= LIMIT
        run.is_blamed = run.is_blamed or (many and not again)
        return Whose.EVENT if again else Whose.CONFIGURATION if run.is_blamed else Whose.OPEN

    def patience(self, call: Call, verdict: Retry | Reject, event: Hashable) -> float:
        """Seconds from the refusal on in which something may show whose fault it is."""
        run = self._of(call)
        if not run.successes:
            return WHILE
        return MOMENT if run.is_alone(event, verdict.signature) else LONG

    def after_success(self, call: Call, event: Hashable) -> Whose:
        """Something has succeeded meanwhile. OPEN: it is to be tried once more."""
        return Whose.EVENT if self._of(call).was_alone(event) else Whose.OPEN

    def after_patience(self, call: Call, verdict: Retry | Reject, event: Hashable) -> Whose:
        """Nothing has."""
        run = self._of(call)
        alone = run.is_alone(event, verdict.signature)
        run.is_blamed = run.is_blamed or not (alone or run.successes)
        return Whose.CONFIGURATION if run.is_blamed else Whose.EVENT

    def cause(self, call: Call, verdict: Retry | Reject) -> Cause:
        """Why to halt where it is the configuration's fault."""
        sentence = (
            f"refusals: the API refuses different events alike ({verdict.detail}), and none succeeds: correct api.model, "
            "api.task_type, api.output_dimensionality or api.extra and restart, if it is none of those, ask Segmind; intake "
            "resumes by itself"
        )
        if call is Call.SUBMIT:
            return Cause("refusals", sentence)
        return Cause("failed_jobs", sentence, healed_by=HealedBy.RESULT)

    def _of(self, call: Call) -> RefusalRun:
        return self._submits if call is Call.SUBMIT else self._jobs
