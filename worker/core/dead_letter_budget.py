"""How many dead letters are too many: more than a share of a window, or a run, of one reason halts intake.

One bad record is the record's fault; half of them, for the same reason, are somebody's deploy. What a verdict on a single call
cannot see (texts that cannot be decoded, results of the wrong length, jobs that fail) is seen here, from the outcomes.

    within --too many of one reason--> exceeded --`PROOF` tried records in a row end as vectors--> within, the window empty
                                          |  ^
                                          '--' a tried record ends as a dead letter: interval doubled

Outcomes come in the order in which they are ready: a text that cannot be decoded overtakes hundreds that wait for the API. So
what is in work counts as if it were to end well: a window is longer, and a run has to be, by as many records as are in work.

While it is exceeded records are tried one at a time, and only they count: what was in work before proves nothing. One vector
proves little where a third of the records is well, and would open the door to another window of dead letters; three in a row
prove more.
"""

from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum

from worker.core.halting import FIRST_PROBE, LONGEST_PROBE
from worker.model import Outcome, OutcomeKind, Reason

PROOF = 3
"""Tried records in a row that have to end as vectors."""

CAUSE = "dead_letters"
"""The key of the halt."""

FIXES = {
    Reason.INVALID_EVENT: "look at what the producers write, and at input.schema, input.format and input.text",
    Reason.INVALID_REQUEST: "check api.model, api.text_field, api.task_type, api.output_dimensionality and api.extra",
    Reason.CONTENT_BLOCKED: "look at what the producers send",
    Reason.INFERENCE_FAILED: "look at dlq.detail and at the state of api.model at Segmind",
    Reason.INVALID_RESULT: "check api.model, api.output_dimensionality and the output topic's max.message.bytes",
    Reason.TIMEOUT: "look at the latency of api.model at Segmind, or raise api.deadline",
    Reason.EXPIRED: "results wait for more than an hour: raise pace.requests_per_minute to the account's limit",
    Reason.API_ERROR: "look at dlq.detail and at Segmind's status",
    Reason.UNKNOWN_SUBMIT: "look at the network between the worker and the API",
}
"""What is likely to help, by reason."""


class Limit(StrEnum):
    """Which limit was exceeded: the name of its setting."""

    SHARE = "dead_letters.share"
    RUN = "dead_letters.run"
    INHERITED = "the limit"


_NO_LIMIT = f"restart with {Limit.SHARE}=1 and {Limit.RUN}=0 (no limit) if this is normal"
"""What ends it at once: with any other limits a restart begins halted (`inherit`)."""


@dataclass(frozen=True, slots=True)
class Overrun:
    """Too many dead letters of one reason: `count` of the last `of` outcomes."""

    reason: Reason
    limit: Limit
    count: int = 0
    of: int = 0

    @property
    def sentence(self) -> str:
        """What is the matter, what is likely to help, and what happens next."""
        return (
            f"{CAUSE}: {self.reason} {self._what}: {FIXES[self.reason]}; one record at a time is tried and intake resumes by "
            f"itself, or {_NO_LIMIT}"
        )

    @property
    def last_words(self) -> str:
        """The same for a worker that does not wait until it is over."""
        return (
            f"{CAUSE}: {self.reason} {self._what}, and a record that was tried ended as a dead letter too: {FIXES[self.reason]}; "
            f"what is done stays done, run it again for the rest, or {_NO_LIMIT}"
        )

    @property
    def _what(self) -> str:
        match self.limit:
            case Limit.SHARE:
                share = f"{100 * self.count / self.of:.0f} % of the last {self.of}"
                return f"{share} (more than {self.limit} allows)"
            case Limit.RUN:
                return f"{self.count} times in a row (as often as {self.limit} allows)"
            case Limit.INHERITED:
                return "too often, said the worker that had this partition before"


class DeadLetterBudget:
    """Counts the outcomes of one worker, in the order in which they are committed. `share`: of `window` outcomes, 1: no limit;
    `run`: outcomes in a row, 0: no limit. `is_confirmed`: it is exceeded, and a record that was tried since became a dead letter
    too. Times are monotonic seconds."""

    def __init__(self, share: float, window: int, run: int) -> None:
        self._share = share
        self._length = window
        self._most_in_a_row = run
        self._window: deque[Reason | None] = deque()
        self._counts: Counter[Reason | None] = Counter()
        self._run = 0
        self._proof = 0
        self._interval = FIRST_PROBE
        self._try_at = 0.0
        self.overrun: Overrun | None = None
        self.is_confirmed = False

    def counted(self, outcome: Outcome, now: float, in_work: int = 0) -> bool:
        """An outcome of a record that is not tried, while so many others are in work. Returns True if the budget is exceeded by
        it; while it is, nothing counts."""
        if self.overrun or not is_evidence(outcome):
            return False
        reason = outcome.reason
        self._run = self._run + 1 if self._window and self._window[-1] == reason else 1
        self._window.append(reason)
        self._counts[reason] += 1
        while len(self._window) > self._length + in_work:
            self._counts[self._window.popleft()] -= 1
        if reason is not None:
            self._look(reason, now, in_work)
        return self.overrun is not None

    def inherit(self, reason: Reason, now: float) -> bool:
        """The owner of a partition before this one had exceeded its budget. Where this worker has seen nothing itself yet it
        goes on from there, so that a restart is no way around a halt; what it has seen itself it knows better. Returns whether
        it does."""
        if self.overrun or self._window or (self._share >= 1.0 and not self._most_in_a_row):
            return False
        self._exceed(Overrun(reason, Limit.INHERITED), now)
        self._try_at = now
        return True

    def try_in(self, now: float) -> float:
        """Seconds until the next record may be tried."""
        return max(0.0, self._try_at - now)

    def tried(self, outcome: Outcome, now: float) -> bool:
        """How a tried record has ended. Returns True if the budget is within its limits again; its window is empty then."""
        if self.overrun is None:
            return False
        if outcome.kind is OutcomeKind.DEAD_LETTER:
            self._proof, self.is_confirmed = 0, True
            self._interval = min(2 * self._interval, LONGEST_PROBE)
            self._try_at = now + self._interval
        elif outcome.kind is OutcomeKind.VECTOR:
            self._proof += 1
        if self._proof < PROOF:
            return False
        self.overrun, self.is_confirmed = None, False
        self._window.clear()
        self._counts.clear()
        return True

    def gave_no_outcome(self, now: float) -> None:
        """A tried record left without an outcome: its partition has gone."""
        self._try_at = now + self._interval

    def _look(self, reason: Reason, now: float, in_work: int) -> None:
        count, length = self._counts[reason], self._length + in_work
        if self._most_in_a_row and self._run >= self._most_in_a_row + in_work:
            self._exceed(Overrun(reason, Limit.RUN, self._run, self._run), now)
        elif count > self._share * length:
            self._exceed(Overrun(reason, Limit.SHARE, count, len(self._window)), now)

    def _exceed(self, overrun: Overrun, now: float) -> None:
        self.overrun, self._proof, self._run, self._interval = overrun, 0, 0, FIRST_PROBE
        self._try_at = now + FIRST_PROBE


def is_evidence(outcome: Outcome) -> bool:
    """Whether the outcome says anything of whether records can be done: a vector or a dead letter."""
    return outcome.kind in {OutcomeKind.VECTOR, OutcomeKind.DEAD_LETTER}
