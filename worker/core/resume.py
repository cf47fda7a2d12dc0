"""Where the journey of a delivered record goes on, by what its partition's ledger says of it."""

from dataclasses import dataclass

from worker.core.ledger import MOST_CLAIMS, Finished, Mark
from worker.model import Job, Reason
from worker.settings.guarantees import OnUnknownSubmit

_CRASHED_AGAIN = "the worker ended abruptly, twice in a row, while it was decoding this record alone"
_UNKNOWN = (
    "the worker ended after a submit may have started and before its answer was recorded: it may have been billed"
)


@dataclass(frozen=True, slots=True)
class Skip:
    """Its outcome is published: nothing to do, not even decode."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Its job runs or has run: poll."""

    job: Job


@dataclass(frozen=True, slots=True)
class Start:
    """Submit it, as this attempt. In strict mode the mark of the record stays under the new intent."""

    attempt: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A dead letter. `job` is the last one that is known, if any."""

    reason: Reason
    detail: str
    attempts: int
    job: Job | None


def resume(
    recalled: Mark | Finished, on_unknown_submit: OnUnknownSubmit, *, unclean: bool
) -> Skip | Follow | Start | GiveUp:
    """Where the journey of a delivered record goes on. `unclean`: its partition was taken over without a hand-over.

    An intent is decided by the setting of the worker that finds it. Claims count only when their writer ended abruptly.
    """
    if isinstance(recalled, Finished):
        return Skip()
    mark = recalled
    job = Job(mark.request_id, mark.submitted_at, mark.attempt) if mark.request_id else None
    if mark.claims >= MOST_CLAIMS and unclean:
        return GiveUp(Reason.INVALID_EVENT, _CRASHED_AGAIN, mark.attempt, job)
    if mark.intent and on_unknown_submit is OnUnknownSubmit.DEAD_LETTER:
        return GiveUp(Reason.UNKNOWN_SUBMIT, _UNKNOWN, mark.attempt, job)
    if mark.intent or job is None:
        return Start(max(1, mark.attempt))
    return Follow(job)
