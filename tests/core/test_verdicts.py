"""Every ending of an API call that brought no success."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import errors
from worker.core.endings import Call, Crash, Halt, Reject, Retry, Step, Verdict
from worker.core.verdicts import POLL, RESULT_LIFETIME, TABLE, Case, judge
from worker.errors import (
    ApiError,
    ConfigurationError,
    InvalidEvent,
    InvalidResult,
    JobFailed,
    ProtocolError,
    Refused,
    Unanswered,
)
from worker.model import Metrics, Reason

SUBMIT, STATUS, RESULT = Call.SUBMIT, Call.STATUS, Call.RESULT
ID = "0a1b2c3d-0000-4000-8000-00000000abcd"
OLD, YOUNG = RESULT_LIFETIME, RESULT_LIFETIME - 0.001
BLOCK = "The request was blocked by safety filters"
BAD_VALUE = "Invalid value for output_dimensionality: expected an integer"
GONE = f"Request {ID} not found"


def http(status: int, message: str = "", *, is_json: bool = True, reset_at: float | None = None) -> Refused:
    return Refused(status, message, is_json=is_json, reset_at=reset_at)


def failed(message: str) -> JobFailed:
    return JobFailed(message, Metrics())


def named(verdict: Verdict) -> str:
    """A verdict in a few words, as the contract's table has it."""
    match verdict:
        case Retry(step=step, counted=counted, reason=reason, throttled=throttled, suspect=suspect):
            words = ["throttled" if throttled else step.value, "counted" if counted else "free", reason.value]
            return " ".join(words + ["suspect"] * suspect)
        case Reject(reason=reason, retryable=retryable, suspect=suspect):
            return " ".join([reason.value] + ["retryable"] * retryable + ["suspect"] * suspect)
        case Halt(cause=cause):
            return f"halt {cause.key}" + " polls" * cause.polls_too
    return "crash"


SUBMITS = [
    (http(400, "Missing required field: input"), "INVALID_REQUEST suspect"),
    (http(401, "Missing Authorization or x-api-key in header"), "halt api_key polls"),
    (http(402, "pay"), "halt credits"),
    (http(403, "no access"), "halt forbidden"),
    (http(404, "model not found"), "halt model"),
    (http(404, "<html>", is_json=False), "halt url polls"),
    (http(405, "<html>", is_json=False), "halt url polls"),
    (http(406, "Insufficient credits, please top up"), "halt credits"),
    (http(406, "Team spend limit reached"), "halt spend_limit"),
    (http(406, "Invalid content type"), "halt content_type"),
    (http(406, BAD_VALUE), "INVALID_REQUEST suspect"),
    (http(406, "who knows"), "halt not_acceptable"),
    (http(407), "halt proxy polls"),
    (http(408), "same_call free API_ERROR"),
    (http(410, "retired"), "halt retired"),
    (http(413, "too large"), "INVALID_REQUEST"),
    (http(415), "halt content_type"),
    (http(418, "teapot"), "API_ERROR retryable suspect"),
    (http(422, "unprocessable"), "INVALID_REQUEST suspect"),
    (http(425), "same_call free API_ERROR"),
    (http(429), "throttled free API_ERROR"),
    (http(500, "Internal server error"), "resubmit counted API_ERROR"),
    (http(502, is_json=False), "same_call free API_ERROR"),
    (http(503), "same_call free API_ERROR"),
    (http(504, is_json=False), "same_call free API_ERROR"),
    (http(524), "resubmit counted API_ERROR"),
    (http(301), "halt url polls"),
    (http(308), "halt url polls"),
    (http(202), "resubmit counted API_ERROR suspect"),
    (Unanswered("refused", sent=False), "same_call free API_ERROR"),
    (Unanswered("reset", sent=True), "resubmit counted API_ERROR"),
    (ProtocolError("no request_id", 200), "resubmit counted API_ERROR suspect"),
    (failed(BLOCK), "CONTENT_BLOCKED"),
]

