import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.polling import PollSchedule


def latencies(mean: float, count: int, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [chance.lognormvariate(math.log(mean) - 0.125, 0.5) for _ in range(count)]


def poll_until_done(schedule: PollSchedule, latency: float) -> tuple[int, float]:
    """Polls made of one job, and its age when it was seen completed."""
    age, polls = schedule.next(0.0, 0), 1
    while age < latency:
        age += schedule.next(age, polls)
        polls += 1
    return polls, age


def test_the_first_poll_comes_near_the_published_mean_latency_while_nothing_is_known() -> None:
    assert PollSchedule().first() == pytest.approx(0.77)


def test_a_recalled_job_waits_for_the_rest_of_its_first_wait_only() -> None:
    schedule = PollSchedule()
    assert schedule.next(0.0, 0) == schedule.first()
    assert schedule.next(0.5, 0) == pytest.approx(schedule.first() - 0.5)
    assert schedule.next(30.0, 0) == 0.0


def test_the_wait_grows_with_the_age_between_its_bounds() -> None:
    waits = [PollSchedule().next(age, 1) for age in (0.0, 0.2, 1.0, 4.0, 20.0, 500.0)]
    assert waits == [0.2, 0.2, 0.5, 2.0, 10.0, 10.0]


@pytest.mark.parametrize("exact", [True, False])
def test_a_job_costs_about_one_and_a_half_polls_and_waits_under_half_a_mean(exact: bool) -> None:
    schedule, polls, waited = PollSchedule(), 0, 0.0
    jobs = latencies(0.7, 4000)
    for latency in jobs:
        made, age = poll_until_done(schedule, latency)
        polls += made
        waited += age - latency
        schedule.observe(latency if exact else age, exact=exact)
    assert polls / len(jobs) < 1.6
    assert waited / len(jobs) / 0.7 < 0.45


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_rise_of_the_latency_is_followed_within_about_a_hundred_jobs(exact: bool, seed: int) -> None:
    schedule = PollSchedule()
    for latency in latencies(0.7, 300, seed):
        schedule.observe(latency if exact else poll_until_done(schedule, latency)[1], exact=exact)
    before = schedule.first()
    for latency in latencies(3.0, 110, seed):
        schedule.observe(latency if exact else poll_until_done(schedule, latency)[1], exact=exact)
    assert 0.55 < before < 1.1
    assert 2.2 < schedule.first() < 4.6


def test_a_mean_that_is_too_high_is_unlearned_from_ages_alone() -> None:
    schedule = PollSchedule()
    for _ in range(500):
        schedule.observe(30.0, exact=True)
    assert schedule.first() > 20.0
    for latency in latencies(0.7, 1000):
        schedule.observe(poll_until_done(schedule, latency)[1])
    assert schedule.first() < 1.2


def test_one_stuck_job_hardly_moves_the_first_poll() -> None:
    schedule = PollSchedule()
    schedule.observe(3600.0, exact=True)
    assert schedule.first() < 1.1


def test_the_first_poll_never_waits_longer_than_a_minute() -> None:
    schedule = PollSchedule()
    for _ in range(1000):
        schedule.observe(3600.0, exact=True)
    assert schedule.first() == 60.0


def test_a_mean_that_fell_to_nothing_can_rise_again() -> None:
    schedule = PollSchedule()
    for _ in range(1000):
        schedule.observe(0.0, exact=True)
    assert schedule.first() > 0.0
    for _ in range(200):
        schedule.observe(3.0, exact=True)
    assert schedule.first() == pytest.approx(3.3, rel=0.05)


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf, -0.1, 3600.1])
def test_garbage_is_not_learned(garbage: float) -> None:
    schedule = PollSchedule()
    schedule.observe(garbage, exact=True)
    schedule.observe(garbage)
    assert schedule.first() == PollSchedule().first()


@given(
    seen=st.lists(st.tuples(st.floats(), st.booleans()), max_size=50),
    age=st.floats(0, 4000),
    polls=st.integers(0, 100),
)
def test_every_wait_is_bounded_whatever_was_observed(seen: list[tuple[float, bool]], age: float, polls: int) -> None:
    schedule = PollSchedule()
    for latency, exact in seen:
        schedule.observe(latency, exact=exact)
    assert 0.0 < schedule.first() <= 60.0
    assert (0.2 if polls else 0.0) <= schedule.next(age, polls) <= (10.0 if polls else 60.0)
