"""`guarantees.supersede`: of one key only the newest text counts."""

import json
from collections import deque

from tests.flow.harness import OUTPUT, House, copies, in_house
from tests.flow.test_order import take
from worker.model import OutcomeKind
from worker.notices import Ended


def superseded(house: House) -> list[int]:
    """Offsets of the records that ended so."""
    return sorted(notice.record.offset for notice in house.observer.of(Ended) if notice.kind is OutcomeKind.SUPERSEDED)


def offsets(house: House) -> list[int]:
    """Of the records whose vectors are published."""
    return [json.loads(record.value)["offset"] for record in house.broker.records(OUTPUT) if record.value]


async def waiting(house: House) -> None:
    """A new owner takes records up, and waits before its first POST."""
    worker = house.start()
    await house.clock.sleep(1.0)
    await house.kill(worker)


def test_an_older_text_that_is_not_submitted_yet_is_never_submitted() -> None:
    async def test(house: House) -> None:
        await waiting(house)
        house.produce("older", key="k")
        house.produce("other", key="another")
        house.start()
        await house.clock.sleep(1.0)
        house.produce("newer", key="k")
        await house.until(lambda: house.lag() == 0, 30.0)
        assert house.api.posts == {"newer": 1, "other": 1}
        assert (sorted(offsets(house)), superseded(house)) == ([1, 2], [0])

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")


def test_of_many_texts_of_one_key_that_wait_only_the_newest_is_submitted() -> None:
    async def test(house: House) -> None:
        await waiting(house)
        for n in range(20):  # so many are taken up while no request_id is known
            house.produce(f"{n}", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0, 30.0)
        assert house.api.posts == {"19": 1}
        assert superseded(house) == list(range(19))

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")


def test_an_older_text_whose_job_runs_is_not_published() -> None:
    async def test(house: House) -> None:
        house.api.latency = 5.0
        house.produce("older", key="k")
        house.start()
        await house.until(lambda: len(house.recorded()) == 1, 5.0)
        house.api.latency = 0.5
        house.produce("newer", key="k")
        await house.until(lambda: house.lag() == 0, 30.0)
        assert (offsets(house), superseded(house)) == ([1], [0])
        assert house.api.posts == {"older": 1, "newer": 1}

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")


def test_an_older_vector_that_is_held_is_not_published() -> None:
    async def test(house: House) -> None:
        take(house, lambda text: 10.0 if text == "oldest" else 0.3)
        house.produce("oldest", key="k")
        house.start()
        await house.until(lambda: len(house.recorded()) == 1, 5.0)
        # it becomes superseded, and keeps its place: what comes after it is held
        house.produce("older", key="k")
        await house.clock.sleep(3.0)
        house.produce("newest", key="k")
        await house.until(lambda: house.lag() == 0, 30.0)
        assert (offsets(house), superseded(house)) == ([2], [0, 1])

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")


def test_a_tombstone_supersedes() -> None:
    async def test(house: House) -> None:
        house.api.latency = 5.0
        house.produce("older", key="k")
        house.start()
        await house.until(lambda: len(house.recorded()) == 1, 5.0)
        house.produce(None, key="k")
        await house.until(lambda: house.lag() == 0, 30.0)
        assert [(record.key, record.value) for record in house.broker.records(OUTPUT)] == [(b"k", None)]
        assert superseded(house) == [0]

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")


def test_a_text_after_a_tombstone_does_not_keep_the_tombstone_from_being_published() -> None:
    async def test(house: House) -> None:
        house.api.latency = 5.0
        house.produce("older", key="k")
        house.produce(None, key="k")
        house.produce("newer", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0, 30.0)
        assert [record.value is None for record in house.broker.records(OUTPUT)] == [True, False]
        assert superseded(house) == [0]

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")


def test_a_newer_record_that_is_no_event_supersedes_nothing() -> None:
    async def test(house: House) -> None:
        house.api.latency = 5.0
        house.produce("older", key="k")
        house.start()
        await house.until(lambda: len(house.recorded()) == 1, 5.0)
        house.produce("", key="k")
        house.broker.publish("texts", b"k", b"not JSON")
        await house.until(lambda: house.lag() == 0, 30.0)
        assert (offsets(house), superseded(house)) == ([0], [])
        assert house.reasons() == {"INVALID_EVENT": 2}

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")


def test_the_dead_letter_of_a_superseded_text_is_still_published() -> None:
    async def test(house: House) -> None:
        house.api.failures["older"] = deque(["Blocked by safety filters: prohibited content"])
        house.api.latency = 5.0
        house.produce("older", key="k")
        house.start()
        await house.until(lambda: len(house.recorded()) == 1, 5.0)
        house.produce("newer", key="k")
        await house.until(lambda: house.lag() == 0, 30.0)
        assert (offsets(house), superseded(house), house.reasons()) == ([1], [], {"CONTENT_BLOCKED": 1})

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")


def test_another_key_supersedes_nothing() -> None:
    async def test(house: House) -> None:
        house.api.latency = 5.0
        for n in range(30):
            house.produce(f"{n}", key=f"k{n}")
            house.produce(f"{n}")
        house.start()
        await house.until(lambda: house.lag() == 0, 30.0)
        assert (house.ended, superseded(house)) == (60, [])

    in_house(test, WORKER_GUARANTEES__SUPERSEDE="true")


def test_without_the_setting_nothing_is_superseded() -> None:
    async def test(house: House) -> None:
        for n in range(30):
            house.produce(f"{n}", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0, 30.0)
        assert (offsets(house), superseded(house)) == (list(range(30)), [])

    in_house(test)


def test_after_a_crash_in_between_the_newest_text_of_each_key_is_the_last_word() -> None:
    async def test(house: House) -> None:
        take(house, lambda text: 3.0 + int(text) % 3)
        for n in range(60):
            house.produce(f"{n}", key=f"k{n % 6}")
        worker = house.start()
        await house.clock.sleep(0.5)
        for _ in range(2):
            for n in range(60, 90):
                house.produce(f"{n}", key=f"k{n % 6}")
            await house.clock.sleep(1.5)
            await house.kill(worker)
            worker = house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert len(set(offsets(house))) == len(offsets(house))
        newest = {record.key: record.offset for record in house.broker.records("texts")}
        assert {key.encode(): vector["offset"] for key, vector in house.vectors().items()} == newest
        assert house.ended < 100
        assert max(copies(house).values()) < 15

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")


def test_superseded_records_do_not_stand_in_the_way_of_the_committed_offset() -> None:
    async def test(house: House) -> None:
        house.api.latency = 100.0
        house.produce("older", key="k")
        worker = house.start()
        await house.until(lambda: len(house.recorded()) == 1, 5.0)
        house.api.latency = 0.5
        house.produce("newer", key="k")
        await house.until(lambda: house.lag() == 0, 200.0)
        assert worker.in_flight == 0
        assert offsets(house) == [1]

    in_house(test, partitions=1, WORKER_GUARANTEES__SUPERSEDE="true")
