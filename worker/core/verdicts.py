"""What becomes of an API call that brought no success: retry, reject, halt or crash, by table.

Sources: `segmind-v2-contract.md` (error table, "What makes this API hard") and the design's section "Failures".
The first row that fits decides; `TABLE` below is this table as data.

    any     401, 402, 403, 407, 410, 415   halt api_key, credits, forbidden, proxy, retired, content_type
    any     406, told apart by its text    halt credits, spend_limit, content_type (our header is fixed: it was changed
                                           on the way); of a parameter: submit only, reject INVALID_REQUEST, suspect;
                                           else halt not_acceptable (the reading that loses no event)
    submit  404, JSON                      halt model
    poll    404, JSON that names the job   an hour old: retry as a new job, EXPIRED; younger: poll again
    any     404 else, 3xx, 405, 421, 511   halt url: another server answers. Our verbs are fixed, so a 405 says that
                                           too; as a crash it would be a restart loop that names no fix
    any     429                            retry, throttled, not counted: it is pace
    poll    every other status             poll again, not counted: GETs are safe, the job's deadline ends it
    submit  408, 425, 502 to 504, ...      retry, not counted: an outage uses up nothing
    submit  400, 422; 413                  reject INVALID_REQUEST; suspect but for 413, which is about one text's size
    submit  every other 4xx                reject API_ERROR, retryable, suspect
    submit  500 and every other 5xx        retry as a new job, API_ERROR: an event's attempts bound it where it fails alone,
                                           the breaker halts where others fail too (a bad parameter value among the causes)
    submit  everything else                retry as a new job, API_ERROR, suspect
    any     FAILED: content block          reject CONTENT_BLOCKED
    any     FAILED: bad input              reject INVALID_REQUEST, suspect: input is validated when the job runs
    any     FAILED else                    retry as a new job, INFERENCE_FAILED: FAILED is not billed
    submit  unanswered after sending       retry as a new job, API_ERROR: may be billed twice, so attempts bound it
    any     unanswered else                retry, not counted
    submit  protocol error                 retry as a new job, API_ERROR, suspect: the 200 was perhaps billed
    poll    protocol error                 poll again, not counted
    any     InvalidResult, InvalidEvent    reject with that reason; what was paid is not paid again by itself
    any     every other exception          crash: a bug
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from worker.core.content_blocks import is_bad_input, is_content_block, kind_of_406
from worker.core.endings import Call, Crash, Halt, Reject, Retry, Step, Verdict
from worker.core.halting import Asks, Cause, HealedBy
from worker.core.refusals import signature
from worker.errors import InvalidEvent, InvalidResult, JobFailed, ProtocolError, Refused, Unanswered, WorkerError
from worker.model import Reason

RESULT_LIFETIME = 3600.0
"""Seconds after submission at which the API forgets a result (contract, point 2)."""

_DETAIL_BYTES = 1024
_SENTENCE_BYTES = 300


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged. `status` is the HTTP status behind the error, if any; `signature` is its text without values."""

    call: Call
    error: Exception
    age: float | None
    request_id: str | None
    status: int | None
    detail: str
    signature: str


@dataclass(frozen=True, slots=True)
class Row:
    """A matcher and the ending it leads to. `statuses` None: all."""

    calls: frozenset[Call]
    error: type[Exception]
    ending: Callable[[Case], Verdict]
    statuses: Container[int | None] | None = None
    when: Callable[[Case], bool] | None = None

    def fits(self, case: Case) -> bool:
        """Does this row speak of the case?"""
        return (
            case.call in self.calls
            and isinstance(case.error, self.error)
            and (self.statuses is None or case.status in self.statuses)
            and (self.when is None or self.when(case))
        )


def _406(kind: str) -> Callable[[Case], bool]:
    return lambda case: kind_of_406(case.signature) == kind


def _one_line(text: str, limit: int) -> str:
    # What cannot be printed is gone too: line breaks would forge log lines, lone surrogates have no UTF-8.
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    encoded = line.encode()
    return line if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"


def shortened(detail: str) -> str:
    """A text from outside as part of a sentence for operators: one line of at most 300 bytes."""
    return _one_line(detail, _SENTENCE_BYTES)


def _is_json(case: Case) -> bool:
    return isinstance(case.error, Refused) and case.error.is_json


