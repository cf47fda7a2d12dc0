"""Is it the API that fails, or one event?"""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worker.core.breaker import FAILED, FRESH, LASTING, RUN, WINDOW, Breaker, Fault

BEGIN, NOW = 1000.0, 1020.0


def breaker_after(*events: str) -> Breaker:
    """What is written in capitals has failed, one every half second."""
    breaker = Breaker()
    for n, event in enumerate(events):
        if event.isupper():
            breaker.failed(event, BEGIN + n / 2)
        else:
            breaker.succeeded(event)
    return breaker


def test_a_run_of_failures_of_different_events_opens_it() -> None:
    assert not breaker_after(*"ABABa"[: RUN - 1]).is_open
    assert breaker_after(*"ABABA"[:RUN]).is_open


def test_a_run_of_one_events_failures_opens_it_only_beside_a_silent_api() -> None:
    breaker = breaker_after(*"AAAAAAAAAAAAAAAAAAAAA")
    assert not breaker.is_open
    breaker.heard(NOW, answers=False)
    assert breaker.is_open


def test_many_failures_at_one_moment_open_nothing() -> None:
    breaker = Breaker()
    for n in range(1000):
        breaker.failed(f"{n}", NOW)
    assert not breaker.is_open
    breaker.failed("0", NOW + 0.9 * LASTING)
    assert not breaker.is_open
    breaker.failed("1", NOW + LASTING)
    assert breaker.is_open


def test_half_of_the_recent_calls_open_it_whatever_comes_between() -> None:
    breaker, n = Breaker(), 0
    while not breaker.is_open:
        n += 1
        breaker.failed(f"bad {n}", NOW + n / 2)
        if not breaker.is_open:
            breaker.succeeded(f"good {n}")
    assert n == FAILED + 2 * LASTING


def test_half_of_the_calls_for_a_moment_open_nothing() -> None:
    breaker = Breaker()
    for n in range(WINDOW):
        breaker.failed(f"bad {n}", NOW)
        breaker.succeeded(f"good {n}")
    for n in range(WINDOW):
        breaker.succeeded(f"{n}")
    breaker.failed("bad", NOW + 1.5 * LASTING)
    assert not breaker.is_open


def test_few_failures_among_successes_do_not_open_it() -> None:
    breaker = Breaker()
    for n in range(1000):
        if n % 3:
            breaker.succeeded(f"{n}")
        else:
            breaker.failed(f"{n}", NOW)
        assert not breaker.is_open


def test_a_success_closes_it_and_the_next_failure_does_not_open_it_again() -> None:
    breaker = breaker_after(*"ABABA")
    breaker.succeeded("c")
    assert not breaker.is_open
    breaker.failed("A", NOW)
    assert not breaker.is_open


def test_an_event_that_fails_alone_is_perhaps_at_fault() -> None:
    assert breaker_after(*"aaa").failed("X", NOW) is Fault.PERHAPS
    assert breaker_after(*"X").failed("X", NOW) is Fault.PERHAPS


def test_an_event_that_fails_again_after_others_have_succeeded_is_at_fault() -> None:
    assert breaker_after(*"XYa").failed("X", NOW) is Fault.EVENT
    assert breaker_after(*"XaY").failed("X", NOW) is Fault.EVENT


def test_an_event_that_fails_with_others_is_not_at_fault() -> None:
    assert breaker_after(*"aX").failed("Y", NOW) is Fault.API
    assert breaker_after(*"aXY").failed("X", NOW) is Fault.API


def test_beside_a_silent_api_the_credits_call_decides_each_time() -> None:
    breaker = breaker_after(*"X")
    breaker.heard(NOW, answers=False)
    assert breaker.failed("X", NOW) is Fault.PERHAPS, "which asks the credits call again"
    breaker.succeeded("a")
    assert breaker.failed("X", NOW) is Fault.EVENT


def test_what_one_event_has_met_beside_a_silent_api_is_over_when_the_api_answers() -> None:
    breaker = breaker_after(*"AAAAA")
    breaker.heard(NOW, answers=False)
    assert breaker.is_open
    breaker.heard(NOW, answers=True)
    assert not breaker.is_open
    assert breaker.failed("A", NOW) is Fault.PERHAPS
    breaker = breaker_after(*"ABABA")
    breaker.heard(NOW, answers=True)
    assert breaker.is_open


def test_what_failed_long_ago_speaks_for_nobody() -> None:
    breaker = breaker_after(*"AAAA")
    assert breaker.failed("B", NOW + FRESH + 1.0) is Fault.PERHAPS
    assert breaker.failed("B", NOW + FRESH + 2.0) is Fault.PERHAPS
    assert not breaker.is_open
    assert breaker.failed("C", NOW + FRESH + 3.0) is Fault.API
    assert breaker.is_open


