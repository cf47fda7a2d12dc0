"""Commits that fail, in part or for long: nothing is lost, nothing multiplies, nobody is left in the dark."""

from collections import deque

import pytest

from tests.flow.harness import DEAD, INPUT, OUTPUT, House, copies, headers_of, in_house
from worker.notices import CommitFailed
from worker.settings import Delivery

either_way = pytest.mark.parametrize("delivery", list(Delivery))


def repeated(house: House) -> dict[bytes | None, int]:
    return {key: count for key, count in copies(house).items() if count > 1}


def without_dead_letter_topic(house: House) -> None:
    """Deleted, or no right to write: the adapter raises CommitAborted for both."""
    del house.broker._counts[DEAD]
    house.api.failures["blocked"] = deque(["prohibited content"])


@either_way
def test_a_revocation_that_runs_out_of_time_still_drops_what_has_gone(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        for n in range(200):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.ended > 20)
        house.broker.faults.publish_delay = 20.0  # brokers are restarting, as they do when there is a rebalance
        house.start()
        await house.until(lambda: len(house.workers[0][1].owned) == 2)
        house.broker.faults.publish_delay = 0.0
        await house.until(lambda: len(house.vectors()) == 200, 600.0)
        await house.until(lambda: house.lag() == 0, 60.0)
        await house.clock.sleep(600.0)
        assert (house.workers[0][0].in_flight, len(house.workers[0][0]._parts.partitions)) == (0, 2)

    in_house(test, delivery=delivery, partitions=4)