POLLS = [
    (http(400, "not completed yet"), "same_call free TIMEOUT"),
    (http(401), "halt api_key polls"),
    (http(403), "halt forbidden polls"),
    (http(404, "Not Found"), "halt url polls"),
    (http(404, GONE, is_json=False), "halt url polls"),
    (http(405, is_json=False), "halt url polls"),
    (http(406, "Insufficient credits"), "halt credits polls"),
    (http(406, BAD_VALUE), "halt not_acceptable polls"),
    (http(410), "halt retired polls"),
    (http(415), "halt content_type polls"),
    (http(418), "same_call free TIMEOUT"),
    (http(422, "no job"), "same_call free TIMEOUT"),
    (http(429), "throttled free TIMEOUT"),
    (http(500), "same_call free TIMEOUT"),
    (http(502, is_json=False), "same_call free TIMEOUT"),
    (http(504, is_json=False), "same_call free TIMEOUT"),
    (http(302), "halt url polls"),
    (Unanswered("reset", sent=True), "same_call free TIMEOUT"),
    (Unanswered("refused", sent=False), "same_call free TIMEOUT"),
    (ProtocolError("no status", 200), "same_call free TIMEOUT"),
    (failed(BLOCK), "CONTENT_BLOCKED"),
    (failed(BAD_VALUE), "INVALID_REQUEST suspect"),
    (failed("the model returned an internal error"), "resubmit counted INFERENCE_FAILED"),
    (InvalidResult("NaN"), "INVALID_RESULT"),
    (InvalidEvent("no text"), "INVALID_EVENT"),
]

GONE_CASES = [
    (GONE, ID, OLD, "resubmit counted EXPIRED"),
    (GONE.upper(), ID, OLD, "resubmit counted EXPIRED"),
    (GONE, ID, YOUNG, "same_call free TIMEOUT"),
    (GONE, ID, None, "same_call free TIMEOUT"),
    (GONE, None, OLD, "halt url polls"),
    (GONE, "", OLD, "halt url polls"),
    (GONE, ID[:-1], OLD, "halt url polls"),
    (GONE, ID[1:], OLD, "halt url polls"),
    ("Not Found", ID, OLD, "halt url polls"),
]


def label(value: object) -> str | None:
    return f"{type(value).__name__}: {value}"[:60] if isinstance(value, Exception) else None


@pytest.mark.parametrize(("error", "expected"), SUBMITS, ids=label)
def test_a_submit_ends_as_the_contract_says(error: Exception, expected: str) -> None:
    assert named(judge(SUBMIT, error)) == expected


@pytest.mark.parametrize("call", [STATUS, RESULT])
@pytest.mark.parametrize(("error", "expected"), POLLS, ids=label)
def test_a_poll_ends_as_the_contract_says(call: Call, error: Exception, expected: str) -> None:
    for age in (0.0, OLD):
        assert named(judge(call, error, age=age, request_id=ID)) == expected


@pytest.mark.parametrize("call", [STATUS, RESULT])
@pytest.mark.parametrize(("message", "request_id", "age", "expected"), GONE_CASES)
def test_a_404_means_gone_only_if_it_names_the_job_and_the_hour_is_over(
    call: Call, message: str, request_id: str | None, age: float | None, expected: str
) -> None:
    assert named(judge(call, http(404, message), age=age, request_id=request_id)) == expected


def every_case() -> Iterator[tuple[Call, Exception, str | None, float | None]]:
    yield from ((SUBMIT, error, None, None) for error, _ in SUBMITS)
    yield from ((call, error, ID, OLD) for call in POLL for error, _ in POLLS)
    yield from ((STATUS, http(404, message), request_id, age) for message, request_id, age, _ in GONE_CASES)


def test_every_row_of_the_table_decides_some_case() -> None:
    deciding = set()
    for call, error, request_id, age in every_case():
        status = getattr(error, "status", 422 if isinstance(error, JobFailed) else None)
        text = getattr(error, "message", str(error))
        case = Case(call, error, age, request_id, status, text, text.lower())
        deciding.add(next(number for number, row in enumerate(TABLE) if row.fits(case)))
    assert deciding == set(range(len(TABLE)))


def test_every_status_of_the_contracts_error_table_is_among_the_cases_of_each_call() -> None:
    rows = {"400", "401", "403", "404", "405", "406", "410", "422", "429", "500", "502", "504"}
    for cases in (SUBMITS, POLLS):
        tested = {str(error.status) for error, _ in cases if isinstance(error, Refused)}
        assert rows <= tested


JUDGED = {InvalidEvent, InvalidResult, *ApiError.__subclasses__()}


def test_every_error_of_a_call_is_mapped_for_every_call() -> None:
    samples = {type(error): error for error, _ in SUBMITS + POLLS}
    assert set(samples) == JUDGED
    for call in Call:
        for error in samples.values():
            assert not isinstance(judge(call, error), Crash)


def test_what_no_call_raises_is_a_bug() -> None:
    others = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.WorkerError) and kind not in JUDGED
    ]
    assert ConfigurationError in others
    for call in Call:
        for kind in others:
            error = kind.__new__(kind)
            verdict = judge(call, error)
            assert isinstance(verdict, Crash)
            assert verdict.error is error
        assert isinstance(judge(call, ZeroDivisionError()), Crash)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_foreign_error_that_cannot_be_printed_is_a_crash() -> None:
    assert isinstance(judge(SUBMIT, UnprintableError()), Crash)