def test_closed_by_hand_it_still_blames_nobody_who_has_failed_with_others() -> None:
    breaker = breaker_after(*"XYXYX")
    breaker.close()
    assert not breaker.is_open
    assert breaker.failed("X", NOW) is Fault.API
    assert not breaker.is_open


def blamed(breaker: Breaker, event: str, *, api_answers: bool, now: float = NOW) -> bool:
    fault = breaker.failed(event, now)
    if fault is Fault.PERHAPS and not api_answers:
        breaker.heard(now, answers=False)
    return fault is Fault.EVENT or (fault is Fault.PERHAPS and api_answers)


@given(st.integers(2, 30), st.integers(2, 5), st.booleans(), st.randoms())
def test_in_a_total_outage_no_event_ends_however_few_are_in_work(
    in_work: int, attempts: int, api_answers: bool, chance: random.Random
) -> None:
    breaker, used, now = Breaker(), Counter[str](), NOW
    for n in range(chance.randrange(30)):
        breaker.succeeded(f"before {n}")
    # every event tries once before one of them tries again, as the pauses between tries have it
    events = [f"{n}" for n in range(in_work)]
    for _ in range(20):
        chance.shuffle(events)
        for event in events:
            now += 0.1
            used[event] += blamed(breaker, event, api_answers=api_answers, now=now)
    assert max(used.values()) < attempts
    assert sum(used.values()) <= api_answers
    assert breaker.is_open


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 50), st.randoms())
def test_an_event_that_always_fails_among_successes_ends_soon(
    others: int, attempts: int, before: int, chance: random.Random
) -> None:
    breaker, used, tries = Breaker(), 0, 0
    for n in range(before):
        breaker.succeeded(f"before {n}")
    while used < attempts:
        tries += 1
        used += blamed(breaker, "bad", api_answers=True)
        for n in range(chance.randint(1, others)):
            breaker.succeeded(f"{tries} {n}")
    assert tries <= attempts + 1


@given(st.integers(1, 5))
def test_an_event_that_fails_alone_on_a_quiet_topic_ends_after_its_attempts_while_the_api_answers(
    attempts: int,
) -> None:
    breaker = Breaker()
    assert all(blamed(breaker, "bad", api_answers=True) for _ in range(attempts))
    assert not any(blamed(Breaker(), "bad", api_answers=False) for _ in range(attempts))


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.booleans(), st.sampled_from((0.0, 1.0, 200.0))), max_size=200
    )
)
def test_it_says_what_its_table_says(calls: list[tuple[int, bool, bool, float]]) -> None:
    """Against a model that remembers all."""
    breaker, now = Breaker(), 0.0
    history: list[tuple[int, bool, float]] = []  # event, failed, at
    window = run = 0  # where they begin in the history
    is_open = silent = False
    since: float | None = None
    for event, fails, goes_silent, passes in calls:
        now += passes
        if not fails:
            window = len(history) if is_open else window
            history.append((event, False, now))
            run = len(history)
            is_open = silent = False
            since = since if sum(failed for _, failed, _ in history[window:][-20:]) >= FAILED else None
            breaker.succeeded(event)
            assert not breaker.is_open
            continue
        earlier = [n for n, (other, _, _) in enumerate(history) if other == event]
        own = (
            bool(earlier) and history[earlier[-1]][1] and any(not failed for _, failed, _ in history[earlier[-1] + 1 :])
        )
        alone = not any(now - at <= FRESH and other != event for other, _, at in history[run:])
        history.append((event, True, now))
        recent = [call for call in history[window:][-20:] if call[1]]
        since = None if len(recent) < FAILED else now if since is None else since
        begin = max(run, window)
        all_failed = len(history) - begin >= RUN and now - history[begin][2] >= LASTING
        enough = (since is not None and now - since >= LASTING) or all_failed
        several = len({other for other, _, at in recent if now - at <= FRESH}) > 1
        is_open = is_open or (enough and (silent or several))
        expected = Fault.API
        if not is_open:
            expected = Fault.EVENT if own else Fault.PERHAPS if alone else Fault.API
        assert breaker.failed(event, now) is expected
        if expected is Fault.PERHAPS:
            breaker.heard(now, answers=not goes_silent)
            silent = goes_silent
            is_open = (enough and (silent or several)) or (is_open and len({other for other, *_ in recent}) > 1)
        assert breaker.is_open == is_open
