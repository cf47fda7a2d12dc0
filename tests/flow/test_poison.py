"""A record over which the worker crashes, again and again: it is found, dead-lettered, and its neighbours go through."""

import asyncio

import pytest

from tests.flow.harness import DEAD, House, copies, headers_of, in_house
from worker.errors import Refused
from worker.model import Record
from worker.notices import Recalled, Submitted

POISON = b'{"text": "poison"}'


def crashes_decoding(house: House) -> None:
    """The codec has a bug."""
    decode = house.codec.decode

    async def buggy(topic: str, value: bytes) -> object:
        if value == POISON:
            raise ZeroDivisionError("a bug")
        return await decode(topic, value)

    house.codec.decode = buggy  # type: ignore[method-assign]


def kills_decoding(house: House) -> asyncio.Event:
    """The codec takes the whole process with it; set when it is about to."""
    decode, dying = house.codec.decode, asyncio.Event()

    async def deadly(topic: str, value: bytes) -> object:
        if value == POISON:
            dying.set()
            await asyncio.sleep(1e6)
        return await decode(topic, value)

    house.codec.decode = deadly  # type: ignore[method-assign]
    return dying


def produce_around(house: House, neighbours: int) -> Record:
    """Half of the neighbours, the poison, the other half."""
    for n in range(neighbours // 2):
        house.produce(f"{n}", key=f"k{n}")
    poison = house.broker.publish("texts", b"poison", POISON, partition=0)
    for n in range(neighbours // 2, neighbours):
        house.produce(f"{n}", key=f"k{n}")
    return poison


def check_found(house: House, poison: Record, neighbours: int) -> None:
    (letter,) = house.broker.records(DEAD)
    said = headers_of(letter)
    assert (letter.key, said["dlq.reason"], said["dlq.offset"]) == (b"poison", "INVALID_EVENT", str(poison.offset))
    assert "ended abruptly" in said["dlq.detail"]
    assert len(house.vectors()) == neighbours
    assert set(copies(house).values()) == {1}


async def restarted_until_done(house: House, error: type[Exception]) -> int:
    """As Kubernetes does it; returns the number of crashes."""
    for crashes in range(20):
        worker = house.start()
        task = house.workers[-1].task
        await house.until(lambda task=task: task.done() or house.lag() == 0, 600.0)  # type: ignore[misc]
        if not task.done():
            return crashes
        await house.crash(worker, error)
        await house.clock.sleep(10.0)
    raise AssertionError("it crashes for ever")


@pytest.mark.parametrize("neighbours", [0, 20, 300])
def test_a_record_that_a_bug_meets_is_a_dead_letter_after_five_crashes_and_its_neighbours_go_through(
    neighbours: int,
) -> None:
    async def test(house: House) -> None:
        crashes_decoding(house)
        poison = produce_around(house, neighbours)
        assert await restarted_until_done(house, ZeroDivisionError) == 5
        check_found(house, poison, neighbours)
        assert set(house.api.posts.values()) <= {1}

    in_house(test, partitions=1)


@pytest.mark.parametrize("neighbours", [20, 300])
def test_a_record_that_kills_the_process_is_a_dead_letter_after_as_many_deaths(neighbours: int) -> None:
    async def test(house: House) -> None:
        dying = kills_decoding(house)
        poison = produce_around(house, neighbours)
        deaths = 0
        for _ in range(9):
            worker = house.start()
            await house.until(lambda: dying.is_set() or house.lag() == 0, 900.0)
            if house.lag() == 0:
                break
            dying.clear()
            deaths += 1
            await house.kill(worker)
        assert deaths == 5
        check_found(house, poison, neighbours)

    in_house(test, partitions=1)


def test_a_worker_that_is_killed_once_more_while_it_works_one_by_one_condemns_nobody() -> None:
    async def test(house: House) -> None:
        decode, dying = house.codec.decode, kills_decoding(house)
        poison = produce_around(house, 20)
        for _ in range(4):  # three times without progress, then over the record that works alone
            worker = house.start()
            await house.until(dying.is_set, 900.0)
            dying.clear()
            await house.kill(worker)
        house.codec.decode = decode  # type: ignore[method-assign]  # it was not the record's fault
        house.start()
        await house.until(lambda: house.lag() == 0, 900.0)
        assert (len(house.vectors()), house.reasons()) == (21, {})
        assert copies(house)[poison.key] == 1

    in_house(test, partitions=1)


def test_the_other_partitions_of_a_crashing_worker_go_on_in_its_short_lives() -> None:
    async def test(house: House) -> None:
        crashes_decoding(house)
        house.broker.publish("texts", b"poison", POISON, partition=0)
        for n in range(100):
            house.broker.publish("texts", f"k{n}".encode(), b'{"text": "t"}', partition=1 + n % 2)
        assert await restarted_until_done(house, ZeroDivisionError) <= 5
        assert (len(house.vectors()), house.reasons()) == (100, {"INVALID_EVENT": 1})
        assert set(copies(house).values()) == {1}

    in_house(test)


def test_two_poisonous_records_cost_at_most_twice_as_many_crashes() -> None:
    async def test(house: House) -> None:
        crashes_decoding(house)
        produce_around(house, 20)
        house.broker.publish("texts", b"poison too", POISON, partition=0)
        for n in range(20, 30):
            house.produce(f"{n}", key=f"k{n}")
        assert await restarted_until_done(house, ZeroDivisionError) <= 10
        assert (len(house.vectors()), house.reasons()) == (30, {"INVALID_EVENT": 2})
        assert set(copies(house).values()) == {1}

    in_house(test, partitions=1)


def test_a_worker_that_crashes_for_a_bug_records_the_pending_request_ids_first() -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        crashes_decoding(house)
        worker = house.start()
        await house.clock.sleep(5.0)
        for n in range(20):
            house.produce(f"{n}", key=f"k{n}")
        await house.until(lambda: len(house.observer.of(Submitted)) == 20, 5.0)
        assert len(house.recorded()) < 20
        house.broker.publish("texts", b"poison", POISON, partition=0)
        await house.crash(worker, ZeroDivisionError)
        assert len(house.recorded()) == 20

    in_house(test, WORKER_LIMITS__COMMIT_INTERVAL="5")


def test_a_crash_is_not_told_as_a_hand_over_in_order() -> None:
    async def test(house: House) -> None:
        crashes_decoding(house)
        house.broker.publish("texts", b"poison", POISON)
        for _ in range(2):
            await house.crash(house.start(), ZeroDivisionError)
        house.start()
        await house.until(lambda: len(house.observer.of(Recalled)) == 3, 5.0)
        assert [notice.clean for notice in house.observer.of(Recalled)] == [True, False, False]
        await house.crash(house.workers[0].worker, ZeroDivisionError)

    in_house(test, partitions=1)


def test_a_partition_that_has_changed_hands_in_order_three_times_suspects_nobody() -> None:
    async def test(house: House) -> None:
        house.api.latency = 600.0
        for n in range(10):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        for _ in range(6):
            await house.clock.sleep(10.0)
            await house.stop_one(worker)
            worker = house.start()
        await house.clock.sleep(10.0)
        assert worker.in_flight == 10

    in_house(test, partitions=1, WORKER_API__DEADLINE="3000")


def test_a_worker_that_works_one_by_one_and_is_stopped_in_order_condemns_nobody() -> None:
    async def test(house: House) -> None:
        house.api.latency = 120.0
        for n in range(5):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        for leave in (house.kill, house.kill, house.kill, house.stop_one):
            await house.clock.sleep(10.0)
            await leave(worker)
            worker = house.start()
        await house.until(lambda: house.lag() == 0, 1200.0)
        assert (len(house.vectors()), house.reasons()) == (5, {})
        assert set(house.api.posts.values()) == {1}

    in_house(test, partitions=1)


def test_a_worker_that_loses_its_session_again_and_again_during_an_outage_condemns_nobody() -> None:
    async def test(house: House) -> None:
        house.start()
        await house.clock.sleep(5.0)
        house.api.down = lambda: Refused(503, "down", is_json=False)
        for n in range(5):
            house.produce(f"{n}", key=f"k{n}")
        await house.clock.sleep(60.0)
        for _ in range(7):
            await house.broker.expel(house.workers[0].source)
            await house.clock.sleep(120.0)
        house.api.down = None
        await house.until(lambda: house.lag() == 0, 3600.0)
        assert (len(house.vectors()), house.reasons()) == (5, {})

    in_house(test, partitions=1)


def test_a_slow_job_over_which_the_session_is_lost_six_times_condemns_nobody() -> None:
    async def test(house: House) -> None:
        house.api.latency = 500.0
        house.produce("t", key="k")
        house.start()
        for _ in range(6):
            await house.clock.sleep(60.0)
            await house.broker.expel(house.workers[0].source)
        await house.until(lambda: house.lag() == 0, 3600.0)
        assert (len(house.vectors()), house.reasons()) == (1, {})
        assert set(house.api.posts.values()) == {1}

    in_house(test, partitions=1)