def _names_the_job(case: Case) -> bool:
    if not (isinstance(case.error, Refused) and case.error.is_json and case.request_id):
        return False
    name = rf"(?<![\w-]){re.escape(case.request_id)}(?![\w-])"
    return re.search(name, case.error.message, re.IGNORECASE) is not None


def _gone(case: Case) -> bool:
    return case.age is not None and case.age >= RESULT_LIFETIME and _names_the_job(case)


def _was_sent(case: Case) -> bool:
    return isinstance(case.error, Unanswered) and case.error.sent


def _blocked(case: Case) -> bool:
    return isinstance(case.error, JobFailed) and is_content_block(case.error.message)


def _bad_input(case: Case) -> bool:
    return is_bad_input(case.signature)


def _again(case: Case) -> Retry:
    reason = Reason.API_ERROR if case.call is Call.SUBMIT else Reason.TIMEOUT
    return Retry(Step.SAME_CALL, counted=False, reason=reason, detail=case.detail, http_status=case.status)


def _throttled(case: Case) -> Retry:
    reset_at = case.error.reset_at if isinstance(case.error, Refused) else None
    return replace(_again(case), throttled=True, reset_at=reset_at)


def _new_job(reason: Reason, why: str = "", *, suspect: bool = False) -> Callable[[Case], Retry]:
    def ending(case: Case) -> Retry:
        detail = _one_line(f"{why}: {case.detail}", _DETAIL_BYTES) if why else case.detail
        known = case.signature if suspect else ""
        again = replace(_again(case), detail=detail, suspect=suspect, signature=known)
        return replace(again, step=Step.RESUBMIT, counted=True, reason=reason)

    return ending


def _reject(reason: Reason, *, retryable: bool = False, suspect: bool = False) -> Callable[[Case], Reject]:
    def ending(case: Case) -> Reject:
        return Reject(reason, case.detail, retryable, case.status, suspect, case.signature)

    return ending


def _halt(
    key: str, what: str, fix: str, *, polls_too: bool = False, asks: Asks = Asks.NOTHING
) -> Callable[[Case], Halt]:
    def ending(case: Case) -> Halt:
        said = shortened(case.detail)
        sentence = f"{key}: {what} ({said}): {fix}"
        # What a poll has met, polls meet, and only a poll can show that it is gone; a key is refused to all.
        by_poll = case.call is not Call.SUBMIT and key != "api_key"
        healed_by = HealedBy.POLL if by_poll else HealedBy.CALL if polls_too else HealedBy.SUBMIT
        return Halt(Cause(key, sentence, polls_too=polls_too or by_poll, healed_by=healed_by, asks=asks, said=said))

    return ending


ANY, SUBMIT, POLL = frozenset(Call), frozenset({Call.SUBMIT}), frozenset({Call.STATUS, Call.RESULT})

OUTAGE_STATUSES = frozenset({408, 425, 502, 503, 504, 521, 522, 523, 525, 526, 527, 530})
"""The origin did not take the request: the statuses of gateways, and Cloudflare's for an origin out of reach. Its 520
and 524 are not here: there the origin took the request and gave no answer."""

_OTHER_SERVER = frozenset({*range(300, 400), 404, 405, 421, 511})
_HEALS = "intake resumes by itself"
_IF_THEIRS = "if it was Segmind's fault, "
_HEALING = re.compile(rf"; (?:{_IF_THEIRS})?{_HEALS}| \({_HEALS}\)")
RENEW_KEY = f"renew the file of SEGMIND_API_KEY_FILE ({_HEALS}), or set SEGMIND_API_KEY and restart"
"""What to do about a key that is refused."""
_CREDITS = _halt("credits", "the account is out of credits", f"top up; {_HEALS}", asks=Asks.BALANCE)
_SPENT = _halt("spend_limit", "a spend limit of the account is reached", f"raise it; {_HEALS}")
_KEY = _halt(
    "api_key",
    "the API refuses the key",
    RENEW_KEY,
    polls_too=True,
    asks=Asks.ANSWER,
)
_FORBIDDEN = _halt("forbidden", "the account may not call this model", f"ask Segmind for access to api.model; {_HEALS}")
_HEADER = _halt(
    "content_type", "a fixed header of ours was refused", f"look for a proxy that changes headers; {_HEALS}"
)
_OTHER_406 = _halt("not_acceptable", "the API takes no requests", f"look at the account's state at Segmind; {_HEALS}")
_MODEL = _halt("model", "the API knows no such model", f"correct api.model and restart; {_IF_THEIRS}{_HEALS}")
_RETIRED = _halt("retired", "the model is retired", "set api.model to another one and restart")
_PROXY = _halt("proxy", "the proxy wants a login", "correct api.proxy and restart", polls_too=True, asks=Asks.ANSWER)
_URL = _halt("url", "this is not the API", "set api.base_url to the API's own origin and restart", polls_too=True)
_INVALID = _reject(Reason.INVALID_REQUEST, suspect=True)
_TOO_LARGE = _reject(Reason.INVALID_REQUEST)
_FAILED_SUBMIT = _new_job(Reason.API_ERROR)
_ODD_ANSWER = _new_job(Reason.API_ERROR, suspect=True)
_UNKNOWN_SUBMIT = _new_job(Reason.API_ERROR, "the submit may have been accepted, repeating it may be billed again")

