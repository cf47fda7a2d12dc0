"""How a call ends that brings no answer to the stage that makes it."""

from worker.core.endings import Reject, Retry
from worker.errors import WorkerError


class CallFailedError(WorkerError):
    """A call that was made and judged; what to do now is the stage's business."""

    def __init__(self, verdict: Retry | Reject) -> None:
        super().__init__(verdict.detail)
        self.verdict = verdict


class HeldBackError(Exception):
    """A call was not made: the event has to wait elsewhere before it may be. No failure of the API, and no WorkerError."""
