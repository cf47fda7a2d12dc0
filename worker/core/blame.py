"""Whose fault is a refusal, the event's or the configuration's? Nothing is decided before something shows it.

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

from worker.core.endings import Reject, Retry
from worker.core.halting import Cause, HealedBy
from worker.core.refusals import LIMIT, RefusalRun
from worker.core.verdicts import shortened

MOMENT, WHILE, LONG = 2.0, 60.0, 300.0
"""Seconds for which it is open: for one alone once the configuration has proved itself, before it has, and for several at once
once it has."""


class Whose(StrEnum):
    """Whose fault a refusal is."""

    EVENT = "event"
    CONFIGURATION = "configuration"
    OPEN = "open"


class Matter(StrEnum):
    """What can be refused. The values are the keys of the causes."""

    SUBMIT = "refusals"  # a submit
    JOB = "failed_jobs"  # a job, which FAILED for its input
    RESULT = "results"  # a result, which holds no usable vector


class Blame:
    """Refusals and successes of all events."""

    def __init__(self) -> None:
        self._runs = {matter: RefusalRun() for matter in Matter}

    def succeeded(self, matter: Matter) -> None:
        """It was not refused."""
        self._runs[matter].succeeded()

    def successes(self, matter: Matter) -> int:
        """How often this has succeeded."""
        return self._runs[matter].successes

    def refused(self, matter: Matter, verdict: Retry | Reject, event: Hashable) -> Whose:
        """An event was refused."""
        run = self._runs[matter]
        again = run.refused_again(event)
        many = run.refused(event, verdict.signature) >= LIMIT
        run.is_blamed = run.is_blamed or (many and not again)
        return Whose.EVENT if again else Whose.CONFIGURATION if run.is_blamed else Whose.OPEN

    def patience(self, matter: Matter, verdict: Retry | Reject, event: Hashable) -> float:
        """Seconds from the refusal on in which something may show whose fault it is."""
        run = self._runs[matter]
        if not run.successes:
            return WHILE
        return MOMENT if run.is_alone(event, verdict.signature) else LONG

    def after_success(self, matter: Matter, event: Hashable) -> Whose:
        """Something has succeeded meanwhile. OPEN: it is to be tried once more."""
        run = self._runs[matter]
        paid_for_nothing = matter is Matter.RESULT and not run.was_blamed  # to try again is paid, too
        return Whose.EVENT if paid_for_nothing or run.was_alone(event) else Whose.OPEN

    def after_patience(self, matter: Matter, verdict: Retry | Reject, event: Hashable) -> Whose:
        """Nothing has."""
        run = self._runs[matter]
        alone = run.is_alone(event, verdict.signature)
        run.is_blamed = run.is_blamed or not (alone or run.successes)
        return Whose.CONFIGURATION if run.is_blamed else Whose.EVENT

    def cause(self, matter: Matter, verdict: Retry | Reject) -> Cause:
        """Why to halt where it is the configuration's fault."""
        sentence = (
            f"{matter}: {_WHAT[matter]} ({shortened(verdict.detail)}), and none succeeds: correct api.model, api.text_field, "
            "api.task_type, api.output_dimensionality or api.extra and restart, if it is none of those, ask Segmind; "
            "intake resumes by itself"
        )
        return Cause(matter, sentence, healed_by=_HEALED_BY[matter], said=shortened(verdict.detail))


_WHAT = {
    Matter.SUBMIT: "the API refuses different events alike",
    Matter.JOB: "the jobs of different events fail alike",
    Matter.RESULT: "the results of different events are unusable alike, and paid",
}
_HEALED_BY = {
    Matter.SUBMIT: HealedBy.SUBMIT,
    Matter.JOB: HealedBy.RESULT,
    Matter.RESULT: HealedBy.VECTOR,
}
