"""Whose fault is it? One refused call is the event's, many alike in a row are the configuration's; calls without an answer are
nobody's whose events are in work."""

from collections.abc import Hashable
from dataclasses import replace

from worker.core.endings import Call, Reject, Retry, Step
from worker.core.halting import Asks, Cause, HealedBy
from worker.core.refusals import LIMIT, RefusalRun
from worker.core.verdicts import OUTAGE_STATUSES
from worker.errors import Refused, Unanswered, WorkerError
from worker.model import Completed

OUTAGE_RUN = 20
"""So many calls in a row without an answer are an outage: intake halts, the API is probed instead of pestered."""


class Blame:
    """Runs of calls that failed, over all events."""

    def __init__(self) -> None:
        self._refused_submits = RefusalRun()
        self._refused_jobs = RefusalRun()
        self._unanswered = 0

    def weigh(
        self, call: Call, verdict: Retry | Reject, error: WorkerError, event: Hashable
    ) -> tuple[Retry | Reject | None, Cause | None]:
        """What holds for this event (None: the call is repeated once intake resumes), and why to halt, if so."""
        if unanswered(error):
            return self._without_answer(verdict, error)
        self._unanswered = 0
        return self._suspected(call, verdict, event) if verdict.suspect else (verdict, None)

    def succeeded(self, call: Call, answer: object) -> None:
        """A call brought what was asked for."""
        self._unanswered = 0
        if call is Call.SUBMIT:
            self._refused_submits.succeeded()
        if isinstance(answer, Completed):
            self._refused_jobs.succeeded()

    def healed(self) -> None:
        """Intake resumes: an outage would have to show itself anew."""
        self._unanswered = 0

    def _without_answer(self, verdict: Retry | Reject, error: WorkerError) -> tuple[Retry | Reject, Cause | None]:
        """From the second one in a row on none uses up an attempt."""
        self._unanswered += 1
        if self._unanswered > 1 and isinstance(verdict, Retry):
            verdict = replace(verdict, counted=False)
        if self._unanswered < OUTAGE_RUN:
            return verdict, None
        sentence = f"outage: the API does not answer ({error}); intake resumes by itself"
        return verdict, Cause("outage", sentence, polls_too=True, healed_by=HealedBy.CALL, asks=Asks.ANSWER)

    def _suspected(
        self, call: Call, verdict: Retry | Reject, event: Hashable
    ) -> tuple[Retry | Reject | None, Cause | None]:
        """Once it is the configuration's fault, no event gets the blame: a submit is repeated, and a job that FAILED, which costs
        nothing, is made anew without using up an attempt."""
        refusals = self._refused_submits if call is Call.SUBMIT else self._refused_jobs
        run = refusals.refused(event, verdict.signature)
        if run < LIMIT:
            return verdict, None
        sentence = (
            f"refusals: the API refused {run} different events in a row alike ({verdict.detail}): check api.model, "
            "api.task_type, api.output_dimensionality and api.extra; intake resumes by itself"
        )
        if call is Call.SUBMIT:
            return None, Cause("refusals", sentence)
        again = Retry(Step.RESUBMIT, counted=False, reason=verdict.reason, detail=verdict.detail, http_status=422)
        return again, Cause("failed_jobs", sentence, healed_by=HealedBy.RESULT)


def unanswered(error: WorkerError) -> bool:
    """Whether the API itself gave no answer: none at all, or a gateway's that could not reach it."""
    return isinstance(error, Unanswered) or (isinstance(error, Refused) and error.status in OUTAGE_STATUSES)
