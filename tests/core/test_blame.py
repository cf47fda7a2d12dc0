"""Whose fault a failed call is, over all events."""

from worker.core.blame import OUTAGE_RUN, Blame
from worker.core.endings import Call, Reject, Retry, Step
from worker.core.refusals import LIMIT
from worker.core.verdicts import judge
from worker.errors import JobFailed, Refused, Unanswered, WorkerError
from worker.model import Completed, JobState, Metrics

REFUSAL = Refused(400, "bad dimension", is_json=True)
FAILURE = JobFailed("invalid argument: output_dimensionality", Metrics())
SILENCE = Unanswered("reset", sent=True)
DONE = Completed([1.0], Metrics())


def weigh(blame: Blame, call: Call, error: WorkerError, event: str | int) -> tuple[Retry | Reject | None, str | None]:
    verdict = judge(call, error)
    assert isinstance(verdict, Retry | Reject)
    judged, cause = blame.weigh(call, verdict, error, event)
    return judged, cause.key if cause else None


def test_the_twentieth_different_event_refused_alike_halts_and_is_repeated() -> None:
    blame = Blame()
    for event in range(LIMIT - 1):
        judged, cause = weigh(blame, Call.SUBMIT, REFUSAL, event)
        assert isinstance(judged, Reject)
        assert cause is None
    assert weigh(blame, Call.SUBMIT, REFUSAL, "last") == (None, "refusals")


def test_a_submit_that_succeeds_ends_the_run_of_refused_submits() -> None:
    blame = Blame()
    for event in range(LIMIT - 1):
        weigh(blame, Call.SUBMIT, REFUSAL, event)
    blame.succeeded(Call.SUBMIT, "job")
    for event in range(LIMIT - 1):
        assert weigh(blame, Call.SUBMIT, REFUSAL, f"later {event}")[1] is None


def test_jobs_that_fail_alike_halt_and_cost_no_attempt_and_only_a_result_ends_their_run() -> None:
    blame = Blame()
    for event in range(LIMIT - 1):
        blame.succeeded(Call.SUBMIT, f"job {event}")
        blame.succeeded(Call.STATUS, JobState.PROCESSING)
        assert weigh(blame, Call.STATUS, FAILURE, event)[1] is None
    judged, cause = weigh(blame, Call.STATUS, FAILURE, "last")
    assert isinstance(judged, Retry)
    assert (judged.step, judged.counted, cause) == (Step.RESUBMIT, False, "failed_jobs")
    blame.succeeded(Call.RESULT, DONE)
    assert weigh(blame, Call.STATUS, FAILURE, "after")[1] is None


def test_many_calls_in_a_row_without_an_answer_are_an_outage() -> None:
    for error in (SILENCE, Refused(502, "bad gateway", is_json=False), Refused(522, "", is_json=False)):
        blame = Blame()
        for event in range(OUTAGE_RUN - 1):
            assert weigh(blame, Call.SUBMIT, error, event)[1] is None
        assert weigh(blame, Call.SUBMIT, error, "last")[1] == "outage"


def test_any_answer_ends_the_run_of_unanswered_calls() -> None:
    blame = Blame()
    for _ in range(OUTAGE_RUN - 1):
        weigh(blame, Call.SUBMIT, SILENCE, "event")
    weigh(blame, Call.SUBMIT, REFUSAL, "other")
    assert weigh(blame, Call.SUBMIT, SILENCE, "event")[1] is None
    for _ in range(OUTAGE_RUN - 2):
        weigh(blame, Call.SUBMIT, SILENCE, "event")
    blame.succeeded(Call.STATUS, JobState.QUEUED)
    assert weigh(blame, Call.SUBMIT, SILENCE, "event")[1] is None


def test_one_lost_answer_uses_up_an_attempt_and_a_second_in_a_row_does_not() -> None:
    blame = Blame()
    first, _ = weigh(blame, Call.SUBMIT, SILENCE, "event")
    second, _ = weigh(blame, Call.SUBMIT, SILENCE, "event")
    assert isinstance(first, Retry)
    assert isinstance(second, Retry)
    assert (first.counted, second.counted) == (True, False)
