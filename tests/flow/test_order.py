"""Outcomes of one key leave in input order, whatever their jobs, their failures and their owners do."""

import json
from collections import defaultdict, deque
from collections.abc import Callable

import pytest

from tests.flow.harness import DEAD, INPUT, OUTPUT, House, copies, headers_of, in_house
from tests.flow.test_unknown_submit import slow_submits
from worker.model import EmbedRequest, Record

KEYS = 10


def take(house: House, seconds: Callable[[str], float]) -> None:
    """Jobs take as long as this says of their text."""

    def arrives(request: EmbedRequest) -> None:
        house.api.latency = seconds(request.text)

    house.api.refuse = arrives


def offset_of(outcome: Record) -> int:
    """Of the input record."""
    if outcome.source.topic == DEAD:
        return int(headers_of(outcome)["dlq.offset"])
    return int(json.loads(outcome.value or b"")["offset"])


def published(house: House) -> dict[bytes | None, list[int]]:
    """Input offsets of each key, over all topics, in the order in which their outcomes became visible."""
    order: defaultdict[bytes | None, list[int]] = defaultdict(list)
    for decided in house.decided:
        for record in decided.records if decided.committed else ():
            order[record.key].append(offset_of(record))
    return order


def check_order(house: House, count: int) -> None:
    assert house.ended == count
    for key, offsets in published(house).items():
        assert offsets == sorted(set(offsets)), key