TABLE: tuple[Row, ...] = (
    Row(ANY, Refused, _KEY, {401}),
    Row(ANY, Refused, _FORBIDDEN, {403}),
    Row(ANY, Refused, _CREDITS, {402}),
    Row(ANY, Refused, _CREDITS, {406}, _406("credits")),
    Row(ANY, Refused, _SPENT, {406}, _406("spend_limit")),
    Row(ANY, Refused, _HEADER, {406}, _406("content_type")),
    Row(ANY, Refused, _HEADER, {415}),
    Row(SUBMIT, Refused, _INVALID, {406}, _406("parameter")),
    Row(ANY, Refused, _OTHER_406, {406}),
    Row(SUBMIT, Refused, _MODEL, {404}, _is_json),
    Row(POLL, Refused, _new_job(Reason.EXPIRED), {404}, _gone),
    Row(POLL, Refused, _again, {404}, _names_the_job),
    Row(ANY, Refused, _URL, _OTHER_SERVER),
    Row(ANY, Refused, _PROXY, {407}),
    Row(ANY, Refused, _RETIRED, {410}),
    Row(ANY, Refused, _throttled, {429}),
    Row(POLL, Refused, _again),
    Row(SUBMIT, Refused, _again, OUTAGE_STATUSES),
    Row(SUBMIT, Refused, _INVALID, {400, 422}),
    Row(SUBMIT, Refused, _TOO_LARGE, {413}),
    Row(SUBMIT, Refused, _reject(Reason.API_ERROR, retryable=True, suspect=True), range(400, 500)),
    Row(SUBMIT, Refused, _FAILED_SUBMIT, range(500, 600)),
    Row(SUBMIT, Refused, _ODD_ANSWER),
    Row(ANY, JobFailed, _reject(Reason.CONTENT_BLOCKED), when=_blocked),
    Row(ANY, JobFailed, _INVALID, when=_bad_input),
    Row(ANY, JobFailed, _new_job(Reason.INFERENCE_FAILED)),
    Row(SUBMIT, Unanswered, _UNKNOWN_SUBMIT, when=_was_sent),
    Row(ANY, Unanswered, _again),
    Row(SUBMIT, ProtocolError, _ODD_ANSWER),
    Row(POLL, ProtocolError, _again),
    Row(ANY, InvalidResult, _reject(Reason.INVALID_RESULT)),
    Row(ANY, InvalidEvent, _reject(Reason.INVALID_EVENT)),
)


def without_healing(sentence: str) -> str:
    """The sentence of a halt for somebody who makes a single call: nothing resumes there."""
    return _HEALING.sub("", sentence)


def judge(call: Call, error: Exception, *, age: float | None = None, request_id: str | None = None) -> Verdict:
    """The ending of a call that brought `error`. `age`: the most seconds that the job's submission can be ago, `request_id`:
    its id (polls only). Never raises. A detail is one line of at most 1 KB of UTF-8. What `TABLE` does not know is a Crash."""
    if not isinstance(error, WorkerError):
        return Crash(error)
    status = (
        error.status if isinstance(error, Refused | ProtocolError) else 422 if isinstance(error, JobFailed) else None
    )
    message = error.message if isinstance(error, Refused | JobFailed) else str(error)
    detail = _one_line(str(error), _DETAIL_BYTES) or type(error).__name__
    case = Case(call, error, age, request_id, status, detail, signature(status, message))
    return next((row.ending(case) for row in TABLE if row.fits(case)), Crash(error))
