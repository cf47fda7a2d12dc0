"""What is spent: counted once, kept in the ledgers, capped by the hour and the day."""

from collections import deque
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.virtual_time import EPOCH
from tests.flow.harness import House, in_house
from tests.flow.test_adoption import replay, timed_out
from worker.core.ledger_codec import encode
from worker.core.spending import NANO, Spent, hour_of
from worker.errors import Unanswered
from worker.model import Metrics, Position
from worker.notices import Halted, Healed, Spend
from worker.settings import Delivery

CALL = 0.000033
HOUR = 3600.0


def produce(house: House, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        house.produce(f"{n}", key=f"k{n}")


def cap(calls: float, per: str = "hour", **more: str) -> dict[str, Any]:
    """A cap of so many calls."""
    return {f"WORKER_SPEND__MAX_PER_{per.upper()}": repr(calls * CALL * 1.0001), **more}


def in_ledgers(house: House) -> float:
    """Calls that the committed ledgers say were paid this hour."""
    numbers = [number for number in range(len(house.broker.partitions(["texts"]))) if house.committed(number)]
    hour = hour_of(house.clock.epoch())
    return sum(house.ledger(number).spent.at(hour).of_hour for number in numbers) / NANO / CALL


async def next_hour(house: House) -> None:
    now = house.clock.epoch()
    await house.clock.sleep((hour_of(now) + 1) * HOUR - now + 1.0)


async def until_midnight(house: House) -> None:
    """Up to a second before it."""
    await house.clock.sleep(24 * HOUR - house.clock.epoch() % (24 * HOUR) - 1.0)


@pytest.mark.parametrize("delivery", Delivery)
def test_a_cap_halts_intake_until_the_hour_is_over_and_is_not_overshot_by_what_is_in_flight(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        produce(house, 400)
        worker = house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 60.0)
        await house.clock.sleep(120.0)
        assert len(house.api.jobs) == house.ended == 100
        (reason,) = worker.not_ready()
        assert "spend: 0.003300 USD are spent" in reason
        assert "spend.max_per_hour" in reason
        assert "intake resumes by itself at " in reason
        assert worker.not_live() == []
        calls = house.api.calls.copy()
        await house.clock.sleep(60.0)
        assert house.api.calls == calls  # nothing is probed
        await next_hour(house)
        await house.until(lambda: house.ended == 200, 60.0)
        await house.clock.sleep(60.0)
        assert len(house.api.jobs) == 200
        for _ in range(2):
            await next_hour(house)
        await house.until(lambda: house.lag() == 0, 60.0)
        await next_hour(house)
        assert worker.not_ready() == []
        assert house.api.bills == house.ended == 400

    in_house(test, delivery=delivery, **cap(100))


def test_a_cap_a_day_holds_over_the_hours_and_ends_with_the_day() -> None:
    async def test(house: House) -> None:
        produce(house, 150)
        worker = house.start()
        await house.until(lambda: house.ended == 100, 60.0)
        await next_hour(house)
        await house.clock.sleep(HOUR)
        assert house.ended == 100
        assert "spend.max_per_day" in worker.not_ready()[0]
        assert "00:00 UTC" in worker.not_ready()[0]
        await until_midnight(house)
        assert house.ended == 100
        await house.until(lambda: house.lag() == 0, 60.0)

    in_house(test, **cap(100, "day"))


def test_a_cap_survives_restarts_and_a_kill_and_goes_on_where_it_is_raised() -> None:
    async def test(house: House) -> None:
        produce(house, 400)
        worker = house.start()
        await house.until(lambda: house.ended > 30, 60.0)
        for _ in range(3):
            await house.stop_one(worker)
            worker = house.start()
            await house.clock.sleep(1.0)
        await house.kill(worker)
        worker = house.start()
        await house.clock.sleep(120.0)
        assert house.ended == 100
        assert in_ledgers(house) == pytest.approx(100, rel=1e-4)
        await house.stop_one(worker)
        worker = house.start()
        await house.clock.sleep(1.0)
        assert "spend" in worker.not_ready()[0]  # before it tries to pay for anything
        await house.stop_one(worker)
        worker = house.start(**cap(200))
        await house.clock.sleep(60.0)
        assert house.ended == 200
        assert in_ledgers(house) == pytest.approx(200, rel=1e-4)

    in_house(test, **cap(100))


def test_what_a_partition_has_spent_goes_with_it_and_the_cap_is_divided_by_share() -> None:
    async def test(house: House) -> None:
        produce(house, 2000)
        first = house.start()
        await house.until(lambda: house.ended > 40, 60.0)
        second = house.start()
        await house.clock.sleep(300.0)
        assert 90 <= house.ended <= 100
        assert {worker.spend().share for worker in (first, second)} == {0.5}
        sums = [worker.spend().spent_this_hour or 0.0 for worker in (first, second)]
        assert sum(sums) == pytest.approx(house.ended * CALL, rel=1e-3)
        assert all(one <= 50 * CALL * 1.001 for one in sums)
        await house.stop_one(first)
        await house.clock.sleep(60.0)
        assert house.ended == 100  # what the first one had left over of its half
        assert second.spend().spent_this_hour == pytest.approx(100 * CALL, rel=1e-3)
        assert second.spend().share == 1.0

    in_house(test, partitions=4, **cap(100))


def test_results_without_a_price_count_as_assumed_and_are_told_apart() -> None:
    async def test(house: House) -> None:
        house.api.metrics = Metrics(total_time=0.7)
        produce(house, 50)
        worker = house.start()
        await house.clock.sleep(60.0)
        assert house.ended == 20
        spend = worker.spend()
        assert (spend.unknown_costs, spend.assumed_cost) == (20, 0.001)
        assert spend.spent_this_hour == pytest.approx(0.02)

    in_house(test, WORKER_SPEND__MAX_PER_HOUR="0.0201", WORKER_SPEND__ASSUMED_COST="0.001")


@pytest.mark.parametrize("told", [-1.0, 1e300, 1e9, float("nan"), float("inf")])
def test_an_absurd_price_is_none_and_neither_halts_nor_opens_anything(told: float) -> None:
    async def test(house: House) -> None:
        house.api.metrics = Metrics(total_time=0.7, cost=told, remaining_credits=told)
        produce(house, 150)
        worker = house.start()
        await house.clock.sleep(60.0)
        assert house.ended == 100
        assert worker.spend().unknown_costs == 100

    in_house(test, **cap(100))


def test_a_price_below_the_expected_one_lets_intake_go_on_within_the_hour() -> None:
    async def test(house: House) -> None:
        produce(house, 300)
        house.start()
        await house.until(lambda: bool(house.observer.of(Healed)), 30.0)
        assert len(house.api.jobs) < 12
        await house.until(lambda: house.lag() == 0, 60.0)

    # ten calls, as long as each is expected to cost a thousand times what it does
    in_house(test, WORKER_SPEND__MAX_PER_HOUR="0.33", WORKER_SPEND__ASSUMED_COST="0.033")


def test_a_job_that_fails_is_not_counted() -> None:
    async def test(house: House) -> None:
        house.api.failures = {f"{n}": deque(["internal error"]) for n in range(20)}
        produce(house, 40)
        house.start()
        await house.until(lambda: house.lag() == 0, 120.0)
        assert in_ledgers(house) == pytest.approx(40, rel=1e-4)

    in_house(test, **cap(41))


def test_a_result_that_is_fetched_again_after_a_crash_counts_once() -> None:
    async def test(house: House) -> None:
        house.api.latency = 10.0
        produce(house, 60)
        worker = house.start()
        await house.until(lambda: len(house.recorded()) == 60, 10.0)
        house.broker.faults.abort_publish = 10**9
        await house.clock.sleep(15.0)
        assert worker.spend().spent_this_hour == pytest.approx(60 * CALL, rel=1e-3)
        await house.kill(worker)
        house.broker.faults.abort_publish = 0
        worker = house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert worker.spend().spent_this_hour == pytest.approx(60 * CALL, rel=1e-3)
        assert in_ledgers(house) == pytest.approx(60, rel=1e-4)
        assert house.api.bills == 60

    in_house(test)


def test_an_expired_result_counts_as_what_it_was_expected_to_cost() -> None:
    async def test(house: House) -> None:
        produce(house, 1)
        worker = house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.api.down = lambda: Unanswered("refused", sent=False)
        await house.clock.sleep(2 * HOUR)
        house.api.down = None
        await house.until(lambda: house.ended == 1, 600.0)
        assert worker.spend().spent_this_day == pytest.approx(2 * CALL, rel=1e-3)

    in_house(test)


@pytest.mark.parametrize("hour", [0, 2**24 - 1])
def test_absurd_sums_in_a_ledger_are_over_with_their_day(hour: int) -> None:
    async def test(house: House) -> None:
        produce(house, 10)
        worker = house.start()
        await house.until(lambda: house.lag() == 0, 30.0)
        await house.stop_one(worker)
        ledger = replace(house.ledger(), spent=Spent(hour or hour_of(EPOCH), 2**60, 2**60))
        house.commit_by_hand(Position(ledger.offset, encode(ledger)))
        produce(house, 10, 10)
        worker = house.start()
        await house.clock.sleep(30.0)
        assert house.ended == 10
        assert "spend" in worker.not_ready()[0]
        await until_midnight(house)
        assert house.ended == 10
        await house.until(lambda: house.lag() == 0, 60.0)

    in_house(test, partitions=1, **cap(100, "day"))


def test_a_worker_without_partitions_spends_nothing_and_is_not_halted_for_it() -> None:
    async def test(house: House) -> None:
        house.start()
        await house.clock.sleep(5.0)
        idle = house.start()
        await house.clock.sleep(5.0)
        assert "spend" not in " ".join(idle.not_ready())
        assert house.observer.of(Halted) == []

    in_house(test, partitions=1, **cap(100))


def test_credits_and_runway_are_told_when_they_change_and_not_more_often_than_every_five_minutes() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        await house.clock.sleep(1.0)
        nothing = worker.spend()
        assert (nothing.remaining_credits, nothing.runway_hours, nothing.unknown_costs) == (None, None, 0)
        for n in range(120):
            house.api.metrics = Metrics(total_time=0.7, cost=CALL, remaining_credits=10.0 - n * CALL)
            house.produce(f"{n}", key=f"k{n}")
            await house.clock.sleep(30.0)
        told = house.observer.of(Spend)
        assert 3 <= len(told) <= 13
        last = worker.spend()
        assert last.remaining_credits == pytest.approx(10.0, rel=1e-2)
        assert last.runway_hours == pytest.approx(10.0 / (120 * CALL), rel=0.05)

    in_house(test)


def test_in_strict_mode_a_submit_that_may_not_be_paid_leaves_no_intent() -> None:
    async def test(house: House) -> None:
        produce(house, 60)
        worker = house.start()
        await house.clock.sleep(60.0)
        assert house.ended == 30
        await house.kill(worker)
        house.start()
        await house.clock.sleep(2 * HOUR)
        assert house.reasons() == {}
        assert house.ended == 60

    in_house(test, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter", **cap(30))


@pytest.mark.parametrize("mode", ["resubmit", "dead_letter"])
def test_lost_jobs_that_wait_to_be_made_anew_do_not_keep_each_other_from_what_is_left_under_the_cap(mode: str) -> None:
    async def test(house: House) -> None:
        letter = await timed_out(house)
        house.api.latency = 0.7
        for n in range(30):
            replay(house, letter, request_id=b"gone-%d" % n)
        house.start()
        for _ in range(3):
            await next_hour(house)
        await house.until(lambda: house.lag() == 0, 60.0)
        assert house.api.posts == {"t": 1 + 30}

    in_house(test, 1, **cap(10, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT=mode))
