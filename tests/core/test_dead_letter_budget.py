"""Too many dead letters of one reason: when that is so, and when it is over."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.dead_letter_budget import FIXES, PROOF, DeadLetterBudget, Limit, Overrun
from worker.core.halting import FIRST_PROBE, LONGEST_PROBE
from worker.model import Outcome, OutcomeKind, Reason

VECTOR = Outcome(OutcomeKind.VECTOR, None)
SILENT = [Outcome(kind, None) for kind in (OutcomeKind.TOMBSTONE, OutcomeKind.SKIPPED, OutcomeKind.SUPERSEDED)]
REASONS = [Reason.INVALID_EVENT, Reason.INFERENCE_FAILED, Reason.CONTENT_BLOCKED]


def dead(reason: Reason = Reason.INVALID_EVENT) -> Outcome:
    return Outcome(OutcomeKind.DEAD_LETTER, None, reason)


OUTCOMES = st.sampled_from([VECTOR, VECTOR, *map(dead, REASONS), *SILENT])


def exceeded(run: int = 5, share: float = 1.0, window: int = 10) -> DeadLetterBudget:
    budget = DeadLetterBudget(share, window, run)
    for _ in range(max(run, window)):
        budget.counted(dead(), 100.0)
    assert budget.overrun
    return budget


@given(
    st.lists(st.tuples(OUTCOMES, st.integers(0, 4)), max_size=80),
    st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    st.integers(1, 12),
    st.sampled_from([0, 1, 2, 3, 7]),
)
def test_it_is_exceeded_at_the_first_outcome_that_makes_a_share_or_a_run_though_all_in_work_were_to_end_well(
    outcomes: list[tuple[Outcome, int]], share: float, window: int, run: int
) -> None:
    budget = DeadLetterBudget(share, window, run)
    evidence: list[Reason | None] = []
    row = 0
    for outcome, in_work in outcomes:
        told = budget.counted(outcome, 0.0, in_work)
        if outcome in SILENT:
            assert not told
            continue
        newest, length = outcome.reason, window + in_work
        row = row + 1 if evidence and evidence[-1] == newest else 1
        evidence = [*evidence, newest][-length:]
        many = newest and evidence.count(newest) > share * length
        in_a_row = newest and run and row >= run + in_work
        assert told == bool(many or in_a_row)
        if told:
            assert budget.overrun
            assert budget.overrun.reason == newest
            assert budget.overrun.limit == (Limit.RUN if in_a_row else Limit.SHARE)
            return


@given(st.lists(OUTCOMES, max_size=200))
def test_without_limits_nothing_is_too_much(outcomes: list[Outcome]) -> None:
    budget = DeadLetterBudget(1.0, 10, 0)
    assert not any(budget.counted(outcome, 0.0) for outcome in outcomes)
    assert not budget.inherit(Reason.TIMEOUT, 0.0)


@given(st.lists(st.booleans(), max_size=2000))
def test_the_default_limits_take_a_mix_in_which_no_reason_is_every_second_one(flags: list[bool]) -> None:
    budget = DeadLetterBudget(0.5, 200, 50)
    for number, failed in enumerate(flags):
        outcome = dead(REASONS[number % 3]) if failed and number % 2 == 0 else VECTOR
        assert not budget.counted(outcome, 0.0)


@given(st.lists(OUTCOMES, max_size=60))
def test_only_so_many_vectors_in_a_row_of_tried_records_end_it_and_the_window_is_empty_then(
    outcomes: list[Outcome],
) -> None:
    budget, now, row = exceeded(), 100.0, 0
    for outcome in outcomes:
        row = row + 1 if outcome == VECTOR else row if outcome in SILENT else 0
        healed = budget.tried(outcome, now)
        assert healed == (row == PROOF)
        if healed:
            assert budget.overrun is None
            assert not any(budget.counted(dead(), now) for _ in range(4))
            assert budget.counted(dead(), now)
            return
        assert budget.overrun


def test_tried_records_that_fail_double_the_interval_and_others_leave_it_alone() -> None:
    budget, now = exceeded(), 100.0
    waits = [budget.try_in(now)]
    for _ in range(8):
        now += budget.try_in(now)
        assert budget.try_in(now) == 0.0
        for silent in SILENT:
            budget.tried(silent, now)
        budget.tried(VECTOR, now)
        assert budget.try_in(now) == 0.0
        budget.tried(dead(Reason.TIMEOUT), now)
        waits.append(budget.try_in(now))
    assert waits == [FIRST_PROBE, 10.0, 20.0, 40.0, 80.0, 160.0, LONGEST_PROBE, LONGEST_PROBE, LONGEST_PROBE]
    budget.gave_no_outcome(now)
    assert budget.try_in(now) == LONGEST_PROBE


def test_while_it_is_exceeded_what_was_in_work_counts_for_nothing() -> None:
    budget = exceeded()
    for outcome in (VECTOR, VECTOR, VECTOR, VECTOR, dead(Reason.TIMEOUT), dead()):
        assert not budget.counted(outcome, 100.0)
    assert budget.overrun == Overrun(Reason.INVALID_EVENT, Limit.RUN, 5, 5)


def test_a_worker_that_has_seen_nothing_goes_on_from_what_the_one_before_had_seen() -> None:
    fresh = DeadLetterBudget(0.5, 200, 50)
    assert fresh.inherit(Reason.TIMEOUT, 7.0)
    assert not fresh.inherit(Reason.EXPIRED, 7.0)
    assert (fresh.overrun, fresh.try_in(7.0)) == (Overrun(Reason.TIMEOUT, Limit.INHERITED), 0.0)
    experienced = DeadLetterBudget(0.5, 200, 50)
    experienced.counted(VECTOR, 0.0)
    assert not experienced.inherit(Reason.TIMEOUT, 7.0)


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("limit", Limit)
def test_the_sentence_names_reason_numbers_fix_and_setting_for_every_reason(reason: Reason, limit: Limit) -> None:
    sentence = Overrun(reason, limit, 126, 200).sentence
    assert sentence.startswith(f"dead_letters: {reason} ")
    assert FIXES[reason] in sentence
    assert "resumes by itself" in sentence
    assert "dead_letters.share" in sentence
    if limit is Limit.SHARE:
        assert "63 % of the last 200" in sentence
    if limit is Limit.RUN:
        assert "126 times in a row" in sentence


def test_what_overtakes_all_that_waits_for_the_api_exceeds_nothing() -> None:
    """A fifth of a topic cannot be decoded, and a thousand others wait: so far nothing else has ended."""
    budget = DeadLetterBudget(0.5, 200, 50)
    assert not any(budget.counted(dead(), 0.0, in_work=1000) for _ in range(250))
    assert not any(budget.counted(VECTOR, 0.0, in_work=1000 - n) for n in range(1000))
    garbage = DeadLetterBudget(0.5, 200, 50)
    assert next(count for count in range(300) if garbage.counted(dead(), 0.0, in_work=256)) < 250


def test_the_window_forgets_what_has_left_it() -> None:
    budget = DeadLetterBudget(0.5, 10, 0)
    outcomes = [dead()] * 5 + [VECTOR] * 10 + [dead()] * 5
    assert not any(budget.counted(outcome, 0.0) for outcome in outcomes)
    assert +budget._counts == Counter({None: 5, Reason.INVALID_EVENT: 5})
    assert budget.counted(dead(), 0.0)


def test_what_it_says_to_do_where_this_is_normal_is_what_helps_a_restart() -> None:
    raised, none = DeadLetterBudget(0.9, 200, 1000), DeadLetterBudget(1.0, 200, 0)
    assert raised.inherit(Reason.INVALID_EVENT, 0.0)
    assert not none.inherit(Reason.INVALID_EVENT, 0.0)
    assert raised.overrun
    for told in (raised.overrun.sentence, raised.overrun.last_words):
        assert "or restart with dead_letters.share=1 and dead_letters.run=0 (no limit) if this is normal" in told
