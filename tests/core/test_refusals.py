"""Runs of equal refusals, against a brute-force model, and what makes two refusals equal."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.refusals import LIMIT, RefusalRun, signature

SUCCESS = None
STEPS = st.lists(
    st.one_of(st.just(SUCCESS), st.tuples(st.integers(0, 2 * LIMIT), st.sampled_from("aab"))), max_size=150
)


def brute_force(history: list[tuple[int, str] | None]) -> int:
    """The length of the run at the end of `history`, whose last step is a refusal: walk back to where the run began."""
    last = history[-1]
    assert last is not None
    run: set[int] = set()
    for step in reversed(history):
        if step is SUCCESS or step[1] != last[1]:
            break
        run.add(step[0])
    return min(len(run), LIMIT)


@given(STEPS)
def test_a_run_has_the_length_that_counting_back_gives(steps: list[tuple[int, str] | None]) -> None:
    run = RefusalRun()
    for number, step in enumerate(steps):
        if step is SUCCESS:
            run.succeeded()
        else:
            assert run.refused(*step) == brute_force(steps[: number + 1])


@given(st.integers(LIMIT, 5 * LIMIT))
def test_a_run_keeps_at_most_the_limit(events: int) -> None:
    run = RefusalRun()
    lengths = [run.refused(event, "same") for event in range(events)]
    assert lengths[: LIMIT - 1] == list(range(1, LIMIT))
    assert set(lengths[LIMIT - 1 :]) == {LIMIT}
    assert len(run._events) == LIMIT


def test_one_event_refused_many_times_is_a_run_of_one() -> None:
    run = RefusalRun()
    assert {run.refused("the same event", "same") for _ in range(3 * LIMIT)} == {1}


def test_a_success_ends_the_run_even_for_the_same_signature() -> None:
    run = RefusalRun()
    run.refused("one", "same")
    run.refused("two", "same")
    run.succeeded()
    assert run.refused("three", "same") == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Invalid value 'abc' for task_type", "Invalid value 'something else' for task_type"),
        ('Invalid value "it\'s" for input', 'invalid  value "" for input'),
        ("expected at most 2048 tokens, got 2049", "expected at most 2048 tokens, got 31,000"),
        ("job req_8fa21bc77de failed", "job req_0000000000a failed"),
        ("value is -0.5", "value is 17"),
        ("cut off: 'a very long val", "cut off: 'another"),
        ("Line\none", "line one"),
    ],
)
def test_refusals_that_differ_in_values_only_are_equal(one: str, other: str) -> None:
    assert signature(400, one) == signature(400, other)


@given(
    st.uuids(), st.uuids(), st.integers(0), st.integers(0), st.text(st.characters(exclude_characters='"'), max_size=40)
)
def test_uuids_numbers_and_quoted_values_do_not_count(a: uuid.UUID, b: uuid.UUID, n: int, m: int, value: str) -> None:
    assert signature(400, f'request {a}: "{value}" took {n} s') == signature(400, f'Request {b}: "x" took {m} s')


def test_refusals_of_different_meaning_are_different() -> None:
    texts = ("missing field", "can't read the field", "couldn't read the field", "wrong model")
    assert len({signature(400, text) for text in texts}) == len(texts)
    assert signature(400, "missing field") != signature(500, "missing field")


@given(st.text(max_size=2000))
def test_a_signature_is_short_and_made_of_any_text(text: str) -> None:
    assert len(signature(400, text)) <= 304
