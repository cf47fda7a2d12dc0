"""How a worker ends: told to, or by itself when all is done."""

import asyncio
import contextlib

import pytest

from tests.flow.harness import DEAD, House, ends_of_input, in_house
from worker.errors import EndNotReached, Unanswered
from worker.model import TopicPartition
from worker.notices import CommitFailed, Halted
from worker.settings import StartFrom


class Nobody:
    """A member of the group that does nothing."""

    def assigned(self, assignments: object) -> None: ...

    def arrived(self, records: object) -> None: ...

    async def revoked(self, partitions: object) -> None: ...

    def lost(self, partitions: object) -> None: ...


async def for_ever(*_: object) -> None:
    await asyncio.sleep(1e9)


async def ended(house: House, number: int, seconds: float) -> float:
    """Wait until a worker has ended by itself; returns how long that took."""
    began = house.clock.monotonic()
    async with asyncio.timeout(seconds):
        await asyncio.shield(house.workers[number][3])
    return house.clock.monotonic() - began


def test_a_stop_is_bounded_when_the_broker_does_not_answer() -> None:
    async def test(house: House) -> None:
        for n in range(50):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        house.broker.faults.publish_delay = 1800.0
        await house.clock.sleep(5.0)
        began = house.clock.monotonic()
        worker = house.workers[0][0]
        await house.stop()
        assert house.clock.monotonic() - began < 40.0
        failures = len(house.observer.of(CommitFailed))
        assert not await worker._parts.commit.now()  # a consumer thread that was left behind may still ask for it
        assert len(house.observer.of(CommitFailed)) == failures

    in_house(test)


@pytest.mark.parametrize("port", ["source", "sink", "api"])
def test_a_stop_is_bounded_when_something_does_not_close(port: str) -> None:
    async def test(house: House) -> None:
        worker = house.start()
        await house.clock.sleep(1.0)
        getattr(worker._ports, port).close = for_ever
        began = house.clock.monotonic()
        await house.stop()
        assert house.clock.monotonic() - began < 15.0

    in_house(test)


@pytest.mark.parametrize(("port", "method"), [("source", "start"), ("sink", "start"), ("api", "credits")])
def test_a_stop_while_starting_ends_at_once_and_closes_everything(port: str, method: str) -> None:
    async def test(house: House) -> None:
        worker = house.start()
        setattr(getattr(worker._ports, port), method, for_ever)
        await house.clock.sleep(1.0)
        began = house.clock.monotonic()
        await house.stop()
        assert house.clock.monotonic() - began < 1.0
        assert house.api.closed

    in_house(test)


def test_what_fails_at_the_start_is_raised() -> None:
    async def test(house: House) -> None:
        async def broken(listener: object) -> None:
            raise ZeroDivisionError("a bug")

        house.start()
        house.workers[0][1].start = broken  # type: ignore[method-assign]
        with pytest.raises(ZeroDivisionError):
            await house.workers[0][3]
        house.workers.clear()
        assert house.api.closed

    in_house(test)


def test_a_stop_while_others_hand_over_drains_what_has_come_already() -> None:
    async def test(house: House) -> None:
        for n in range(50):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        joining, join = house.workers[0][1], house.workers[0][1].start

        async def slow(listener: object) -> None:
            await join(listener)  # type: ignore[arg-type]
            await for_ever()

        house.api.latency = 10.0
        joining.start = slow  # type: ignore[method-assign]
        await house.until(lambda: len(house.api.jobs) == 50)
        await house.stop()
        assert house.lag() == 0

    in_house(test, WORKER_GUARANTEES__DRAIN="wait")


def test_until_end_does_not_leave_partitions_that_a_dead_member_still_holds() -> None:
    async def test(house: House) -> None:
        for n in range(60):
            house.produce(f"{n}", key=f"k{n}")
        ghost = house.broker.source(house.settings.kafka.group_id, ["texts"], start_from=StartFrom.EARLIEST)
        await ghost.start(Nobody())
        house.start(ends_of_input(house))

        async def session_ends() -> None:
            await asyncio.sleep(45.0)
            await house.broker.kill(ghost)

        killer = asyncio.create_task(session_ends())
        with contextlib.suppress(TimeoutError):
            await ended(house, 0, 300.0)
        killer.cancel()
        await asyncio.gather(killer, return_exceptions=True)
        assert house.lag() == 0
        assert house.workers[0][3].done()

    in_house(test, partitions=4)


