from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.core.pace import Pace


def grants_until(pace: Pace, now: float, end: float) -> tuple[list[float], float]:
    """Take as much as there is, asking again exactly when told to."""
    granted: list[float] = []
    while now < end:
        wait = pace.take(now)
        if wait == 0.0:
            granted.append(now)
        now += wait
    return granted, now


def clean_minute(pace: Pace, start: float) -> float:
    """Use the whole budget, every answer a good one, up to the first answer that ends the minute; returns its time."""
    now = start
    while True:
        wait = pace.take(now)
        if wait == 0.0:
            pace.answered(now)
            if now >= start + 60.0:
                return now
        now += wait


def test_the_first_request_is_granted_at_once_and_the_next_after_its_share_of_the_minute() -> None:
    pace = Pace(100.0, 120)
    assert pace.take(100.0) == 0.0
    assert pace.take(100.0) == pytest.approx(0.5)
    assert pace.take(100.375) == pytest.approx(0.125)
    assert pace.take(100.5) == 0.0


def test_a_far_token_is_worth_asking_for_again_after_a_second_because_the_share_may_have_grown() -> None:
    pace = Pace(0.0, 60, share=0.001)
    pace.take(0.0)
    assert pace.take(0.0) == 1.0
    pace.set_share(1.0, 1.0)
    assert pace.take(2.0) == 0.0


def test_a_refused_request_takes_nothing() -> None:
    pace = Pace(0.0, 60)
    pace.take(0.0)
    assert {pace.take(0.5) for _ in range(100)} == {0.5}


@pytest.mark.parametrize("limit", [0.5, 1, 5, 50, 1000])
def test_a_configured_limit_is_used_up(limit: float) -> None:
    granted, _ = grants_until(Pace(0.0, limit), 0.0, 600.0)
    assert len(granted) >= limit * 10 - 1


def test_an_idle_worker_gathers_one_second_of_budget_and_no_more() -> None:
    pace = Pace(0.0, 1200)
    granted = [pace.take(3600.0) for _ in range(30)]
    assert granted.count(0.0) == 20


def test_a_429_shuts_the_gate_until_the_reset_time() -> None:
    pace = Pace(0.0, 60)
    pace.take(0.0)
    assert pace.throttled(1.0, 17.0, 0.3, started=0.0) == 17.0
    assert pace.take(1.0) == 17.0
    assert pace.take(17.9) == pytest.approx(0.1)
    assert pace.take(18.0) == 0.0


def test_a_reset_is_believed_for_five_minutes_at_most() -> None:
    assert Pace(0.0, 60).throttled(0.0, 9e9, 0.5, started=0.0) == 300.0


@pytest.mark.parametrize("reset_in", [0.0, -40.0, float("nan")])
def test_a_reset_in_the_past_is_a_short_pause(reset_in: float) -> None:
    assert 0.5 <= Pace(0.0, 60).throttled(0.0, reset_in, 0.5, started=0.0) <= 1.0


def test_without_a_reset_time_the_pauses_double_up_to_a_minute() -> None:
    pace, now, pauses = Pace(0.0, 60), 0.0, []
    for _ in range(9):
        pauses.append(pace.throttled(now, None, 1.0, started=now))
        now += pauses[-1]
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])


def test_chance_shortens_a_pause_by_half_at_most() -> None:
    assert Pace(0.0, 60).throttled(0.0, None, 0.0, started=0.0) == 0.5
    assert Pace(0.0, 60).throttled(0.0, None, 1.0, started=0.0) == 1.0


def test_an_answer_ends_the_series_of_pauses() -> None:
    pace = Pace(0.0, 60)
    for now in (0.0, 10.0, 20.0):
        pace.throttled(now, None, 1.0, started=now)
    pace.answered(30.0)
    assert pace.throttled(31.0, None, 1.0, started=31.0) == 1.0


def test_an_answer_that_arrives_while_the_gate_is_shut_does_not_end_the_series() -> None:
    pace = Pace(0.0, 60)
    pace.throttled(0.0, None, 1.0, started=0.0)
    pace.answered(0.5)
    assert pace.throttled(5.0, None, 1.0, started=5.0) == 2.0


def test_many_429s_of_one_burst_count_as_one() -> None:
    pace = Pace(0.0, 800)
    for i in range(50):
        pace.throttled(1.0 + i / 100, None, 1.0, started=0.5 + i / 100)
    assert pace.requests_per_minute == 400
    assert pace.take(2.0) == 0.0


def test_a_straggler_of_the_burst_that_comes_after_the_gate_opened_counts_for_nothing() -> None:
    pace = Pace(0.0, 800)
    pace.throttled(1.0, None, 1.0, started=0.5)
    assert pace.throttled(9.0, None, 1.0, started=0.6) == 0.0
    assert pace.requests_per_minute == 400


