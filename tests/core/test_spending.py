"""Sums of the hour and day, prices that are none, and when a cap is reached."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.spending import (
    DAY,
    HOUR,
    MOST,
    NANO,
    NOTHING_SPENT,
    Caps,
    Cost,
    Rate,
    Spent,
    Tariff,
    hour_of,
    known_cost,
    known_credits,
    nanodollars,
)

NOON = 12 + 500 * DAY
COSTS = st.lists(st.tuples(st.integers(NOON - 30, NOON + 30), st.integers(0, 10**12)), max_size=20)


@given(COSTS, st.permutations(range(20)))
def test_sums_are_those_of_the_last_hour_and_its_day_in_whatever_order_costs_come(
    costs: list[tuple[int, int]], order: list[int]
) -> None:
    spent = Spent()
    for index in order:
        if index < len(costs):
            spent = spent.plus(Cost(*costs[index]))
    last = max((hour for hour, _ in costs), default=0)
    assert spent.hour == last
    assert spent.of_hour == sum(nanos for hour, nanos in costs if hour == last)
    assert spent.of_day <= sum(nanos for hour, nanos in costs if hour // DAY == last // DAY)
    in_order = Spent()
    for cost in sorted(costs):
        in_order = in_order.plus(Cost(*cost))
    assert in_order.of_day == sum(nanos for hour, nanos in costs if hour // DAY == last // DAY)


@pytest.mark.parametrize(
    ("hour", "sums"),
    [(NOON, (3, 7)), (NOON + 1, (0, 7)), (NOON + 11, (0, 7)), (NOON + 12, (0, 0)), (NOON + 24, (0, 0))],
)
def test_a_new_hour_and_a_new_day_begin_with_nothing(hour: int, sums: tuple[int, int]) -> None:
    spent = Spent(NOON, 3, 7).at(hour)
    assert (spent.hour, (spent.of_hour, spent.of_day)) == (hour, sums)


@given(st.integers(0, 2**24 - 1), st.integers(0, MOST), st.integers(0, MOST))
def test_whatever_a_ledger_says_is_over_with_the_day(hour: int, of_hour: int, of_day: int) -> None:
    now = Spent(hour, of_hour, of_day).at(NOON)
    assert now.hour == NOON
    assert now.at(NOON + DAY) == Spent(NOON + DAY, 0, 0)


def test_a_sum_does_not_grow_without_bound() -> None:
    assert Spent(NOON, MOST, MOST).plus(Cost(NOON, MOST)) == Spent(NOON, MOST, MOST)


@pytest.mark.parametrize("told", [None, -0.000033, math.nan, math.inf, -math.inf, 1e300, 1000.1])
def test_what_is_no_price_is_not_known(told: float | None) -> None:
    assert known_cost(told) is None


def test_a_price_and_a_balance_are_taken_as_they_are() -> None:
    assert (known_cost(0.0), known_cost(0.000033)) == (0.0, 0.000033)
    assert (known_credits(-1.5), known_credits(1e300), known_credits(math.nan)) == (-1.5, None, None)


@given(st.floats(0, 1000))
def test_a_price_becomes_whole_nanodollars_and_never_nothing(usd: float) -> None:
    assert abs(nanodollars(usd) - usd * NANO) <= 1
    assert (nanodollars(usd) > 0) == (usd > 0.0)


@given(st.floats(0, 4e9))
def test_hours_are_counted_from_1970(epoch: float) -> None:
    assert hour_of(epoch) * HOUR <= epoch < (hour_of(epoch) + 1) * HOUR
    assert hour_of(-epoch) == 0


def test_a_job_is_expected_to_cost_what_the_last_ones_did_and_before_that_what_is_assumed() -> None:
    tariff = Tariff(0.000033)
    assert tariff.expected == 33_000
    tariff.learn(10_000)
    assert tariff.expected == 10_000
    for _ in range(100):
        tariff.learn(20_000)
    assert 19_900 < tariff.expected <= 20_000


@given(st.floats(0.01, 1e6), st.integers(0, 10**15), st.integers(0, 10**12), st.floats(0.001, 1.0))
def test_a_cap_is_reached_when_spent_and_planned_exceed_its_share(
    cap: float, spent: int, planned: int, share: float
) -> None:
    over = spent + planned > cap * share * NANO
    assert bool(Caps(per_hour=cap).reached(Spent(NOON, spent, 0), planned, share)) == over
    assert bool(Caps(per_day=cap).reached(Spent(NOON, 0, spent), planned, share)) == over
    assert Caps().reached(Spent(NOON, spent, spent), planned, share) is None


def test_of_two_caps_the_one_that_is_over_last_decides_when_intake_resumes() -> None:
    caps = Caps(per_hour=1.0, per_day=2.0)
    hour = caps.reached(Spent(NOON, NANO, NANO), 1, 1.0)
    day = caps.reached(Spent(NOON, NANO, 2 * NANO), 1, 1.0)
    assert hour
    assert day
    assert (hour.name, hour.until) == ("spend.max_per_hour", NOON + 1)
    assert (day.name, day.until) == ("spend.max_per_day", NOON + 12)
    assert "1.000000 USD" in hour.sentence
    assert "resumes by itself at 13:00 UTC, or raise spend.max_per_hour and restart" in hour.sentence
    assert "at 00:00 UTC" in day.sentence


def test_a_cap_that_is_less_than_one_job_costs_does_not_promise_that_intake_resumes() -> None:
    whole, quarter = (Caps(0.00005).reached(NOTHING_SPENT, 40_000, share, 40_000) for share in (1.0, 0.25))
    assert whole is None
    assert quarter
    assert "resumes" not in quarter.sentence
    assert (
        "a job is expected to cost 0.000040 USD, which is more than spend.max_per_hour ever allows" in quarter.sentence
    )
    assert "(5e-05 USD, 25 % of it for its partitions): raise spend.max_per_hour and restart" in quarter.sentence


@given(st.lists(st.tuples(st.floats(0, 600), st.integers(0, 10**9)), max_size=40))
def test_the_rate_is_what_the_last_hour_has_cost(steps: list[tuple[float, int]]) -> None:
    rate, now, costs = Rate(), 1000.0, []
    for step, nanos in steps:
        now += step
        rate.add(nanos, now)
        costs.append((now, nanos))
    recent = [nanos for at, nanos in costs if int(at // 60) > int(now // 60) - 60]
    seconds = min(3600.0, max(60.0, now - costs[0][0])) if costs else 3600.0
    assert rate.per_hour(now) == pytest.approx(sum(recent) * HOUR / seconds)
    assert len(rate._minutes) <= 61
