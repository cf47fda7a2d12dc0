"""The last commit of an owner fails at first: it is tried again while there is time, so that nothing is paid twice for it."""

import asyncio
from collections import deque
from collections.abc import Callable

import pytest

from tests.fakes.kafka.faults import Faults, Unknown
from tests.flow.harness import House, in_house

EVENTS = 40


def abort_commits(faults: Faults) -> None:
    faults.abort_commit = 2


def abort_a_produce(faults: Faults) -> None:
    faults.abort_publish = 1


def lose_commits(faults: Faults) -> None:
    faults.unknown_commit = deque([Unknown.LOST, Unknown.LOST])


def lose_a_commit_and_the_word_on_it(faults: Faults) -> None:
    faults.unknown_commit = deque([Unknown.LOST])
    faults.fail_settle = 1


TROUBLE = pytest.mark.parametrize(
    "trouble", [abort_commits, abort_a_produce, lose_commits, lose_a_commit_and_the_word_on_it]
)


async def jobs_unrecorded(house: House) -> None:
    """Answers to all POSTs are there, and no commit has followed."""
    house.api.latency = 0.05
    for number in range(EVENTS):
        house.produce(f"{number}", key=f"k{number}")
    while len(house.api.jobs) < EVENTS:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.06)


@TROUBLE
def test_partitions_are_handed_over_with_their_jobs_though_commits_fail(trouble: Callable[[Faults], None]) -> None:
    async def test(house: House) -> None:
        house.start()
        await house.clock.sleep(5.0)
        await jobs_unrecorded(house)
        trouble(house.broker.faults)
        house.start()
        await house.until(lambda: house.lag() == 0)
        assert house.api.bills == EVENTS

    in_house(test, partitions=4, WORKER_LIMITS__COMMIT_INTERVAL="0.25")


@TROUBLE
def test_a_stop_leaves_its_jobs_to_the_next_worker_though_commits_fail(trouble: Callable[[Faults], None]) -> None:
    async def test(house: House) -> None:
        worker = house.start()
        await house.clock.sleep(5.0)
        await jobs_unrecorded(house)
        trouble(house.broker.faults)
        assert await house.stop_one(worker) < 5.0
        house.start()
        await house.until(lambda: house.lag() == 0)
        assert house.api.bills == EVENTS

    in_house(test, partitions=4, WORKER_LIMITS__COMMIT_INTERVAL="0.25")


def test_a_stop_does_not_wait_longer_than_its_limit_for_a_commit_that_never_stands() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        await house.clock.sleep(5.0)
        await jobs_unrecorded(house)
        house.broker.faults.abort_commit = 1_000_000
        assert 9.0 < await house.stop_one(worker) < 16.0
        house.broker.faults.abort_commit = 0

    in_house(test, partitions=4, WORKER_LIMITS__COMMIT_INTERVAL="0.25", WORKER_LIMITS__DRAIN="10")
