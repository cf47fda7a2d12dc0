"""Where the journey of a delivered record goes on."""

from dataclasses import replace

import pytest

from worker.core.ledger import BLANK, Finished, Mark
from worker.core.resume import Follow, GiveUp, Skip, Start, resume
from worker.model import Job, Reason
from worker.settings.guarantees import OnUnknownSubmit

RESUBMIT, DEAD_LETTER = OnUnknownSubmit.RESUBMIT, OnUnknownSubmit.DEAD_LETTER
PENDING = Mark("a", 5.0, 2)
A_JOB = Job("a", 5.0, 2)


@pytest.mark.parametrize(
    ("recalled", "setting", "unclean", "expected"),
    [
        (Finished(), DEAD_LETTER, True, Skip()),
        (BLANK, DEAD_LETTER, True, Start(1)),
        (PENDING, DEAD_LETTER, True, Follow(A_JOB)),
        (PENDING, RESUBMIT, False, Follow(A_JOB)),
        (Mark(None, 5.0, 2, intent=True), RESUBMIT, True, Start(2)),
        (Mark("a", 5.0, 2, intent=True), RESUBMIT, True, Start(2)),
        (Mark(claims=2), DEAD_LETTER, False, Start(1)),
        (replace(PENDING, claims=2), RESUBMIT, False, Follow(A_JOB)),
        (replace(PENDING, claims=1), RESUBMIT, True, Follow(A_JOB)),
        (Mark(claims=1), DEAD_LETTER, True, Start(1)),
    ],
)
def test_where_a_recalled_record_goes_on(
    recalled: Mark | Finished, setting: OnUnknownSubmit, unclean: bool, expected: object
) -> None:
    assert resume(recalled, setting, unclean=unclean) == expected


@pytest.mark.parametrize(("request_id", "job"), [(None, None), ("a", A_JOB)])
@pytest.mark.parametrize("unclean", [True, False])
def test_an_intent_is_a_dead_letter_where_the_setting_says_so(
    request_id: str | None, job: Job | None, unclean: bool
) -> None:
    ending = resume(Mark(request_id, 5.0, 2, intent=True), DEAD_LETTER, unclean=unclean)
    assert isinstance(ending, GiveUp)
    assert (ending.reason, ending.attempts, ending.job) == (Reason.UNKNOWN_SUBMIT, 2, job)


def test_a_record_claimed_twice_that_crashed_the_worker_again_is_a_dead_letter_with_its_job() -> None:
    ending = resume(replace(PENDING, claims=2), RESUBMIT, unclean=True)
    assert isinstance(ending, GiveUp)
    assert (ending.reason, ending.job) == (Reason.INVALID_EVENT, A_JOB)