@either_way
def test_a_revocation_that_runs_out_of_time_repeats_nothing_of_the_partitions_that_stay(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.api.latency = 0.2
        house.start()
        await house.clock.sleep(1.0)
        house.broker.faults.abort_publish = 7  # commit.run is in its pause of 5 s when the rebalance comes
        for n in range(30):
            house.broker.publish(INPUT, f"stay{n}".encode(), b'{"text": "s"}', partition=n % 4)
        await house.until(lambda: house.broker.faults.abort_publish == 0)
        house.broker.faults.commit_delay = 6.0
        house.start()
        await house.clock.sleep(20.0)
        house.broker.faults.commit_delay = 0.0
        await house.until(lambda: house.lag() == 0, 600.0)
        kept = house.workers[0][1].owned
        stayed = {record.key for record in house.broker.records(INPUT) if record.source in kept}
        assert stayed & repeated(house).keys() == set()

    in_house(test, delivery=delivery, partitions=4)


@either_way
def test_a_revocation_tries_again_what_was_under_way_and_failed(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.broker.faults.commit_delay = 3.5  # half a second after the revocation has waited for it in vain
        house.broker.faults.abort_commit = 1
        for n in range(30):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.ended == 30)
        house.start()
        await house.clock.sleep(1.0)
        house.broker.faults.commit_delay = 0.0
        await house.until(lambda: house.lag() == 0, 60.0)
        assert repeated(house) == {}
        assert house.api.bills == 30

    in_house(test, delivery=delivery, partitions=4, WORKER_LIMITS__COMMIT_INTERVAL="3")


def test_what_was_published_under_an_assignment_that_is_over_moves_no_offset_of_the_next_one() -> None:
    async def test(house: House) -> None:
        for n in range(30):
            house.produce(f"{n}", key=f"k{n}")
        house.api.latency = 10.0
        house.start()
        await house.until(lambda: len(house.api.jobs) == 30)
        house.broker.faults.abort_commit = 10**9
        await house.until(lambda: house.ended > 0)
        await house.clock.sleep(10.0)
        house.api.latency = 100.0
        for job in house.api.jobs.values():
            job.seconds = 100.0  # the next owner's polls find nothing yet
        await house.broker.expel(house.workers[0][1])
        house.broker.faults.abort_commit = 0
        await house.clock.sleep(60.0)
        assert house.lag() == 30
        await house.until(lambda: house.lag() == 0, 60.0)

    in_house(test, delivery=Delivery.AT_LEAST_ONCE, partitions=1)


@either_way
def test_a_coordinator_that_refuses_commits_for_a_while_multiplies_no_outcome(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        house.broker.faults.abort_commit = 50  # about 4 minutes without a coordinator, no rebalance
        house.start()
        await house.until(lambda: house.lag() == 0, 3600.0)
        assert repeated(house) == {}

    in_house(test, delivery=delivery)


def test_while_the_group_takes_no_commits_one_batch_is_published_and_no_other() -> None:
    async def test(house: House) -> None:
        house.start()
        await house.until(lambda: bool(house.workers[0][0]._parts.leasehold.length))
        house.produce("first", key="first")
        await house.until(lambda: len(house.api.jobs) == 1)
        house.broker.faults.abort_commit = 10**9
        await house.until(lambda: house.ended == 1)
        for n in range(50):
            house.produce(f"{n}", key=f"k{n}")
        await house.clock.sleep(600.0)
        assert house.ended == 1
        house.broker.faults.abort_commit = 0
        await house.until(lambda: house.lag() == 0, 60.0)
        assert (house.ended, repeated(house)) == (51, {})

    in_house(test, delivery=Delivery.AT_LEAST_ONCE)


@either_way
def test_a_dead_letter_topic_without_write_access_does_not_flood_the_output_topic(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        without_dead_letter_topic(house)
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        house.produce("blocked", key="k-last")
        worker = house.start()
        await house.clock.sleep(3600.0)
        assert set(copies(house, OUTPUT).values()) == {1}
        assert worker.not_ready()
        house.broker.create_topic(DEAD)
        house.broker._counts[DEAD] = 1
        await house.until(lambda: house.lag() == 0, 60.0)
        assert (house.reasons(), repeated(house)) == ({"CONTENT_BLOCKED": 1}, {})

    in_house(test, delivery=delivery)


@either_way
def test_what_is_published_beside_a_dead_letter_that_cannot_be_is_committed(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        without_dead_letter_topic(house)
        worker = house.start()
        house.produce("blocked", key="blocked")
        await house.clock.sleep(10.0)
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
            await house.clock.sleep(1.0)
            # traffic that goes through does not hide the record that does not
            assert n < 5 or "embeddings.dead-letter does not exist" in " ".join(worker.not_ready())
        await house.clock.sleep(10.0)
        assert house.workers[0][0].in_flight == 1

    in_house(test, delivery=delivery)


@either_way
def test_a_worker_that_cannot_commit_is_not_ready_until_it_can(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.broker.faults.abort_publish = 10**9
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await house.until(lambda: bool(house.observer.of(CommitFailed)))
        await house.clock.sleep(9.0)
        assert worker.not_ready() == []
        await house.clock.sleep(900.0)
        (reason,) = worker.not_ready()
        assert reason.startswith("commits have failed for 9")
        assert reason.endswith(" s: messages not delivered: a fault was ordered")
        house.broker.faults.abort_publish = 0
        await house.until(lambda: house.lag() == 0, 10.0)
        assert worker.not_ready() == []

    in_house(test, delivery=delivery)


@either_way
def test_a_worker_that_commits_again_is_ready_however_busy_it_is(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.broker.faults.abort_publish = 10**9
        worker = house.start()
        for n in range(600):
            house.produce(f"{n}", key=f"k{n}")
            await house.clock.sleep(0.1)
            if n == 200:
                assert worker.not_ready()
                house.broker.faults.abort_publish = 0
                house.broker.faults.commit_delay = 1.0  # there is always something ready when a commit ends
        assert worker.not_ready() == []

    in_house(test, delivery=delivery)


@either_way
def test_a_failed_commit_whose_partition_has_gone_is_forgotten(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.broker.faults.abort_publish = 10**9
        house.produce("t", key="k")
        first = house.start()
        await house.clock.sleep(60.0)
        assert "commits have failed" in " ".join(first.not_ready())
        house.start()
        await house.clock.sleep(1.0)
        await house.broker.expel(house.workers[0][1])  # its only partition goes to the second
        await house.clock.sleep(60.0)
        assert len(house.workers[1][1].owned) == 1
        (reason,) = first.not_ready()
        assert reason.startswith("no partitions")

    in_house(test, delivery=delivery, partitions=1)


@either_way
def test_a_refused_message_of_middle_size_repeats_no_other(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[DEAD] = 100_000
        for n in range(40):
            house.produce(f"{n}", key=f"k{n}")
        house.broker.publish(INPUT, b"large", b'"' + b"x" * 200_000)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert repeated(house) == {}

    # one commit carries them together
    in_house(test, delivery=delivery, WORKER_LIMITS__COMMIT_INTERVAL="3")


@either_way
def test_a_dead_letter_topic_that_refuses_every_form_is_waited_for_in_red(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[DEAD] = -1
        letter = house.produce("", key=None)
        worker = house.start()
        await house.clock.sleep(3600.0)
        tries = len(house.observer.of(CommitFailed))
        assert 10 < tries < 20  # from every 5 s to every 5 minutes
        (reason,) = worker.not_ready()
        where = f"the smallest dead letter of offset 0 of {letter.source}: 1 message(s) refused for good"
        assert where in reason
        assert reason.endswith("check its configuration")
        for _ in range(5):
            house.produce("", key=None)
        await house.clock.sleep(60.0)
        assert worker.not_ready()[0].endswith("(5 more like it)")
        del house.broker.faults.max_bytes[DEAD]
        await house.until(lambda: house.lag() == 0, 300.0)
        assert (worker.not_ready(), len(house.broker.records(DEAD))) == ([], 6)

    in_house(test, delivery=delivery, partitions=1)


@either_way
def test_a_compacted_dead_letter_topic_gets_the_records_name_for_a_key_that_is_null(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.broker.faults.compacted.add(DEAD)
        house.produce("")
        house.produce("", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        unkeyed, keyed = sorted(house.broker.records(DEAD), key=lambda letter: headers_of(letter)["dlq.offset"])
        assert (unkeyed.key, unkeyed.value) == (b"texts-0-0", None)
        assert (keyed.key, keyed.value) == (b"k", b'{"text": ""}')

    in_house(test, delivery=delivery, partitions=1)


@either_way
def test_a_key_too_long_for_the_dead_letter_topic_is_replaced_by_the_records_name(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_key[DEAD] = 1024
        house.produce("", key="k" * 1025)
        house.produce("", key="k" * 1024)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert {letter.key for letter in house.broker.records(DEAD)} == {b"texts-0-0", b"k" * 1024}

    in_house(test, delivery=delivery, partitions=1)
