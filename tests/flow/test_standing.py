"""Partitions that stand, of which only the source knows: red with the reason, while the others go on."""

import pytest

from tests.flow.harness import INPUT, House, copies, in_house
from worker.model import TopicPartition
from worker.settings import Delivery

either_way = pytest.mark.parametrize("delivery", list(Delivery))


def test_what_the_source_waits_for_makes_the_worker_not_ready_until_it_is_there() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        source = house.workers[0].source
        await house.until(lambda: worker.not_ready() == [])
        source.standing = ["texts-1: the committed offset has not been readable for 61 s"]
        assert worker.not_ready() == source.standing
        source.drop_all()
        assert worker.not_ready() == source.standing
        source.standing = []
        assert "more replicas than partitions" in worker.not_ready()[0]

    in_house(test)


@either_way
def test_a_partition_that_retention_has_overtaken_stands_alone(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        lost = TopicPartition(INPUT, 0)
        worker = house.start()
        await house.until(lambda: worker.not_ready() == [])
        await house.stop()
        for n in range(60):
            house.produce(f"{n}", key=f"k{n}")
        kept = {record.key for record in house.broker.records(INPUT) if record.source != lost}
        house.broker.truncate(lost, 4)
        worker = house.start()
        await house.until(lambda: house.ended == len(kept), 60.0)
        assert set(copies(house)) == kept
        [reason] = worker.not_ready()
        assert f"{lost} stands" in reason
        assert worker.not_live() == []
        assert not house.workers[0].task.done()
        await house.stop()
        house.start(WORKER_KAFKA__ON_OUT_OF_RANGE="earliest")
        await house.until(lambda: house.ended == 56, 60.0)
        await house.until(lambda: house.lag() == 0, 60.0)
        assert set(copies(house).values()) == {1}

    in_house(test, delivery=delivery)


@either_way
def test_jobs_of_records_that_are_left_are_polled_on_past_those_that_retention_took(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        house.api.latency = 100.0
        for n in range(10):
            house.produce(f"{n}", key=f"k{n}")
        first = house.start()
        await house.until(lambda: len(house.recorded()) == 10, 60.0)
        await house.kill(first)
        house.broker.truncate(TopicPartition(INPUT, 0), 4)
        second = house.start(WORKER_KAFKA__ON_OUT_OF_RANGE="earliest")
        await house.until(lambda: house.lag() == 0, 300.0)
        assert sorted(house.vectors()) == [f"k{n}" for n in range(4, 10)]
        assert house.api.bills == 10
        assert (second.in_flight, house.ledger().entries) == (0, ())
        house.produce("more", key="more")
        await house.until(lambda: house.ended == 7, 300.0)
        assert second.not_ready() == []

    in_house(test, partitions=1, delivery=delivery)
