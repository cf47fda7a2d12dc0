"""The takeover wait: after an unclean takeover nothing is POSTed until the lease of the owner before it must be over."""

import pytest

from tests.flow.harness import INPUT, House, copies, in_house
from worker.core.lease import lease_cap
from worker.errors import Refused
from worker.model import EmbedRequest, Position, TopicPartition
from worker.notices import Recalled
from worker.settings import Delivery

CAP = lease_cap(15.0)
"""Of the harness's session timeout."""

either_way = pytest.mark.parametrize("delivery", list(Delivery))


def times_of_posts(house: House) -> list[float]:
    """When POSTs arrive from now on."""
    times: list[float] = []

    def arrives(request: EmbedRequest) -> Refused | None:
        times.append(house.clock.monotonic())
        return None

    house.api.refuse = arrives
    return times


async def killed_with_running_jobs(house: House) -> None:
    """A dead worker's ledger with 10 jobs, and 10 records of which it knew nothing."""
    house.api.latency = 3.0
    for n in range(10):
        house.produce(f"{n}", key=f"k{n}")
    first = house.start()
    await house.until(lambda: len(house.recorded()) == 10, 10.0)
    await house.kill(first)
    for n in range(10, 20):
        house.produce(f"{n}", key=f"k{n}")


@either_way
def test_after_an_unclean_takeover_nothing_is_posted_before_the_cap_while_recorded_jobs_end(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        await killed_with_running_jobs(house)
        times, began = times_of_posts(house), house.clock.monotonic()
        house.start()
        await house.until(lambda: house.ended == 10, CAP - 1.0)
        assert not times
        await house.until(lambda: house.ended == 20, 20.0)
        assert CAP <= min(times) - began < CAP + 0.5
        assert set(copies(house).values()) == {1}

    in_house(test, delivery=delivery)


def test_the_polls_of_recorded_jobs_begin_at_once_after_an_unclean_takeover() -> None:
    async def test(house: House) -> None:
        await killed_with_running_jobs(house)
        before = house.api.calls["status"] + house.api.calls["result"]
        house.start()
        await house.clock.sleep(1.0)
        assert house.api.calls["status"] + house.api.calls["result"] - before >= 10

    in_house(test)


@either_way
def test_a_groups_first_owner_posts_at_once(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.produce("t", key="k")
        house.start()
        assert await house.until(lambda: len(house.api.jobs) == 1) < 0.5

    in_house(test, delivery=delivery)


@either_way
def test_after_a_stop_in_order_the_next_owner_posts_at_once(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        house.produce("old", key="old")
        first = house.start()
        await house.until(lambda: len(house.recorded()) == 1, 10.0)
        await house.stop_one(first)
        house.produce("new", key="new")
        house.start()
        assert await house.until(lambda: house.api.posts["new"] == 1) < 0.5
        assert [notice.clean for notice in house.observer.of(Recalled)] == [True, True]

    in_house(test, partitions=1, delivery=delivery)


def test_after_a_rebalance_in_order_the_new_owner_posts_at_once() -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        for n in range(20):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: len(house.recorded()) == 20, 10.0)
        house.start()
        await house.until(lambda: len(house.workers[1].source.owned) == 2, 10.0)
        for where in house.workers[1].source.owned:
            house.broker.publish(INPUT, b"new", b'{"text": "new"}', partition=where.partition)
        assert await house.until(lambda: house.api.posts["new"] == 2) < 0.5

    in_house(test, partitions=4)


def test_after_a_hand_over_within_the_owners_own_wait_the_next_one_waits_again() -> None:
    async def test(house: House) -> None:
        await killed_with_running_jobs(house)
        times = times_of_posts(house)
        second = house.start()
        await house.clock.sleep(CAP - 1.0)
        await house.stop_one(second)
        began = house.clock.monotonic()
        house.start()
        await house.until(lambda: house.ended == 20, 30.0)
        assert min(times) - began >= CAP

    in_house(test, partitions=1)


def test_after_a_hand_over_when_the_owners_own_wait_is_over_the_next_one_posts_at_once() -> None:
    async def test(house: House) -> None:
        await killed_with_running_jobs(house)
        second = house.start()
        await house.clock.sleep(CAP + 1.0)
        await house.stop_one(second)
        house.start()
        house.produce("new", key="new")
        assert await house.until(lambda: house.api.posts["new"] == 1) < 0.5

    in_house(test, partitions=1)


def test_who_takes_partitions_from_a_member_that_was_expelled_waits() -> None:
    async def test(house: House) -> None:
        house.start()
        house.start()
        await house.clock.sleep(20.0)
        lost = tuple(house.workers[0].source.owned)
        times, began = times_of_posts(house), house.clock.monotonic()
        await house.broker.expel(house.workers[0].source, silent=60.0)
        for where in lost:
            house.broker.publish(INPUT, b"k", b'{"text": "t"}', partition=where.partition)
        await house.until(lambda: house.ended == 2, 30.0)
        assert min(times) - began >= CAP

    in_house(test, partitions=4)


def test_an_operators_reset_does_everything_again_and_waits_before_it_pays() -> None:
    async def test(house: House) -> None:
        for n in range(10):
            house.produce(f"{n}", key=f"k{n}")
        first = house.start()
        await house.until(lambda: house.lag() == 0, 10.0)
        await house.stop_one(first)
        house.commit_by_hand(Position(4))
        times, began = times_of_posts(house), house.clock.monotonic()
        house.start()
        await house.until(lambda: house.ended == 16, 30.0)
        assert min(times) - began >= CAP
        assert house.observer.of(Recalled)[-1].problem == "no metadata"

    in_house(test, partitions=1)


def test_a_partition_that_was_added_to_the_topic_is_worked_on_at_once() -> None:
    async def test(house: House) -> None:
        house.start()
        await house.clock.sleep(1.0)
        house.broker.create_topic(INPUT, 2)
        await house.broker.rebalance(house.settings.kafka.group_id)
        house.broker.publish(INPUT, b"k", b'{"text": "t"}', partition=1)
        assert await house.until(lambda: house.ended == 1) < 3.0
        assert house.observer.of(Recalled)[-1].partition == TopicPartition(INPUT, 1)

    in_house(test, partitions=1)


def test_no_record_is_taken_up_before_the_takeover_is_committed() -> None:
    async def test(house: House) -> None:
        await killed_with_running_jobs(house)
        house.broker.faults.abort_commit = 10**9
        worker = house.start()
        await house.clock.sleep(60.0)
        assert worker.in_flight == 0
        house.broker.faults.abort_commit = 0
        await house.until(lambda: house.ended == 20, 30.0)
        assert set(house.api.posts.values()) == {1}

    in_house(test, partitions=1)
