"""Whose fault a refusal is, over all events."""

import random

from hypothesis import given
from hypothesis import strategies as st

from worker.core.blame import LONG, MOMENT, WHILE, Blame, Matter, Whose
from worker.core.endings import Call, Reject
from worker.core.refusals import LIMIT
from worker.core.verdicts import judge
from worker.errors import JobFailed, Refused, WorkerError
from worker.model import Metrics


def rejected(call: Call, error: WorkerError) -> Reject:
    verdict = judge(call, error)
    assert isinstance(verdict, Reject)
    assert verdict.suspect
    return verdict


REFUSED = rejected(Call.SUBMIT, Refused(400, "bad dimension", is_json=True))
REFUSED_OTHERWISE = rejected(Call.SUBMIT, Refused(400, "the text is too long", is_json=True))
FAILED = rejected(Call.STATUS, JobFailed("invalid argument: output_dimensionality", Metrics()))


def refused(blame: Blame, event: str | int, verdict: Reject = REFUSED) -> Whose:
    return blame.refused(Matter.SUBMIT, verdict, event)


def test_many_different_events_refused_alike_are_the_configurations_fault_until_one_succeeds() -> None:
    blame = Blame()
    for event in range(LIMIT - 1):
        assert refused(blame, event) is Whose.OPEN
    assert refused(blame, "last") is Whose.CONFIGURATION
    assert refused(blame, "later", REFUSED_OTHERWISE) is Whose.CONFIGURATION
    blame.succeeded(Matter.SUBMIT)
    assert refused(blame, "new") is Whose.OPEN


def test_one_that_is_refused_again_after_others_have_succeeded_is_at_fault() -> None:
    blame = Blame()
    refused(blame, "bad")
    assert refused(blame, "bad") is Whose.OPEN
    blame.succeeded(Matter.SUBMIT)
    assert refused(blame, "bad") is Whose.EVENT


def test_a_success_decides_on_the_only_one_that_was_refused_and_has_several_tried_again() -> None:
    blame = Blame()
    refused(blame, "bad")
    blame.succeeded(Matter.SUBMIT)
    blame.succeeded(Matter.SUBMIT)
    assert blame.after_success(Matter.SUBMIT, "bad") is Whose.EVENT
    refused(blame, "one")
    refused(blame, "two")
    blame.succeeded(Matter.SUBMIT)
    assert blame.after_success(Matter.SUBMIT, "one") is Whose.OPEN


def test_an_unusable_result_is_tried_again_only_where_intake_was_halted_for_it_as_that_is_paid() -> None:
    blame = Blame()
    for event in range(2):
        blame.refused(Matter.RESULT, REFUSED, event)
    blame.succeeded(Matter.RESULT)
    assert blame.after_success(Matter.RESULT, 0) is Whose.EVENT
    for event in range(LIMIT):
        blame.refused(Matter.RESULT, REFUSED, f"later {event}")
    blame.succeeded(Matter.RESULT)
    blame.succeeded(Matter.RESULT)
    assert blame.after_success(Matter.RESULT, "later 0") is Whose.OPEN


def test_alone_an_event_is_at_fault_after_a_while_and_sooner_where_others_have_succeeded_before() -> None:
    blame = Blame()
    refused(blame, "bad")
    assert blame.patience(Matter.SUBMIT, REFUSED, "bad") == WHILE
    assert blame.after_patience(Matter.SUBMIT, REFUSED, "bad") is Whose.EVENT
    blame.succeeded(Matter.SUBMIT)
    refused(blame, "bad")
    assert blame.patience(Matter.SUBMIT, REFUSED, "bad") == MOMENT
    assert blame.after_patience(Matter.SUBMIT, REFUSED, "bad") is Whose.EVENT


def test_several_are_not_at_fault_where_none_ever_succeeded_and_are_after_long_where_some_have() -> None:
    blame = Blame()
    refused(blame, "one")
    refused(blame, "two")
    assert blame.patience(Matter.SUBMIT, REFUSED, "one") == WHILE
    assert blame.after_patience(Matter.SUBMIT, REFUSED, "one") is Whose.CONFIGURATION
    assert refused(blame, "three") is Whose.CONFIGURATION
    blame.succeeded(Matter.SUBMIT)
    refused(blame, "one")
    refused(blame, "two")
    refused(blame, "four")
    assert blame.patience(Matter.SUBMIT, REFUSED, "four") == LONG
    assert blame.after_patience(Matter.SUBMIT, REFUSED, "four") is Whose.EVENT


def test_refusals_of_different_kinds_speak_for_themselves() -> None:
    blame = Blame()
    refused(blame, "one")
    refused(blame, "two", REFUSED_OTHERWISE)
    assert blame.after_patience(Matter.SUBMIT, REFUSED, "one") is Whose.EVENT
    assert blame.after_patience(Matter.SUBMIT, REFUSED_OTHERWISE, "two") is Whose.EVENT


def test_of_jobs_only_a_result_shows_that_the_configuration_works() -> None:
    blame = Blame()
    for event in range(LIMIT - 1):
        blame.succeeded(Matter.SUBMIT)
        assert blame.refused(Matter.JOB, FAILED, event) is Whose.OPEN
    assert blame.refused(Matter.JOB, FAILED, "last") is Whose.CONFIGURATION
    assert blame.cause(Matter.JOB, FAILED).key == "failed_jobs"
    blame.succeeded(Matter.JOB)
    assert blame.refused(Matter.JOB, FAILED, "after") is Whose.OPEN


def test_the_sentence_names_what_was_said_and_the_settings_to_look_at() -> None:
    cause = Blame().cause(Matter.SUBMIT, REFUSED)
    assert cause.key == "refusals"
    assert "HTTP 400: bad dimension" in cause.sentence
    for setting in ("api.model", "api.text_field", "api.task_type", "api.output_dimensionality", "api.extra"):
        assert setting in cause.sentence


@given(st.integers(2, 40), st.integers(0, 5), st.randoms())
def test_while_no_event_ever_succeeds_none_of_several_is_at_fault(
    events: int, rounds: int, chance: random.Random
) -> None:
    blame, names = Blame(), list(range(events))
    for event in names:
        refused(blame, event)
    for _ in range(rounds):
        chance.shuffle(names)
        for event in names:
            assert refused(blame, event) is not Whose.EVENT
            assert blame.after_patience(Matter.SUBMIT, REFUSED, event) is Whose.CONFIGURATION


@given(st.integers(1, 19), st.integers(1, 5), st.randoms())
def test_bad_events_among_good_ones_end_after_two_refusals(bad: int, good: int, chance: random.Random) -> None:
    blame, left = Blame(), list(range(bad))
    blame.succeeded(Matter.SUBMIT)
    for _ in range(2):
        chance.shuffle(left)
        kept = [event for event in left if refused(blame, event) is not Whose.EVENT]
        for _ in range(good):
            blame.succeeded(Matter.SUBMIT)
        left = [event for event in kept if blame.after_success(Matter.SUBMIT, event) is not Whose.EVENT]
    assert not left
