"""The four endings of an API call that brought no success: retry, reject, halt, crash."""

from dataclasses import dataclass
from enum import StrEnum

from worker.core.halting import Cause
from worker.model import Reason


class Call(StrEnum):
    """The calls that are judged."""

    SUBMIT = "submit"
    STATUS = "status"
    RESULT = "result"


class Step(StrEnum):
    """How to retry: repeat this very call, or submit a new job (which uses up an attempt)."""

    SAME_CALL = "same_call"
    RESUBMIT = "resubmit"


@dataclass(frozen=True, slots=True)
class Retry:
    """Again, later. `counted`: uses up an attempt; `reason`: of the dead letter once attempts or time are used up;
    `throttled`: a 429, whose limit opens at `reset_at` (seconds since the epoch, None: not said); `excused`: the API is down,
    which uses up neither an attempt nor the job's time. Rest as in Reject."""

    step: Step
    counted: bool
    reason: Reason
    detail: str
    http_status: int | None
    throttled: bool = False
    reset_at: float | None = None
    suspect: bool = False
    signature: str = ""
    excused: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """A dead letter. `retryable`: a replay may help. `suspect`: the same refusal (one of equal `signature`) of many
    different events would be the configuration's fault."""

    reason: Reason
    detail: str
    retryable: bool
    http_status: int | None
    suspect: bool
    signature: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop intake."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Crash:
    """A bug: let the exception through."""

    error: Exception


Verdict = Retry | Reject | Halt | Crash
