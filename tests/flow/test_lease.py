"""The lease: a worker that cannot commit any more does not pay any more."""

from collections.abc import Sequence

import pytest

from tests.fakes.broker import Unknown
from tests.flow.harness import INPUT, House, copies, in_house
from tests.flow.test_takeover import times_of_posts
from worker.errors import Refused
from worker.model import EmbedRequest, TopicPartition
from worker.notices import Leased
from worker.settings import Delivery

either_way = pytest.mark.parametrize("delivery", list(Delivery))

LEASE = 1.0
"""Seconds: the shortest there is, and the effective one where transactions are fast."""


async def traffic(house: House, seconds: float, start: int = 0) -> None:
    """20 records a second."""
    for n in range(int(20 * seconds)):
        house.produce(f"{start + n}", key=f"k{start + n}")
        await house.clock.sleep(0.05)


@either_way
def test_no_post_starts_once_commits_have_failed_for_longer_than_the_lease(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.start()
        times = times_of_posts(house)
        await traffic(house, 5.0)
        house.broker.faults.abort_commit = 10**9
        failing = house.clock.monotonic()
        await traffic(house, 60.0, start=1000)
        late = [time - failing for time in times if time > failing]
        assert late
        assert max(late) < LEASE + 0.1  # the FakeApi's way takes a hundredth of a second
        house.broker.faults.abort_commit = 0
        healed = house.clock.monotonic()
        await house.until(lambda: times[-1] > healed, 6.0)
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(copies(house).values()) == {1}
        assert set(house.api.posts.values()) == {1}

    in_house(test, delivery=delivery)


def test_what_a_killed_worker_had_not_recorded_is_paid_again_and_that_is_at_most_one_lease_of_posts() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        await traffic(house, 5.0)
        await house.until(lambda: house.lag() == 0, 10.0)
        house.broker.faults.abort_commit = 10**9
        await traffic(house, 60.0, start=1000)
        await house.kill(worker)
        house.broker.faults.abort_commit = 0
        house.start()
        await house.until(lambda: house.lag() == 0, 120.0)
        repeated = [text for text, count in house.api.posts.items() if count > 1]
        assert 0 < len(repeated) <= 20 * (LEASE + 0.1)
        assert max(house.api.posts.values()) == 2
        assert set(copies(house).values()) == {1}

    in_house(test)


@either_way
def test_an_idle_worker_commits_nothing(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0, 10.0)
        await house.clock.sleep(5.0)
        before = len(house.decided)
        await house.clock.sleep(3600.0)
        assert len(house.decided) == before

    in_house(test, delivery=delivery)


@either_way
def test_the_first_event_after_an_idle_hour_is_posted_after_one_commit_of_an_unchanged_offset(
    delivery: Delivery,
) -> None:
    async def test(house: House) -> None:
        for n in range(30):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.lag() == 0, 10.0)
        await house.clock.sleep(3600.0)
        offsets = [house.committed(where.partition) for where in house.broker.partitions([INPUT])]
        decided, at_the_post = len(house.decided), []

        def arrives(request: EmbedRequest) -> Refused | None:
            at_the_post.append(house.decided[decided:])
            return None

        house.api.refuse = arrives
        house.produce("late", key="late")
        assert await house.until(lambda: bool(at_the_post)) <= 0.2
        ((renewal,),) = at_the_post
        positions: Sequence[TopicPartition] = [*renewal.positions[house.settings.kafka.group_id]]
        assert not renewal.records
        assert len(positions) == 1
        renewed = renewal.positions[house.settings.kafka.group_id][positions[0]]
        assert renewed.offset == (offsets[positions[0].partition] or renewed).offset

    in_house(test, delivery=delivery)


def test_while_transactions_are_too_slow_for_a_lease_nothing_is_posted_and_readiness_says_so_until_they_are_not() -> (
    None
):
    async def test(house: House) -> None:
        worker = house.start()
        await traffic(house, 2.0)
        house.broker.faults.commit_delay = 3.0
        await traffic(house, 60.0, start=1000)
        (reason,) = worker.not_ready()
        assert reason.startswith("lease: transactions take 3.0 s")
        assert "the session timeout allows 1.7 s" in reason
        times, began = times_of_posts(house), house.clock.monotonic()
        await house.clock.sleep(300.0)
        assert not times
        house.broker.faults.commit_delay = 0.0
        await house.until(lambda: bool(times), 120.0)
        assert worker.not_ready() == []
        await house.until(lambda: house.lag() == 0, 120.0)
        assert began < times[0]
        assert set(house.api.posts.values()) == {1}

    in_house(test)


def test_slower_transactions_lengthen_the_lease_and_that_is_told() -> None:
    async def test(house: House) -> None:
        house.broker.faults.commit_delay = 0.5
        worker = house.start()
        times = times_of_posts(house)
        await traffic(house, 20.0)
        told = [notice.seconds for notice in house.observer.of(Leased)]
        assert told[-1] == pytest.approx(2.0, abs=0.2)
        assert worker.not_ready() == []
        assert len(times) > 300

    in_house(test)


def test_a_commit_of_unknown_outcome_ends_the_lease_at_once() -> None:
    async def test(house: House) -> None:
        house.start()
        await traffic(house, 5.0)
        house.broker.faults.fail_settle = 10**9
        house.broker.faults.unknown_commit.append(Unknown.APPLIED)
        await house.until(lambda: not house.broker.faults.unknown_commit or not house.produce("x", key="x"), 10.0)
        unknown, times = house.clock.monotonic(), times_of_posts(house)
        await traffic(house, 10.0, start=1000)
        assert all(time < unknown + 0.1 for time in times)
        house.broker.faults.fail_settle = 0
        await house.until(lambda: house.lag() == 0, 30.0)

    in_house(test)


def test_one_slow_transaction_does_not_stop_posts_for_long() -> None:
    async def test(house: House) -> None:
        house.start()
        await traffic(house, 5.0)
        await house.until(lambda: house.lag() == 0, 10.0)
        house.broker.faults.commit_delay = 5.0  # a broker is restarted
        await traffic(house, 1.0, start=1000)
        house.broker.faults.commit_delay = 0.0
        await traffic(house, 9.0, start=1020)
        await house.until(lambda: house.lag() == 0, 10.0)

    in_house(test)
