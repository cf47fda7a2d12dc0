"""What is bounded: records in work, memory, what is paid, how long a stop takes."""

import asyncio
from collections import Counter

from tests.flow.harness import DEAD, INPUT, OUTPUT, House, headers_of, in_house
from worker.errors import Refused, Unanswered
from worker.model import Batch, EmbedRequest
from worker.notices import Dropped, Retried


def copies(house: House) -> Counter[bytes | None]:
    return Counter(record.key for topic in (OUTPUT, DEAD) for record in house.broker.records(topic))


def test_a_graceful_rebalance_lets_short_jobs_end_and_pays_nothing_twice() -> None:
    async def test(house: House) -> None:
        for n in range(600):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.ended > 100)
        house.start()
        await house.until(lambda: house.lag() == 0, 600.0)
        assert set(house.api.posts.values()) == {1}
        assert set(copies(house).values()) == {1}

    in_house(test, partitions=6)


def test_a_stop_leaves_what_waits_at_the_gate_unpaid() -> None:
    async def test(house: House) -> None:
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.clock.sleep(10.0)
        began, posts = house.clock.monotonic(), house.api.posts.total()
        await house.stop()
        assert house.api.posts.total() - posts <= 1
        assert house.clock.monotonic() - began < 15.0

    in_house(test, partitions=1, WORKER_PACE__REQUESTS_PER_MINUTE="60")


def test_a_stop_while_halted_does_not_wait_for_what_is_not_submitted() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Refused(406, "Insufficient credits: need 0.00003", is_json=True)
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.clock.sleep(3.0)
        began = house.clock.monotonic()
        await house.stop()
        assert house.clock.monotonic() - began < 2.0

    in_house(test)


def test_a_halted_worker_takes_up_one_event_only() -> None:
    async def test(house: House) -> None:
        house.api.down = lambda: Refused(401, "bad key", is_json=True)
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await house.clock.sleep(30.0)
        assert worker.in_flight == 1
        house.api.down = None

    in_house(test)


def test_in_flight_is_what_the_pace_can_fetch_in_15_minutes() -> None:
    async def test(house: House) -> None:
        for n in range(200):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await house.clock.sleep(5.0)
        assert worker.in_flight == 18

    in_house(test, WORKER_PACE__REQUESTS_PER_MINUTE="5")


def test_a_partition_has_no_more_in_work_than_its_limit() -> None:
    async def test(house: House) -> None:
        house.api.latency = 300.0
        for n in range(200):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await house.clock.sleep(20.0)
        assert worker.in_flight == 7
        assert len(house.api.jobs) == 7

    in_house(test, partitions=1, WORKER_LIMITS__IN_FLIGHT_PER_PARTITION="7")


def test_the_backlog_of_a_partition_is_bounded_in_records_and_in_bytes() -> None:
    async def test(house: House) -> None:
        house.api.down = lambda: Unanswered("refused", sent=False)
        for n in range(3000):
            house.produce("x" * 20_000, key=f"k{n}")
        worker = house.start()
        most = 0
        for _ in range(100):
            await house.clock.sleep(0.1)
            most = max([most, *(len(p.backlog) for p in worker._parts.partitions.values())])
        assert most <= 2 * 120 + 100
        assert worker._parts.consume._bytes <= 2 * house.settings.limits.bytes
        house.api.down = None
        await house.until(lambda: house.ended == 3000)
        assert worker._parts.consume._bytes == 0

    in_house(test, partitions=2, WORKER_LIMITS__BYTES="4194304")


def test_bytes_of_a_dropped_backlog_are_given_back() -> None:
    async def test(house: House) -> None:
        for n in range(1000):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await house.clock.sleep(1.0)
        await house.broker.expel(house.workers[0][1])
        await house.until(lambda: house.lag() == 0)
        await house.clock.sleep(1.0)
        assert worker._parts.consume._bytes == 0
        assert not any(partition.marks for partition in worker._parts.partitions.values())

    in_house(test)


def test_good_outcomes_in_a_batch_with_a_refused_one_are_committed() -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[DEAD] = 100_000
        for n in range(40):
            house.produce(f"{n}", key=f"k{n}")
        house.broker.publish(INPUT, b"large", b'"' + b"x" * 200_000)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)

    in_house(test, WORKER_LIMITS__COMMIT_INTERVAL="3")


