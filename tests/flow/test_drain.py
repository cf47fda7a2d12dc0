"""Hand-overs in order: nothing is paid again, and they are bounded in time, whatever the jobs do."""

import asyncio

import pytest

from tests.flow.harness import House, copies, in_house
from tests.flow.test_unknown_submit import slow_submits
from worker.model import EmbedRequest
from worker.notices import Recalled


def produce(house: House, count: int) -> None:
    for n in range(count):
        house.produce(f"{n}", key=f"k{n}")


def test_a_stop_leaves_running_jobs_at_once_and_the_next_owner_polls_them_on() -> None:
    async def test(house: House) -> None:
        house.api.latency = 60.0
        produce(house, 100)
        worker = house.start()
        await house.until(lambda: len(house.recorded()) == 100, 10.0)
        assert await house.stop_one(worker) < 1.0
        house.start()
        await house.until(lambda: house.lag() == 0, 90.0)
        assert set(house.api.posts.values()) == {1}
        assert set(copies(house).values()) == {1}

    in_house(test)


def test_many_stops_in_order_while_events_come_in_pay_nothing_twice() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        for n in range(200):
            house.produce(f"{n}", key=f"k{n}")
            await house.clock.sleep(0.037)
            if n % 20 == 19:
                await house.stop_one(worker)
                worker = house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}
        assert set(copies(house).values()) == {1}
        assert all(notice.clean for notice in house.observer.of(Recalled))

    in_house(test)


def test_many_rebalances_while_events_come_in_pay_nothing_twice() -> None:
    async def test(house: House) -> None:
        house.start()
        second = house.start()
        for n in range(300):
            house.produce(f"{n}", key=f"k{n}")
            await house.clock.sleep(0.037)
            if n % 30 == 29:
                await house.stop_one(second)
                second = house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}
        assert set(copies(house).values()) == {1}

    in_house(test, partitions=6)


@pytest.mark.parametrize("way", ["stop", "rebalance"])
def test_a_post_that_is_answered_while_the_worker_drains_is_recorded(way: str) -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        house.start()
        await house.clock.sleep(1.0)
        submit = slow_submits(house, 2.0)
        produce(house, 20)
        await house.clock.sleep(0.5)
        assert not house.api.jobs
        if way == "stop":
            await house.stop()
            assert len(house.recorded()) == 20
        else:
            house.start()
            await house.until(lambda: len(house.workers[1].source.owned) == 2, 10.0)
            assert len(house.recorded()) == 20
        house.api.submit = submit  # type: ignore[method-assign,assignment]
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}

    in_house(test, partitions=4)


def test_a_post_without_an_answer_does_not_hold_up_a_stop_for_longer_than_the_drain() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        await house.clock.sleep(1.0)
        slow_submits(house, 500.0)
        produce(house, 20)
        await house.clock.sleep(0.5)
        assert 4.9 < await house.stop_one(worker) < 7.0

    in_house(test, WORKER_LIMITS__DRAIN="5")


@pytest.mark.parametrize("drain", ["leave", "wait"])
def test_no_post_starts_once_a_stop_has_begun(drain: str) -> None:
    async def test(house: House) -> None:
        worker = house.start()
        await house.clock.sleep(1.0)
        produce(house, 100)
        slow, started = house.api.submit, 0

        async def counted(request: EmbedRequest) -> str:
            nonlocal started
            started += 1
            await asyncio.sleep(2.0)
            return await slow(request)

        house.api.submit = counted  # type: ignore[method-assign]
        await house.clock.sleep(1.07)  # the others wait for their turn, which comes five times a second
        before = started
        await house.stop_one(worker)
        assert 0 < started == before < 20

    in_house(test, WORKER_PACE__REQUESTS_PER_MINUTE="300", WORKER_GUARANTEES__DRAIN=drain)


def test_a_stop_that_waits_ends_the_running_jobs_first() -> None:
    async def test(house: House) -> None:
        house.api.latency = 10.0
        produce(house, 50)
        worker = house.start()
        await house.until(lambda: len(house.recorded()) == 50, 10.0)
        assert 8.0 < await house.stop_one(worker) < 15.0
        assert (len(house.vectors()), house.lag()) == (50, 0)

    in_house(test, WORKER_GUARANTEES__DRAIN="wait")


def test_a_stop_that_waits_is_bounded_and_leaves_the_rest_to_the_next_owner() -> None:
    async def test(house: House) -> None:
        house.api.latency = 100.0
        produce(house, 50)
        worker = house.start()
        await house.until(lambda: len(house.recorded()) == 50, 10.0)
        assert 20.0 <= await house.stop_one(worker) < 23.0
        house.start()
        await house.until(lambda: house.lag() == 0, 120.0)
        assert set(house.api.posts.values()) == {1}

    in_house(test, WORKER_LIMITS__DRAIN="20", WORKER_GUARANTEES__DRAIN="wait")


@pytest.mark.parametrize(("latency", "ended"), [(2.0, True), (30.0, False)])
def test_a_rebalance_that_waits_gives_jobs_three_seconds(latency: float, ended: bool) -> None:
    async def test(house: House) -> None:
        house.api.latency = latency
        produce(house, 60)
        house.start()
        await house.until(lambda: len(house.recorded()) == 60, 10.0)
        house.start()
        seconds = await house.until(lambda: len(house.workers[1].source.owned) == 2, 10.0)
        assert seconds < 3.5
        if ended:
            assert house.ended > 20
        else:
            assert house.ended == 0
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}
        assert set(copies(house).values()) == {1}

    in_house(test, partitions=4, WORKER_GUARANTEES__DRAIN="wait")


def test_a_rebalance_that_leaves_jobs_is_over_at_once() -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        produce(house, 60)
        house.start()
        await house.until(lambda: len(house.recorded()) == 60, 10.0)
        house.start()
        assert await house.until(lambda: len(house.workers[1].source.owned) == 2, 10.0) < 0.5

    in_house(test, partitions=4)