def test_a_429_carries_the_reset_time_and_its_status() -> None:
    verdict = judge(STATUS, http(429, "slow down", reset_at=1234.5))
    assert isinstance(verdict, Retry)
    assert (verdict.throttled, verdict.reset_at, verdict.http_status) == (True, 1234.5, 429)


def test_a_submit_of_unknown_fate_says_that_it_may_be_billed_twice() -> None:
    verdict = judge(SUBMIT, Unanswered("connection reset", sent=True))
    assert isinstance(verdict, Retry)
    assert "connection reset" in verdict.detail
    assert "billed" in verdict.detail
    cut = judge(SUBMIT, Unanswered("x" * 5000, sent=True))
    assert isinstance(cut, Retry)
    assert "billed" in cut.detail


def test_equal_refusals_have_equal_signatures_and_others_have_not() -> None:
    def sign(error: Exception) -> str:
        verdict = judge(SUBMIT, error)
        assert isinstance(verdict, Retry | Reject)
        return verdict.signature

    assert sign(http(400, "bad value 'x' in 12")) == sign(http(400, "bad value 'y' in 7"))
    assert sign(http(500, f"job {ID}")) == sign(http(500, f"job {ID.replace('a', 'b')}"))
    assert len({sign(http(400, "one")), sign(http(500, "one")), sign(http(400, "two"))}) == 3


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (http(301), "api.base_url"),
        (http(401), "SEGMIND_API_KEY"),
        (http(404, "no such model"), "api.model"),
        (http(406, "Insufficient credits"), "top up; intake resumes by itself"),
        (http(407), "api.proxy"),
        (http(410), "api.model"),
    ],
    ids=label,
)
def test_the_sentence_of_a_halt_names_what_was_said_and_the_fix(error: Refused, fix: str) -> None:
    verdict = judge(SUBMIT, error)
    assert isinstance(verdict, Halt)
    assert verdict.cause.sentence.startswith(f"{verdict.cause.key}: ")
    assert f"HTTP {error.status}" in verdict.cause.sentence
    assert fix in verdict.cause.sentence


TEXTS = st.one_of(
    st.text(max_size=3000),
    st.sampled_from(
        [BLOCK, BAD_VALUE, GONE, "insufficient credits", "x" * 5000, "é" * 3000, "\n\r\x00\u2028", "\ud800"]
    ),
)
ERRORS = st.one_of(
    st.builds(http, st.integers(100, 599), TEXTS, is_json=st.booleans(), reset_at=st.none() | st.floats()),
    st.builds(failed, TEXTS),
    st.builds(Unanswered, TEXTS, sent=st.booleans()),
    st.builds(ProtocolError, TEXTS, st.integers(100, 599)),
    st.builds(InvalidEvent, TEXTS),
    st.builds(InvalidResult, TEXTS),
)


@given(st.sampled_from(Call), ERRORS, st.none() | st.floats(), st.none() | TEXTS)
def test_any_error_gets_a_verdict_that_can_be_published(
    call: Call, error: Exception, age: float | None, request_id: str | None
) -> None:
    verdict = judge(call, error, age=age, request_id=request_id)
    assert not isinstance(verdict, Crash)
    if isinstance(verdict, Halt):
        assert len(verdict.cause.sentence.encode()) <= 600
        assert verdict.cause.sentence.isprintable()
        assert verdict.cause.polls_too or call is SUBMIT
        return
    assert verdict.detail
    assert verdict.detail.isprintable()
    assert len(verdict.detail.encode()) <= 1024
    assert verdict.signature or not verdict.suspect
    if isinstance(verdict, Retry):
        # A new job is what an attempt is; whatever is repeated as it is costs nothing.
        assert (verdict.step is Step.RESUBMIT) == verdict.counted
        assert not (verdict.throttled and verdict.counted)
        if call is not SUBMIT and verdict.counted:
            assert verdict.reason in {Reason.EXPIRED, Reason.INFERENCE_FAILED}


@given(st.sampled_from([STATUS, RESULT]), st.integers(100, 599), TEXTS, st.booleans(), st.floats(0, YOUNG))
def test_no_status_makes_a_young_job_that_was_paid_be_submitted_again_or_thrown_away(
    call: Call, status: int, text: str, is_json: bool, age: float
) -> None:
    verdict = judge(call, http(status, text, is_json=is_json), age=age, request_id=ID)
    assert isinstance(verdict, Halt) or (isinstance(verdict, Retry) and verdict.step is Step.SAME_CALL)