def test_submits_that_fail_use_up_their_attempts_and_no_more() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Refused(500, "oops", is_json=True) if request.text == "t" else None
        house.produce("t", key="k")
        house.start()
        while not house.broker.records(DEAD):
            house.produce("good", key="good")
            await house.clock.sleep(5.0)
            assert house.clock.monotonic() < 300.0
        assert sum(notice.counted for notice in house.observer.of(Retried)) == 2
        # what fails between two good ones shows nothing new
        assert house.api.calls["submit"] - len(house.api.jobs) < 15
        assert headers_of(house.broker.records(DEAD)[0])["dlq.attempts"] == "3"

    in_house(test)


def test_an_outcome_of_an_assignment_that_is_over_is_not_published() -> None:
    async def test(house: House) -> None:
        for n in range(30):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 30)
        house.broker.faults.abort_publish = 8  # outcomes wait while the partitions are lost and come back
        await house.until(lambda: len(house.workers[0][0]._parts.commit._outbox._ready) == 30)
        source = house.workers[0][1]
        source.drop_all()
        await house.broker.expel(source)
        await house.until(lambda: house.lag() == 0, 600.0)
        assert house.observer.of(Dropped)
        assert max(copies(house).values()) == 1
        assert not house.workers[0][0]._parts.commit._outbox._ready

    in_house(test)


def test_failing_commits_are_tried_ever_more_rarely() -> None:
    async def test(house: House) -> None:
        house.broker.faults.abort_publish = 10**6
        house.produce("t", key="k")
        house.start()
        await house.clock.sleep(600.0)
        tries = 10**6 - house.broker.faults.abort_publish
        assert 100 < tries < 140
        house.broker.faults.abort_publish = 0
        await house.until(lambda: house.lag() == 0, 6.0)

    in_house(test)


def test_a_stop_while_posts_are_under_way_waits_for_their_answers_and_pays_nothing_twice() -> None:
    async def test(house: House) -> None:
        submit = house.api.submit

        async def slow(request: EmbedRequest) -> str:
            await asyncio.sleep(2.0)
            return await submit(request)

        house.api.submit = slow  # type: ignore[method-assign]
        for n in range(30):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.clock.sleep(1.0)
        await house.stop()
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}
        assert set(copies(house).values()) == {1}

    in_house(test)


def test_no_batch_is_larger_than_eight_megabytes() -> None:
    async def test(house: House) -> None:
        sizes: list[int] = []
        for n in range(30):
            house.broker.publish(INPUT, f"k{n}".encode(), b'"' + b"x" * 400_000)
        house.start()
        _, source, *_ = house.workers[0]
        commit = house.workers[0][0]._ports.sink.commit

        async def measured(batch: Batch) -> None:
            sizes.append(sum(len(message.value or b"") for message in batch.messages))
            await commit(batch)

        house.workers[0][0]._ports.sink.commit = measured  # type: ignore[method-assign]
        await house.until(lambda: house.ended == 30, 60.0)
        assert source.alive
        assert max(sizes) <= 8_000_000
        assert len(sizes) >= 2

    in_house(test, partitions=1, WORKER_LIMITS__COMMIT_INTERVAL="5")


def test_after_a_halt_all_that_may_be_in_work_is_taken_up_at_once() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Refused(406, "Insufficient credits: need 0.00003", is_json=True)
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await house.until(lambda: worker.not_ready() != [] and house.api.calls["submit"] > 0)
        house.api.refuse = lambda request: None
        await house.until(lambda: worker.not_ready() == [], 60.0)
        await house.clock.sleep(0.3)
        assert worker.in_flight > 50

    in_house(test)


def test_of_a_reassigned_partition_nothing_from_the_old_assignment_is_published() -> None:
    async def test(house: House) -> None:
        for n in range(40):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: len(house.api.jobs) > 10)
        await house.broker.expel(house.workers[0][1])
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(copies(house).values()) == {1}
        assert len(house.vectors()) == 40

    in_house(test, partitions=2)
