"""After a crash the ledger says of each record where its journey goes on; there is no other recovery."""

import json
from collections import deque
from dataclasses import replace

import pytest

from tests.flow.harness import INPUT, House, copies, in_house
from worker.core.ledger import Entry
from worker.core.ledger_codec import encode
from worker.errors import Refused
from worker.model import Position, TopicPartition
from worker.notices import Recalled
from worker.settings import Delivery

either_way = pytest.mark.parametrize("delivery", list(Delivery))


def counted_decodes(house: House) -> list[bytes]:
    """The values that are decoded from now on."""
    decoded: list[bytes] = []
    decode = house.codec.decode

    async def counted(topic: str, value: bytes) -> object:
        decoded.append(value)
        return await decode(topic, value)

    house.codec.decode = counted  # type: ignore[method-assign]
    return decoded


async def recorded(house: House, count: int) -> None:
    await house.until(lambda: len(house.recorded()) == count, 60.0)


@either_way
def test_what_is_finished_above_the_committed_offset_is_not_even_decoded_after_a_crash(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.api.latency = 100.0
        slow = house.produce("slow", key="slow")
        first = house.start()
        await recorded(house, 1)
        house.api.latency = 0.5
        for n in range(40):
            house.produce(f"{n}", key=f"k{n}")
        await house.until(lambda: house.ended == 40)
        await house.until(lambda: len(house.ledger().entries) == 1, 1.0)
        await house.kill(first)
        decoded = counted_decodes(house)
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        assert decoded == [slow.value]
        assert set(copies(house).values()) == {1}
        assert house.ended == 41

    in_house(test, partitions=1, delivery=delivery)


@either_way
def test_a_recorded_job_is_polled_on_by_the_next_owner_and_never_posted_again(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        for n in range(60):
            house.produce(f"{n}", key=f"k{n}")
        first = house.start()
        await recorded(house, 60)
        await house.kill(first)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}
        assert set(copies(house).values()) == {1}
        assert {vector["request_id"] for vector in house.vectors().values()} == {f"job-{n}" for n in range(60)}

    in_house(test, delivery=delivery)


def test_a_recorded_job_whose_result_has_expired_is_submitted_anew_and_that_uses_up_no_attempt() -> None:
    async def test(house: House) -> None:
        house.api.latency = 5.0
        house.produce("t", key="k")
        first = house.start()
        await recorded(house, 1)
        await house.kill(first)
        await house.clock.sleep(2 * 3600.0)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert house.api.posts == {"t": 2}
        assert (house.vectors()["k"]["request_id"], house.vectors()["k"]["attempts"]) == ("job-1", 1)

    in_house(test)


def test_a_job_that_another_clock_dates_into_the_future_is_not_polled_for_ever() -> None:
    async def test(house: House) -> None:
        house.produce("t", key="k")
        house.api.latency = 1e9
        first = house.start()
        await recorded(house, 1)
        await house.kill(first)
        found = house.ledger()
        (entry,) = found.entries
        dated = replace(entry.mark, request_id="gone", submitted_at=entry.mark.submitted_at + 86400.0)
        house.commit_by_hand(Position(0, encode(replace(found, entries=(Entry(0, dated),)))))
        house.start()
        assert await house.until(lambda: house.lag() == 0, 86400.0) < 700.0
        assert house.reasons() == {"TIMEOUT": 1}

    in_house(test, partitions=1)


def test_what_is_known_of_a_record_survives_many_takeovers_unchanged() -> None:
    async def test(house: House) -> None:
        house.api.latency = 600.0
        for n in range(20):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await recorded(house, 20)
        before = house.ledger().entries
        for leave in (house.kill, house.stop_one, house.kill, house.stop_one, house.stop_one):
            await leave(worker)
            worker = house.start()
            await house.clock.sleep(10.0)
        assert [notice.unclean_takeovers for notice in house.observer.of(Recalled)] == [0, 1, 1, 2, 2, 2]
        assert [entry.mark.request_id for entry in house.ledger().entries] == [e.mark.request_id for e in before]
        assert [entry.mark.submitted_at for entry in house.ledger().entries] == [e.mark.submitted_at for e in before]
        await house.until(lambda: house.lag() == 0, 900.0)
        assert set(house.api.posts.values()) == {1}
        assert set(copies(house).values()) == {1}

    in_house(test, partitions=1, WORKER_API__DEADLINE="3000")


@pytest.mark.parametrize("interval", [0.1, 0.2])
def test_a_request_id_is_recorded_within_one_commit_interval_of_its_answer(interval: float) -> None:
    async def test(house: House) -> None:
        house.api.latency = 60.0
        house.start()
        await house.clock.sleep(5.0)
        house.produce("t", key="k")
        await house.until(lambda: len(house.api.jobs) == 1)
        await house.clock.sleep(interval + 0.02)
        assert house.recorded() == {"job-0"}

    in_house(test, partitions=1, WORKER_LIMITS__COMMIT_INTERVAL=f"{interval}")


def test_the_attempt_of_a_recorded_job_goes_on_with_the_next_owner() -> None:
    async def test(house: House) -> None:
        house.api.failures["flaky"] = deque(["internal error", "internal error"])
        house.produce("flaky", key="k")
        first = house.start()
        await house.until(lambda: house.api.posts["flaky"] == 2)
        house.api.jobs["job-1"].seconds = 20.0
        await house.until(lambda: house.recorded() == {"job-1"}, 5.0)
        await house.kill(first)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert house.vectors()["k"]["attempts"] == 3
        assert house.api.posts["flaky"] == 3

    in_house(test, partitions=1)


def test_a_halted_worker_polls_the_recorded_jobs_that_it_takes_over_because_they_are_paid() -> None:
    async def test(house: House) -> None:
        house.api.latency = 60.0
        first, second = house.start(), house.start()
        await house.clock.sleep(1.0)
        theirs = tuple(house.workers[0].source.owned)
        for where in house.broker.partitions(["texts"]):
            for n in range(30):
                house.broker.publish("texts", f"{where}-{n}".encode(), b'{"text": "t"}', partition=where.partition)
        await recorded(house, 60)
        house.api.refuse = lambda request: Refused(406, "Insufficient credits: need 0.00003", is_json=True)
        for _ in range(20):
            house.broker.publish("texts", b"new", b'{"text": "new"}', partition=0)
            house.broker.publish("texts", b"new", b'{"text": "new"}', partition=1)
        await house.until(lambda: "credits" in " ".join(second.not_ready()), 10.0)
        assert house.ended == 0
        await house.kill(first)
        await house.until(lambda: house.ended == 60, 90.0)
        assert "credits" in " ".join(second.not_ready())
        assert len([notice for notice in house.observer.of(Recalled) if notice.partition in theirs]) == 2
        assert house.api.posts == {"t": 60}
        house.api.refuse = lambda request: None

    in_house(test, partitions=2)


def test_a_restarted_worker_whose_account_is_empty_ends_the_recorded_jobs() -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        for n in range(50):
            house.produce(f"{n}", key=f"k{n}")
        first = house.start()
        await recorded(house, 50)
        await house.kill(first)
        house.api.refuse = lambda request: Refused(406, "Insufficient credits: need 0.00003", is_json=True)
        for n in range(300):
            house.produce("new", key=f"new{n}")
        worker = house.start()
        await house.until(lambda: house.ended == 50, 60.0)
        assert "credits" in " ".join(worker.not_ready())
        assert "new" not in house.api.posts
        house.api.refuse = lambda request: None

    in_house(test)


def test_what_a_new_owner_knows_is_told() -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        for n in range(5):
            house.produce(f"{n}", key=f"k{n}")
        first = house.start()
        await recorded(house, 5)
        await house.kill(first)
        house.start()
        await house.until(lambda: len(house.observer.of(Recalled)) == 2)
        assert house.observer.of(Recalled) == [
            Recalled(
                TopicPartition("texts", 0),
                0,
                unfinished=0,
                jobs=0,
                voided=0,
                clean=True,
                unclean_takeovers=0,
                problem=None,
            ),
            Recalled(
                TopicPartition("texts", 0),
                0,
                unfinished=5,
                jobs=5,
                voided=0,
                clean=False,
                unclean_takeovers=1,
                problem=None,
            ),
        ]

    in_house(test, partitions=1)


def test_a_job_for_another_text_of_the_record_is_not_followed_when_a_deploy_reads_it_differently() -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        house.broker.publish(INPUT, b"k", json.dumps({"text": "short", "body": "a much longer body"}).encode())
        worker = house.start()
        await house.until(lambda: len(house.recorded()) == 1, 10.0)
        await house.stop_one(worker)
        house.start(WORKER_INPUT__TEXT="{text} {body}")
        await house.until(lambda: house.lag() == 0, 600.0)
        assert house.api.posts["short a much longer body"] == 1
        assert len(house.vectors()) == 1

    in_house(test, partitions=1)


def test_a_finished_record_is_not_taken_up_to_show_whose_fault_it_is_that_others_are_stuck() -> None:
    async def test(house: House) -> None:
        house.api.latency = 1000.0
        for text in ("0", "1", "", "3"):
            house.produce(text, key=f"k{text}")
        worker = house.start()
        await house.until(lambda: len(house.recorded()) == 3 and house.ended == 1)
        await house.stop_one(worker)
        house.api.output = lambda request: []
        for job in house.api.jobs.values():
            job.seconds = 0.0
        worker = house.start(WORKER_LIMITS__IN_FLIGHT="1")
        await house.until(lambda: worker.in_flight == 3)
        assert house.ended == 1
        house.api.output = None
        house.produce("4", key="k4")
        await house.until(lambda: house.lag() == 0)
        assert len(house.api.jobs) <= 3 + 1 + 3, "each is paid at most once more"

    in_house(test, partitions=1)
