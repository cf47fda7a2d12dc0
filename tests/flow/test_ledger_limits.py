"""Ledgers that do not fit, cannot be read, or belong to somebody else."""

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.flow.harness import INPUT, House, copies, in_house
from tests.flow.test_recall import counted_decodes
from tests.flow.test_takeover import times_of_posts
from worker.core.ledger import Entry, Ledger, Mark, Place
from worker.core.ledger_codec import MAGIC, encode
from worker.model import EmbedRequest, Position
from worker.notices import Recalled
from worker.settings import Delivery

either_way = pytest.mark.parametrize("delivery", list(Delivery))


def produce(house: House, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        house.produce(f"{n}", key=f"k{n}")


def uuids(house: House) -> None:
    """Ids as the real API gives them."""
    submit = house.api.submit

    async def as_uuid(request: EmbedRequest) -> str:
        plain = await submit(request)
        request_id = str(UUID(int=int(plain.removeprefix("job-")) + 2**100))
        house.api.jobs[request_id] = house.api.jobs[plain]
        return request_id

    house.api.submit = as_uuid  # type: ignore[method-assign]


# ---- too large


@either_way
@pytest.mark.parametrize("most", [3000, 1024, 512])
def test_where_the_broker_takes_less_metadata_fewer_are_in_flight_and_everything_is_there_once(
    most: int, delivery: Delivery
) -> None:
    async def test(house: House) -> None:
        uuids(house)
        house.broker.offset_metadata_max = most
        house.api.latency = 3.0
        produce(house, 300)
        worker = house.start()
        await house.until(lambda: house.lag() == 0, 600.0)
        assert house.ended == 300
        assert set(copies(house).values()) == {1}
        assert set(house.api.posts.values()) == {1}
        assert most // 2 - 2 <= worker._parts.partitions.budget < most
        assert worker.not_ready() == []

    in_house(test, partitions=1, delivery=delivery)


def test_in_strict_mode_intents_too_many_for_a_lowered_limit_are_taken_back_and_come_a_few_at_a_time() -> None:
    async def test(house: House) -> None:
        uuids(house)
        house.api.latency = 0.3
        worker = house.start()
        produce(house, 1)
        await house.until(lambda: house.lag() == 0)
        house.broker.offset_metadata_max = 512
        for n in range(240):
            house.broker.publish(INPUT, f"many{n}".encode(), f'{{"text": "s{n}"}}'.encode(), partition=0)
        house.broker.publish(INPUT, b"one", b'{"text": "s"}', partition=1)
        await house.until(lambda: house.lag() == 0, 600.0)
        assert (house.ended, set(house.api.posts.values()), set(copies(house).values())) == (242, {1}, {1})
        assert worker.not_ready() == []

    in_house(test, partitions=2, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_a_ledger_that_does_not_fit_holds_up_no_other_partition() -> None:
    async def test(house: House) -> None:
        house.api.latency = 600.0
        worker = house.start()
        for n in range(100):
            house.broker.publish(INPUT, f"many{n}".encode(), b'{"text": "s"}', partition=0)
        await house.until(lambda: len(house.api.jobs) == 100)
        house.api.latency = 1.0
        house.broker.offset_metadata_max = 160
        worker._parts.partitions.budget = 159
        for n in range(9):
            house.broker.publish(INPUT, f"few{n}".encode(), b'{"text": "s"}', partition=1)
        await house.clock.sleep(60.0)
        assert "does not fit into 159 characters" in worker.not_ready()[0]
        assert house.lag() == 100
        house.broker.offset_metadata_max, worker._parts.partitions.budget = 4096, 4095
        await house.until(lambda: house.lag() == 0)
        assert (house.api.bills, set(copies(house).values())) == (109, {1})

    in_house(test, partitions=2)


@either_way
def test_a_limit_that_is_lowered_under_way_drops_the_newest_ids_first_and_loses_nothing(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        uuids(house)
        house.api.latency = 60.0
        produce(house, 100)
        worker = house.start()
        await house.until(lambda: len(house.recorded()) == 100, 10.0)
        house.broker.offset_metadata_max = 1024
        produce(house, 1, 100)
        await house.until(lambda: len(house.recorded()) < 100, 10.0)
        ids = [entry.mark.request_id is not None for entry in house.ledger().entries]
        assert ids == sorted(ids, reverse=True)
        kept = sum(ids)
        assert kept >= 15
        await house.clock.sleep(5.0)
        await house.kill(worker)
        house.start()
        await house.until(lambda: house.lag() == 0, 300.0)
        assert set(copies(house).values()) == {1}
        assert house.ended == 101
        twice = {int(text) for text, count in house.api.posts.items() if count == 2}
        assert twice == set(range(kept, 101))

    in_house(test, partitions=1, delivery=delivery)


def test_ids_that_were_dropped_are_recorded_again_as_older_records_end() -> None:
    async def test(house: House) -> None:
        uuids(house)
        house.api.latency = 20.0
        produce(house, 30)
        house.start()
        await house.until(lambda: len(house.recorded()) == 30, 10.0)
        house.api.latency = 200.0
        produce(house, 69, 30)
        await house.until(lambda: len(house.recorded()) == 99, 10.0)
        house.broker.offset_metadata_max = 2200
        produce(house, 1, 99)
        await house.until(lambda: len(house.recorded()) < 99, 10.0)
        assert any(entry.mark.request_id is None for entry in house.ledger().entries)
        await house.until(lambda: len(house.vectors()) == 30, 60.0)
        await house.clock.sleep(2.0)
        assert all(entry.mark.request_id for entry in house.ledger().entries)

    in_house(test, partitions=1)


@pytest.mark.parametrize(("most", "paid"), [(50, 0), (76, 10)])
def test_brokers_that_take_no_ledger_stop_intake_and_readiness_names_the_setting(most: int, paid: int) -> None:
    """An empty ledger has 71 characters: with 76 it shows only later that no other fits."""

    async def test(house: House) -> None:
        house.broker.offset_metadata_max = most
        produce(house, 10)
        worker = house.start()
        await house.clock.sleep(30.0)
        assert len(house.api.jobs) == paid
        assert "offset.metadata.max.bytes" in " ".join(worker.not_ready())
        await house.stop_one(worker)
        house.broker.offset_metadata_max = 4096
        house.start()
        await house.until(lambda: house.lag() == 0, 30.0)
        assert set(copies(house).values()) == {1}

    in_house(test, partitions=1)


# ---- not to be read


async def used(house: House, *, running: int = 10) -> None:
    """Partition 0 has a ledger with finished records and with running jobs; nobody owns it."""
    house.api.latency = 30.0
    produce(house, running)
    worker = house.start()
    await house.until(lambda: len(house.recorded()) == running, 10.0)
    house.api.latency = 0.5
    produce(house, 20, running)
    await house.until(lambda: house.ended == 20, 10.0)
    await house.until(lambda: sum(len(house.ledger(n).entries) for n in range(len(ends(house)))) == running, 5.0)
    await house.stop_one(worker)


def ends(house: House) -> list[int]:
    return [house.broker.log(where).end for where in house.broker.partitions([INPUT])]


def newer(metadata: str) -> str:
    return MAGIC + "2" + metadata[len(MAGIC) + 1 :]


def damaged(metadata: str) -> str:
    return metadata[:-1] + ("A" if metadata[-1] != "A" else "B")


@pytest.mark.parametrize("harm", [newer, damaged])
def test_a_ledger_that_cannot_be_read_halts_its_partition_only_and_readiness_names_the_setting(
    harm: Callable[[str], str],
) -> None:
    async def test(house: House) -> None:
        await used(house)
        found = house.committed(0)
        assert found
        house.commit_by_hand(Position(found.offset, harm(found.metadata)), 0)
        worker = house.start()
        produce(house, 60, 100)
        lags = house.broker.log(next(iter(house.broker.partitions([INPUT])))).end - found.offset
        await house.until(lambda: house.lag() == lags, 60.0)
        await house.clock.sleep(60.0)
        assert house.lag() == lags
        (reason,) = worker.not_ready()
        assert reason.startswith(f"the ledger of texts-0 at offset {found.offset} cannot be read")
        assert "WORKER_GUARANTEES__ON_UNREADABLE_LEDGER=discard" in reason
        assert house.committed(0) == Position(found.offset, harm(found.metadata))
        assert house.observer.of(Recalled)[3].problem == reason

    in_house(test)


@pytest.mark.parametrize("harm", [newer, damaged])
def test_a_ledger_that_cannot_be_read_is_discarded_where_the_setting_says_so(harm: Callable[[str], str]) -> None:
    async def test(house: House) -> None:
        await used(house)
        found = house.committed(0)
        assert found
        house.commit_by_hand(Position(found.offset, harm(found.metadata)), 0)
        times, began = times_of_posts(house), house.clock.monotonic()
        worker = house.start(WORKER_GUARANTEES__ON_UNREADABLE_LEDGER="discard")
        await house.until(lambda: house.lag() == 0, 60.0)
        assert worker.not_ready() == []
        assert house.api.posts == {f"{n}": 2 for n in range(10)} | {f"{n}": 2 for n in range(10, 30)}
        assert times[0] - began >= 6.75
        (told,) = [notice for notice in house.observer.of(Recalled) if notice.problem]
        assert told.jobs == 0

    in_house(test, partitions=1)


def test_an_unreadable_ledger_survives_a_stop_and_the_worker_that_wrote_it_goes_on() -> None:
    async def test(house: House) -> None:
        await used(house)
        found = house.committed(0)
        assert found
        house.commit_by_hand(Position(found.offset, newer(found.metadata)), 0)
        worker = house.start()
        await house.clock.sleep(5.0)
        await house.stop_one(worker)
        assert house.committed(0) == Position(found.offset, newer(found.metadata))
        house.commit_by_hand(found, 0)  # what the newer worker does
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}

    in_house(test, partitions=1)


# ---- somebody else's


@pytest.mark.parametrize(
    ("place", "offset", "other"),
    [
        (Place("another cluster", "", 0), 0, "cluster"),
        (Place("", "", 7), 0, "partition"),
        (Place("", "", 0), 5, "offset"),
    ],
)
def test_a_ledger_that_was_copied_from_elsewhere_is_void_and_that_is_told(
    place: Place, offset: int, other: str
) -> None:
    async def test(house: House) -> None:
        here = Place(
            place.cluster or house.broker.cluster, place.topic or house.broker.topic_id(INPUT), place.partition
        )
        produce(house, 30)
        entries = tuple(Entry(offset + n, Mark(f"job-{n}", 1.8e9, 1)) for n in range(0, 20, 2))
        house.commit_by_hand(Position(0, encode(Ledger(here, offset, bytes(6), entries, offset + 20, clean=True))))
        times = times_of_posts(house)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert house.observer.of(Recalled)[0].problem == f"it was written for another {other}"
        assert (house.ended, set(copies(house).values()), len(times)) == (30, {1}, 30)
        assert times[0] >= 6.75  # that it was handed over in order is void too

    in_house(test, partitions=1)


def test_a_topic_that_was_deleted_and_made_again_begins_anew() -> None:
    async def test(house: House) -> None:
        await used(house)
        kept = house.committed(0)
        assert kept
        house.broker.delete_topic(INPUT, keep_offsets=True)
        house.broker.create_topic(INPUT, 1)
        house.commit_by_hand(Position(0, kept.metadata))
        produce(house, 5, 100)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert {f"k{n}" for n in range(100, 105)} <= set(house.vectors())
        assert house.observer.of(Recalled)[-1].offset == 0

    in_house(test, partitions=1)


def test_an_offset_that_another_program_commits_without_a_ledger_means_do_it_again_from_there() -> None:
    async def test(house: House) -> None:
        await used(house)
        house.commit_by_hand(Position(20, "kafka-rest"))
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert house.observer.of(Recalled)[-1].problem == "another program's metadata"
        assert {text for text, count in house.api.posts.items() if count == 2} == {f"{n}" for n in range(20, 30)}

    in_house(test, partitions=1)


# ---- another configuration


@pytest.mark.parametrize(
    "changed", [{"WORKER_API__MODEL": "another-model"}, {"WORKER_API__OUTPUT_DIMENSIONALITY": "8"}]
)
def test_after_a_deploy_with_another_model_the_request_ids_are_void_and_finished_stays_finished(
    changed: dict[str, str],
) -> None:
    async def test(house: House) -> None:
        await used(house)
        decoded = counted_decodes(house)
        house.start(None, **changed)
        await house.until(lambda: house.lag() == 0, 60.0)
        (told,) = [notice for notice in house.observer.of(Recalled) if notice.voided]
        assert (told.voided, told.unfinished, told.jobs, told.problem) == (10, 10, 0, None)
        assert len(decoded) == 10
        assert house.api.posts == {f"{n}": 2 for n in range(10)} | {f"{n}": 1 for n in range(10, 30)}
        assert (house.ended, set(copies(house).values())) == (30, {1})

    in_house(test, partitions=1)


def test_a_deploy_that_changes_nothing_of_the_results_keeps_the_jobs() -> None:
    async def test(house: House) -> None:
        await used(house)
        house.start(WORKER_API__TIMEOUT="20", WORKER_LIMITS__IN_FLIGHT="50")
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}

    in_house(test)


def test_another_group_knows_nothing_and_does_everything_again() -> None:
    async def test(house: House) -> None:
        await used(house)
        house.start(WORKER_KAFKA__GROUP_ID="another")
        await house.until(lambda: house.ended == 20 + 30, 60.0)

    in_house(test)


def test_a_change_of_delivery_keeps_the_ledger() -> None:
    async def test(house: House) -> None:
        await used(house)
        house.start(WORKER_GUARANTEES__DELIVERY="at_least_once")
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}
        assert set(copies(house).values()) == {1}

    in_house(test)


def test_partitions_that_are_added_change_nothing_of_what_the_others_know() -> None:
    async def test(house: House) -> None:
        await used(house)
        house.broker.create_topic(INPUT, 4)
        house.start()
        produce(house, 30, 100)
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(house.api.posts.values()) == {1}

    in_house(test, partitions=2)