def test_a_later_reset_from_the_same_burst_shuts_the_gate_for_longer_and_an_earlier_one_does_not_open_it() -> None:
    pace = Pace(0.0, 800)
    pace.throttled(1.0, 10.0, 1.0, started=0.5)
    assert pace.throttled(2.0, 30.0, 1.0, started=0.6) == 30.0
    assert pace.throttled(3.0, 1.0, 1.0, started=0.7) == 29.0
    assert pace.requests_per_minute == 400


def test_a_429_for_a_request_of_the_reopened_gate_counts() -> None:
    pace = Pace(0.0, 800)
    pace.throttled(1.0, None, 1.0, started=0.5)
    pace.throttled(2.5, None, 1.0, started=2.0)
    assert pace.requests_per_minute == 200


def test_the_learned_limit_never_falls_below_one_a_minute() -> None:
    pace = Pace(0.0, None)
    for i in range(30):
        pace.throttled(i * 100.0, 1.0, 0.5, started=i * 100.0)
    assert pace.requests_per_minute == 1.0


def test_an_unknown_limit_starts_at_sixty_and_doubles_with_each_clean_minute() -> None:
    pace, now, seen = Pace(0.0, None), 0.0, []
    for _ in range(4):
        seen.append(pace.requests_per_minute)
        now = clean_minute(pace, now)
    assert seen == [60, 120, 240, 480]


def test_an_idle_minute_proves_nothing() -> None:
    pace = Pace(0.0, None)
    for minute in range(1, 600):
        pace.take(minute * 60.0)
        pace.answered(minute * 60.0)
    assert pace.requests_per_minute == 60


def test_a_minute_with_a_429_is_not_clean() -> None:
    pace = Pace(0.0, None)
    granted, now = grants_until(pace, 0.0, 40.0)
    for at in granted:
        pace.answered(at)
    pace.throttled(now, 1.0, 0.5, started=now)
    for at in grants_until(pace, now + 1.0, now + 59.0)[0]:
        pace.answered(at)
    assert pace.requests_per_minute == 30


def test_a_configured_limit_is_lowered_by_a_429_and_recovers_to_itself_and_no_further() -> None:
    pace = Pace(0.0, 100)
    pace.throttled(0.0, 1.0, 0.5, started=0.0)
    pace.throttled(2.0, 1.0, 0.5, started=2.0)
    now, seen = 3.0, []
    for _ in range(4):
        seen.append(pace.requests_per_minute)
        now = clean_minute(pace, now)
    assert seen == [25, 50, 100, 100]


def test_a_limit_at_the_bottom_recovers_although_the_share_is_tiny() -> None:
    pace, now = Pace(0.0, 60, share=0.05), 0.0
    for _ in range(10):
        pace.throttled(now, 1.0, 0.5, started=now)
        now += 2.0
    for _ in range(6):
        now = clean_minute(pace, now)
    assert pace.requests_per_minute == pytest.approx(3.0)


def test_the_share_scales_the_budget() -> None:
    pace = Pace(0.0, 120, share=0.25)
    assert pace.requests_per_minute == 30
    pace.set_share(0.0, 0.5)
    assert pace.requests_per_minute == 60
    assert len(grants_until(pace, 0.0, 60.0)[0]) == 60


def test_nothing_is_granted_after_the_first_token_while_no_partition_is_owned() -> None:
    pace = Pace(0.0, 60, share=0.0)
    pace.take(0.0)
    assert pace.take(1000.0) > 0.0


def test_time_that_passed_before_a_share_grew_is_worth_only_the_old_share() -> None:
    pace = Pace(0.0, 60, share=0.0)
    pace.take(0.0)
    pace.set_share(1000.0, 1.0)
    assert pace.take(1000.0) == 1.0
    assert pace.take(1001.0) == 0.0


def test_a_share_that_shrank_takes_the_gathered_burst_away() -> None:
    pace = Pace(0.0, 1200)
    pace.take(100.0)
    pace.set_share(100.0, 0.01)
    pace.set_share(100.0, 1.0)
    assert pace.take(100.0) == 0.0
    assert pace.take(100.0) > 0.0


def test_in_flight_is_what_the_pace_can_fetch_in_fifteen_minutes_and_at_least_one() -> None:
    assert Pace(0.0, 60).in_flight_limit(3.0) == 300
    assert Pace(0.0, 60, share=0.5).in_flight_limit(3.0) == 150
    assert Pace(0.0, 60, share=0.0).in_flight_limit(3.0) == 1
    assert Pace(0.0, 60).in_flight_limit(0.0) == 900


def test_a_busy_half_minute_before_an_idle_hour_proves_nothing() -> None:
    pace = Pace(0.0, None)
    for at in grants_until(pace, 0.0, 35.0)[0]:
        pace.answered(at)
    pace.answered(3600.0)
    assert pace.requests_per_minute == 60


