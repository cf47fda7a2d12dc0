"""Transactions whose end is unknown, late, refused or interrupted: each outcome is visible once all the same."""

from collections import deque

import pytest

from tests.fakes.broker import Unknown
from tests.flow.harness import DEAD, INPUT, OUTPUT, House, copies, headers_of, in_house
from worker.model import Batch, TopicPartition
from worker.notices import CommitFailed, Fetched


def produce(house: House, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        house.produce(f"{n}", key=f"k{n}")


def check_each_once(house: House, count: int) -> None:
    assert house.ended == count
    assert set(copies(house).values()) == {1}


@pytest.mark.parametrize("unknown", list(Unknown))
def test_after_commits_of_unknown_outcome_each_outcome_is_there_once(unknown: Unknown) -> None:
    async def test(house: House) -> None:
        house.start()
        for n in range(10):
            produce(house, 20, 20 * n)
            await house.clock.sleep(1.0)
            house.broker.faults.unknown_commit.append(unknown)
        await house.until(lambda: house.lag() == 0, 200.0)
        assert len(house.observer.of(CommitFailed)) >= 9
        check_each_once(house, 200)
        assert set(house.api.posts.values()) == {1}

    in_house(test)


@pytest.mark.parametrize("unknown", list(Unknown))
def test_while_it_cannot_be_settled_what_became_of_a_commit_nothing_is_sent(unknown: Unknown) -> None:
    async def test(house: House) -> None:
        house.start()
        await house.clock.sleep(1.0)
        produce(house, 30)
        await house.until(lambda: len(house.api.jobs) == 30)
        house.broker.faults.unknown_commit.append(unknown)
        house.broker.faults.fail_settle = 20
        await house.until(lambda: house.broker.faults.fail_settle < 20, 10.0)
        sent = len(house.decided)
        produce(house, 30, 30)
        await house.until(lambda: house.broker.faults.fail_settle == 0, 200.0)
        assert len([decided for decided in house.decided[sent:] if decided.committed]) <= 1
        await house.until(lambda: house.lag() == 0, 200.0)
        check_each_once(house, 60)

    in_house(test)


@pytest.mark.parametrize("unknown", list(Unknown))
def test_while_the_committed_offsets_cannot_be_read_nothing_is_sent_twice(unknown: Unknown) -> None:
    async def test(house: House) -> None:
        produce(house, 60)
        house.start()
        await house.until(lambda: len(house.api.jobs) == 60)
        house.broker.faults.unknown_commit.append(unknown)
        house.broker.faults.fail_recall = 10
        await house.until(lambda: house.broker.faults.fail_recall == 0, 200.0)
        await house.until(lambda: house.lag() == 0, 200.0)
        check_each_once(house, 60)

    in_house(test)


@pytest.mark.parametrize("settles", [True, False])
@pytest.mark.parametrize("unknown", list(Unknown))
def test_a_partition_that_is_revoked_while_a_commit_is_undecided_has_each_outcome_once(
    unknown: Unknown, settles: bool
) -> None:
    async def test(house: House) -> None:
        house.start()
        await house.clock.sleep(1.0)
        produce(house, 60)
        await house.until(lambda: len(house.recorded()) == 60, 10.0)
        house.broker.faults.unknown_commit.append(unknown)
        house.broker.faults.fail_settle = 1 if settles else 10**9
        await house.until(lambda: not house.broker.faults.unknown_commit, 10.0)
        house.start()
        await house.until(lambda: len(house.workers[1].source.owned) == 2, 60.0)
        house.broker.faults.fail_settle = 0
        await house.until(lambda: house.lag() == 0, 300.0)
        check_each_once(house, 60)
        assert set(house.api.posts.values()) == {1}

    in_house(test, partitions=4)


@pytest.mark.parametrize("step", ["produce", "offsets", "end", "end.answer", "produce.answer"])
def test_a_worker_that_is_killed_in_the_middle_of_a_transaction_repeats_no_outcome(step: str) -> None:
    async def test(house: House) -> None:
        house.api.latency = 2.0
        produce(house, 40)
        worker = house.start()
        await house.until(lambda: len(house.recorded()) == 40, 10.0)
        await house.until(lambda: bool(house.observer.of(Fetched)), 10.0)
        asked: list[str] = []

        def delays(of: str) -> float:
            asked.append(of)
            return 0.5 if of == step else 0.0

        house.broker.faults.delays = delays
        await house.until(lambda: step in asked, 10.0)  # the first transaction with outcomes is under way
        await house.kill(worker)
        house.broker.faults.delays = lambda of: 0.0
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        await house.clock.sleep(11.0)  # until the dead worker's transaction has timed out, nobody reads past it
        check_each_once(house, 40)
        assert set(house.api.posts.values()) == {1}

    in_house(test)


def test_markers_that_come_late_delay_outcomes_and_repeat_none() -> None:
    async def test(house: House) -> None:
        house.broker.faults.marker_delay = 1.5
        house.start()
        produce(house, 100)
        await house.clock.sleep(5.0)
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        check_each_once(house, 100)

    in_house(test, partitions=4)


def test_an_aborted_transaction_shows_nothing_of_its_outcomes() -> None:
    async def test(house: House) -> None:
        produce(house, 50)
        house.start()
        await house.until(lambda: len(house.recorded()) == 50, 10.0)
        house.broker.faults.abort_commit = 10**9
        await house.clock.sleep(60.0)
        assert house.ended == 0
        house.broker.faults.abort_commit = 0
        await house.until(lambda: house.lag() == 0, 60.0)
        check_each_once(house, 50)

    in_house(test)


def test_a_batch_with_a_refused_message_shows_the_others_once_and_the_refused_one_as_a_dead_letter() -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[DEAD] = 100_000
        house.start()
        await house.clock.sleep(1.0)
        produce(house, 30)
        await house.until(lambda: bool(house.observer.of(Fetched)), 10.0)
        house.broker.publish(INPUT, b"large", b'"' + b"x" * 200_000)  # goes with the same batch
        await house.until(lambda: house.lag() == 0, 60.0)
        assert any(len(decided.records) >= 30 and not decided.committed for decided in house.decided)
        check_each_once(house, 31)
        (letter,) = house.broker.records(DEAD)
        assert (letter.key, letter.value, headers_of(letter)["dlq.reason"]) == (b"large", None, "INVALID_EVENT")

    in_house(test, WORKER_LIMITS__COMMIT_INTERVAL="3")


def without_dead_letter_topic(house: House) -> None:
    """Deleted, or no right to write."""
    del house.broker._counts[DEAD]
    house.api.failures["blocked"] = deque(["prohibited content"])


def test_a_missing_dead_letter_topic_stops_no_vectors() -> None:
    async def test(house: House) -> None:
        without_dead_letter_topic(house)
        worker = house.start()
        house.produce("blocked", key="blocked")
        produce(house, 50)
        await house.until(lambda: len(house.vectors()) == 50, 60.0)
        await house.clock.sleep(20.0)
        assert "embeddings.dead-letter does not exist" in " ".join(worker.not_ready())
        produce(house, 50, 50)
        await house.until(lambda: len(house.vectors()) == 100, 30.0)
        house.broker._counts[DEAD] = 1
        await house.until(lambda: house.lag() == 0, 30.0)
        check_each_once(house, 101)

    in_house(test)


def test_while_the_dead_letter_topic_is_missing_request_ids_are_recorded_and_a_crash_pays_nothing_twice() -> None:
    async def test(house: House) -> None:
        without_dead_letter_topic(house)
        worker = house.start()
        house.produce("blocked", key="blocked")
        await house.clock.sleep(30.0)
        house.api.latency = 60.0
        produce(house, 50)
        await house.until(lambda: len(house.recorded()) == 51, 30.0)
        await house.kill(worker)
        house.broker._counts[DEAD] = 1
        house.start()
        await house.until(lambda: house.lag() == 0, 120.0)
        assert set(house.api.posts.values()) == {1}
        check_each_once(house, 51)

    in_house(test)


def test_a_missing_output_topic_stops_no_dead_letters() -> None:
    async def test(house: House) -> None:
        del house.broker._counts[OUTPUT]
        house.start()
        produce(house, 5)
        await house.clock.sleep(20.0)
        house.produce("", key="bad")
        await house.until(lambda: house.reasons() == {"INVALID_EVENT": 1}, 30.0)
        house.broker._counts[OUTPUT] = 3
        await house.until(lambda: house.lag() == 0, 30.0)

    in_house(test)


def test_only_partitions_of_the_batch_have_offsets_sent_and_no_batch_is_empty() -> None:
    async def test(house: House) -> None:
        batches: list[Batch] = []
        worker = house.start()
        commit = worker._ports.sink.commit

        async def watched(batch: Batch) -> None:
            batches.append(batch)
            await commit(batch)

        worker._ports.sink.commit = watched  # type: ignore[method-assign]
        await house.until(lambda: len(batches) == 1)
        await house.clock.sleep(1.0)
        house.broker.publish(INPUT, b"k", b'{"text": "t"}', partition=1)
        await house.until(lambda: house.ended == 1)
        later = batches[1:]
        assert all(batch.positions for batch in batches)
        # a renewal of the lease may go to any; the others to the one that something happened in
        assert sum(batch.positions.keys() != {TopicPartition(INPUT, 1)} for batch in later) <= 1

    in_house(test)
