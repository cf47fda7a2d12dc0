"""What the end of a call shows of the cause of a halt: whether it is gone."""

from worker.core.endings import Call, Reject, Retry
from worker.core.halting import Asks, Cause, HealedBy
from worker.core.outage import is_failure
from worker.errors import JobFailed, WorkerError
from worker.model import Completed, Reason


def disproved(cause: Cause, call: Call, answer: object) -> bool:
    """Whether the cause would not have let this call succeed. An answer of None: the stage has put up with a refusal."""
    match cause.healed_by:
        case HealedBy.SUBMIT:
            return call is Call.SUBMIT and answer is not None
        case HealedBy.POLL:
            return call is not Call.SUBMIT and answer is not None
        case HealedBy.CALL:
            return answer is not None
        case HealedBy.RESULT:
            return isinstance(answer, Completed)
        case _:
            return False


def disproved_by_failure(cause: Cause, call: Call, error: WorkerError, verdict: Retry | Reject) -> bool:
    """The same of a call that was answered badly: the API is up, takes the key, and answers polls where it tells of a job
    that it has FAILED or is gone. After a long halt that may be all that it has to tell."""
    if is_failure(error):
        return False
    takes_key = cause.healed_by is HealedBy.CALL and cause.asks is Asks.ANSWER
    tells_of_job = call is not Call.SUBMIT and (isinstance(error, JobFailed) or verdict.reason is Reason.EXPIRED)
    return takes_key or (cause.healed_by in {HealedBy.POLL, HealedBy.CALL} and tells_of_job)