def test_answers_under_a_larger_share_do_not_prove_the_budget_of_a_smaller_one() -> None:
    pace = Pace(0.0, None)
    for at in grants_until(pace, 0.0, 10.0)[0]:
        pace.answered(at)
    pace.set_share(10.0, 0.1)
    pace.answered(65.0)
    assert pace.requests_per_minute == 6


def test_a_clean_minute_begins_when_the_gate_opens_even_if_the_share_changes_before() -> None:
    pace = Pace(0.0, None)
    pace.throttled(0.0, 25.0, 0.5, started=0.0)
    pace.set_share(1.0, 1.0)
    for at in grants_until(pace, 25.0, 80.0)[0]:
        pace.answered(at)
    assert pace.requests_per_minute == 30


def test_time_before_a_change_of_the_limit_is_worth_the_old_limit() -> None:
    raised = Pace(0.0, None)
    for at in grants_until(raised, 0.0, 60.5)[0][:-1]:
        raised.answered(at)
    raised.answered(60.5)
    assert raised.requests_per_minute == 120
    assert raised.take(60.5) == pytest.approx(0.25)

    lowered = Pace(0.0, 60)
    lowered.take(0.0)
    lowered.throttled(0.5, 0.4, 0.5, started=0.0)
    assert lowered.take(0.9) == pytest.approx(0.6)


@given(
    limit=st.floats(0.5, 3000),
    steps=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 40)), max_size=60),
)
def test_a_bucket_grants_just_what_a_brute_force_model_grants(limit: float, steps: list[tuple[float, int]]) -> None:
    """The model keeps no tokens: a request may pass if, counting back from it to each earlier grant, no span of time
    holds more than capacity + rate x length."""
    pace, rate, capacity = Pace(0.0, limit), limit / 60, max(1.0, limit / 60)
    granted: list[float] = []
    now = 0.0

    def allowed(at: float) -> bool:
        from_start = len(granted) + 1 <= 1.0 + rate * at + 1e-6
        spans = (len(granted) - i + 1 <= capacity + rate * (at - began) + 1e-6 for i, began in enumerate(granted))
        return from_start and all(spans)

    for pause, asks in steps:
        now += pause
        for _ in range(asks):
            expected = allowed(now)
            assert (pace.take(now) == 0.0) is expected
            if expected:
                granted.append(now)


class PaceMachine(RuleBasedStateMachine):
    """Random life of a gate: the limits that must hold whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.pace = Pace(self.now, None)
        self.granted: deque[float] = deque()
        self.rates = deque([(self.now, self.pace.requests_per_minute)])
        self.shut_until = 0.0

    def note_rate(self) -> None:
        self.rates.append((self.now, self.pace.requests_per_minute))

    def highest_rate(self, since: float) -> float:
        before = [rate for at, rate in self.rates if at <= since][-1:]
        return max(before + [rate for at, rate in self.rates if at > since])

    @rule(seconds=st.floats(0.0, 30.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(asks=st.integers(1, 30), answer=st.booleans())
    def ask(self, asks: int, answer: bool) -> None:
        for _ in range(asks):
            wait = self.pace.take(self.now)
            assert wait >= 0.0
            if wait > 0.0:
                return
            assert self.now >= self.shut_until, "granted while shut"
            self.granted.append(self.now)
            if answer:
                self.pace.answered(self.now)
                self.note_rate()

    @rule()
    def ask_exactly_when_told(self) -> None:
        wait = self.pace.take(self.now)
        self.now += wait
        if wait > 0.0 and self.pace.take(self.now) > 0.0:
            return
        assert self.now >= self.shut_until, "granted while shut"
        self.granted.append(self.now)

    @precondition(lambda self: self.granted)
    @rule(reset_in=st.none() | st.floats(-10, 1000), unit=st.floats(0, 1), back=st.integers(1, 5))
    def refuse(self, reset_in: float | None, unit: float, back: int) -> None:
        before = self.pace.requests_per_minute
        started = self.granted[-min(back, len(self.granted))]
        shut = self.pace.throttled(self.now, reset_in, unit, started)
        assert 0.0 <= shut <= 300.0 + 1e-9
        assert self.pace.requests_per_minute in (before, pytest.approx(before / 2)) or before < 2
        self.shut_until = max(self.shut_until, self.now + shut)
        self.note_rate()

    @rule(share=st.floats(0, 1))
    def rebalance(self, share: float) -> None:
        self.pace.set_share(self.now, share)
        self.note_rate()

    @invariant()
    def no_minute_holds_more_than_the_limit_and_one_bucket(self) -> None:
        end = self.now
        window = [at for at in self.granted if at > end - 60.0]
        highest = self.highest_rate(end - 60.0)
        assert len(window) <= highest + max(1.0, highest / 60) + 1e-6


TestPaceMachine = PaceMachine.TestCase
TestPaceMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