def test_until_end_a_worker_that_owns_nothing_waits_for_the_others() -> None:
    async def test(house: House) -> None:
        house.api.latency = 100.0
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.start(ends_of_input(house))
        assert 90 < await ended(house, 1, 300.0) < 110
        assert house.lag() == 0

    in_house(test, partitions=1)


def test_until_end_a_worker_that_comes_when_all_is_done_ends_at_once() -> None:
    async def test(house: House) -> None:
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0)
        house.start(ends_of_input(house))
        assert await ended(house, 1, 300.0) < 5

    in_house(test, partitions=1)


@pytest.mark.parametrize("known", [True, False])
def test_until_end_does_not_wait_for_ever_for_an_end_that_nobody_commits(known: bool) -> None:
    """Transaction markers at the end of somebody else's partition, or a group that does not tell its offsets."""

    async def test(house: House) -> None:
        house.broker.faults.no_committed = not known
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0)
        house.start({TopicPartition("texts", 0): 2})
        assert 600 < await ended(house, 1, 3600.0) < 700

    in_house(test, partitions=1, WORKER_API__DEADLINE="600")


def test_until_end_a_halt_is_waited_for() -> None:
    async def test(house: House) -> None:
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.api.down = lambda: Unanswered("refused", sent=False)
        house.start(ends_of_input(house))
        await house.clock.sleep(3600.0)
        assert not house.workers[1][3].done()
        house.api.down = None
        await ended(house, 1, 600.0)
        assert house.lag() == 0

    in_house(test, partitions=1)


def test_until_end_gives_up_where_dead_letters_are_over_budget_and_what_is_tried_is_no_better() -> None:
    async def test(house: House) -> None:
        for n in range(500):
            house.produce("", key=f"k{n}")
        house.start(ends_of_input(house))
        with pytest.raises(EndNotReached, match="a record that was tried ended as a dead letter too: look at what the"):
            await ended(house, 0, 60.0)
        before = len(house.broker.records(DEAD))
        assert 10 <= before < 100
        house.workers.clear()
        house.start(ends_of_input(house))  # begins halted, and tries one record
        with pytest.raises(EndNotReached):
            await ended(house, 0, 60.0)
        assert len(house.broker.records(DEAD)) == before + 1
        house.workers.clear()

    in_house(test, WORKER_DEAD_LETTERS__RUN="10", WORKER_LIMITS__IN_FLIGHT="20")


def test_until_end_a_stop_before_the_end_is_no_success() -> None:
    async def test(house: House) -> None:
        house.api.latency = 100.0
        house.produce("t", key="k")
        house.start(ends_of_input(house))
        await house.until(lambda: len(house.api.jobs) == 1)
        with pytest.raises(EndNotReached, match="stopped before the end of the input"):
            await house.stop()
        house.workers.clear()

    in_house(test, partitions=1)


def test_until_end_finishes_where_dead_letters_are_over_budget_and_what_is_tried_ends_well() -> None:
    async def test(house: House) -> None:
        for n in range(200):
            house.produce("" if n < 30 else f"{n}", key=f"k{n}")
        house.start(ends_of_input(house))
        await ended(house, 0, 1200.0)
        assert house.observer.of(Halted)
        assert house.lag() == 0

    in_house(test, partitions=1, WORKER_DEAD_LETTERS__RUN="30", WORKER_LIMITS__IN_FLIGHT="1")


def test_until_end_outlives_a_moment_outside_the_group() -> None:
    async def test(house: House) -> None:
        for n in range(20):
            house.produce(f"{n}", key=f"k{n}")
        house.api.latency = 20.0
        house.start(ends_of_input(house))
        source = house.workers[0][1]
        await house.until(lambda: len(house.api.jobs) == 20)
        source.drop_all()
        source.group.members.remove(source)
        await house.clock.sleep(10.0)
        source.group.members.append(source)
        await house.broker.rebalance(house.settings.kafka.group_id)
        await ended(house, 0, 300.0)
        assert house.lag() == 0

    in_house(test)