def produce(house: House, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        house.produce(f"{n}", key=f"k{n % KEYS}")


def test_outcomes_of_a_key_leave_in_input_order_while_their_jobs_run_at_once() -> None:
    async def test(house: House) -> None:
        take(house, lambda text: 20.0 - int(text) % 17)  # later ones are done first
        produce(house, 200)
        house.start()
        seconds = await house.until(lambda: house.lag() == 0, 300.0)
        assert seconds < 60  # one after the other they would take 200 s for each key
        check_order(house, 200)

    in_house(test)


def test_a_newer_outcome_waits_for_the_dead_letter_of_an_older_one() -> None:
    async def test(house: House) -> None:
        house.api.failures["older"] = deque(["Blocked by safety filters: prohibited content"])
        take(house, lambda text: 10.0 if text == "older" else 0.1)
        house.produce("older", key="k")
        house.produce("newer", key="k")
        house.produce("other", key="another")
        house.start()
        await house.until(lambda: house.ended == 1, 5.0)
        await house.clock.sleep(5.0)
        assert list(house.vectors()) == ["another"]
        await house.until(lambda: house.lag() == 0, 30.0)
        assert house.reasons() == {"CONTENT_BLOCKED": 1}
        assert published(house)[b"k"] == [0, 1]

    in_house(test, partitions=1)


def test_order_holds_across_attempts_dead_letters_and_tombstones() -> None:
    async def test(house: House) -> None:
        for n in range(0, 100, 7):
            house.api.failures[f"{n}"] = deque(["internal error"] * (n % 4))
        take(house, lambda text: 5.0 - int(text or "0") % 5)
        for n in range(100):
            house.produce("" if n % 11 == 0 else f"{n}", key=f"k{n % KEYS}")
        house.start()
        await house.until(lambda: house.lag() == 0, 300.0)
        check_order(house, 100)
        assert house.reasons()["INVALID_EVENT"] == 10

    in_house(test)


@pytest.mark.parametrize("leave", ["kill", "stop_one"])
def test_order_holds_across_takeovers_and_held_outcomes_are_not_paid_again(leave: str) -> None:
    async def test(house: House) -> None:
        take(house, lambda text: 40.0 if text == "0" else 0.5)
        house.produce("0", key="k")
        for n in range(1, 40):
            house.produce(f"{n}", key="k")
        worker = house.start()
        for _ in range(2):
            await house.clock.sleep(8.0)
            await getattr(house, leave)(worker)
            worker = house.start()
        assert house.ended == 0
        assert len(house.recorded()) == 40
        await house.until(lambda: house.lag() == 0, 120.0)
        assert published(house)[b"k"] == list(range(40))
        assert set(house.api.posts.values()) == {1}

    in_house(test, partitions=1)


@pytest.mark.parametrize("drain", ["wait", "leave"])
@pytest.mark.parametrize("middle", [None, ""])
def test_an_outcome_that_is_held_when_a_worker_drains_keeps_its_place(middle: str | None, drain: str) -> None:
    """A tombstone that leaves after a newer vector would delete it from the index."""

    async def test(house: House) -> None:
        take(house, lambda text: 5.0 if text == "older" else 0.1)
        house.produce("older", key="k")
        house.produce(middle, key="k")
        house.produce("newer", key="k")
        worker = house.start()
        await house.clock.sleep(3.0)
        assert house.ended == 0
        submit = slow_submits(house, 6.0)
        house.produce("another", key="another")  # its POST is what a drain that leaves jobs waits for
        await house.clock.sleep(1.0)
        await house.stop_one(worker)
        house.api.submit = submit  # type: ignore[method-assign,assignment]
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        order = [
            record for decided in house.decided if decided.committed for record in decided.records if record.key == b"k"
        ]
        kinds = [(record.source.topic == DEAD, record.value is None) for record in order]
        assert kinds == [(False, False), (middle is not None, middle is None), (False, False)]

    in_house(test, partitions=1, WORKER_GUARANTEES__DRAIN=drain)


def test_order_holds_while_commits_fail_and_dead_letters_cannot_be_published() -> None:
    async def test(house: House) -> None:
        del house.broker._counts[DEAD]
        house.produce("", key="k")
        produce(house, 60)
        for n in range(60, 80):
            house.produce(f"{n}", key="k")
        house.start()
        await house.until(lambda: len(house.vectors()) == KEYS, 30.0)
        await house.clock.sleep(30.0)
        assert b"k" not in published(house)
        house.broker._counts[DEAD] = 1
        await house.until(lambda: house.lag() == 0, 30.0)
        check_order(house, 81)

    in_house(test)


def test_a_newer_vector_waits_for_an_older_one_that_the_output_topic_refuses() -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[OUTPUT] = 400
        house.broker.publish(INPUT, b"k", b'{"text": "older", "output_dimensionality": 100}')
        house.broker.publish(INPUT, b"k", b'{"text": "newer"}')
        house.start()
        await house.until(lambda: house.lag() == 0, 30.0)
        assert (house.reasons(), list(house.vectors())) == ({"INVALID_RESULT": 1}, ["k"])
        assert published(house)[b"k"] == [0, 1]

    in_house(test, partitions=1)


def test_of_outcomes_that_are_refused_together_each_has_its_turn_again() -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[OUTPUT] = 400
        for size in (100, 100, 4, 100, 4):
            house.broker.publish(INPUT, b"k", f'{{"text": "s", "output_dimensionality": {size}}}'.encode())
        house.start()
        await house.until(lambda: house.lag() == 0, 30.0)
        assert (house.reasons(), published(house)[b"k"]) == ({"INVALID_RESULT": 3}, [0, 1, 2, 3, 4])

    in_house(test, partitions=1)


def test_a_deleted_key_stays_deleted_though_the_worker_dies_over_an_older_vector_that_no_topic_takes() -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes.update({OUTPUT: 10, DEAD: -1})
        house.produce("older", key="k")
        house.produce(None, key="k")
        house.produce("of another key", key="other")
        worker = house.start()
        await house.clock.sleep(60.0)
        assert not house.broker.records(OUTPUT), "the tombstone has overtaken the vector"
        await house.kill(worker)
        house.broker.faults.max_bytes.clear()  # the operator has mended both topics
        house.start()
        await house.until(lambda: house.lag() == 0)
        assert [record.value is None for record in house.broker.records(OUTPUT) if record.key == b"k"] == [False, True]

    in_house(test, partitions=1)


def test_without_order_outcomes_leave_as_they_are_ready() -> None:
    async def test(house: House) -> None:
        take(house, lambda text: 20.0 if text == "older" else 0.1)
        house.produce("older", key="k")
        house.produce("newer", key="k")
        house.start()
        await house.until(lambda: house.ended == 1, 5.0)
        assert published(house)[b"k"] == [1]
        await house.until(lambda: house.lag() == 0, 30.0)
        assert published(house)[b"k"] == [1, 0]

    in_house(test, partitions=1, WORKER_GUARANTEES__ORDERING="none")


def test_records_without_a_key_have_no_order() -> None:
    async def test(house: House) -> None:
        take(house, lambda text: 20.0 if text == "older" else 0.1)
        house.produce("older", id="same")
        house.produce("newer", id="same")
        house.start()
        await house.until(lambda: house.ended == 1, 5.0)

    in_house(test, partitions=1)


def test_a_hot_key_with_slow_jobs_does_not_starve_other_partitions_and_stays_within_its_limits() -> None:
    async def test(house: House) -> None:
        take(house, lambda text: 30.0 if text.startswith("hot") else 0.3)
        for n in range(1000):
            house.broker.publish(INPUT, b"hot", json.dumps({"text": f"hot {n} {'x' * 2000}"}).encode(), partition=0)
        worker = house.start()
        await house.clock.sleep(5.0)
        for n in range(600):
            house.broker.publish(INPUT, f"k{n}".encode(), b'{"text": "quick"}', partition=1 + n % 3)
        most = 0

        def others_are_done() -> bool:
            nonlocal most
            most = max(most, *(partition.in_flight for partition in worker._parts.partitions.values()))
            return len(house.vectors().keys() - {"hot"}) == 600

        assert await house.until(others_are_done, 60.0) < 15.0
        assert most <= 120
        hot = sum(1 for job in house.api.jobs.values() if job.request.text.startswith("hot"))
        assert hot <= 120
        assert worker._parts.consume._bytes < 1_000 * 2_500
        await house.until(lambda: house.lag() == 0, 900.0)
        assert published(house)[b"hot"] == list(range(1000))
        assert worker._parts.consume._bytes == 0

    in_house(test, partitions=4)


def test_a_held_outcome_counts_as_in_flight_so_that_what_is_held_is_bounded() -> None:
    async def test(house: House) -> None:
        take(house, lambda text: 100.0 if text == "0" else 0.1)
        for n in range(500):
            house.produce(f"{n}", key="k")
        worker = house.start()
        await house.clock.sleep(30.0)
        (partition,) = worker._parts.partitions.values()
        assert (len(house.api.jobs), partition.in_flight, partition.order.held) == (120, 120, 119)
        await house.until(lambda: house.lag() == 0, 200.0)
        assert published(house)[b"k"] == list(range(500))

    in_house(test, partitions=1)


def test_of_a_key_on_the_dead_letter_topic_each_record_has_one_outcome() -> None:
    async def test(house: House) -> None:
        for n in range(30):
            house.api.failures[f"{n}"] = deque(["prohibited content"] * (n % 2))
        take(house, lambda text: 6.0 - int(text) % 6)
        for n in range(30):
            house.produce(f"{n}", key="k")
        worker = house.start()
        await house.clock.sleep(4.0)
        await house.kill(worker)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert published(house)[b"k"] == list(range(30))
        assert (copies(house, DEAD)[b"k"], copies(house)[b"k"]) == (15, 30)

    in_house(test, partitions=1)
