"""Too many dead letters of one reason: intake halts, one record at a time is tried, and it goes on by itself."""

import json
from collections import deque
from dataclasses import replace

import pytest

from tests.flow.harness import DEAD, INPUT, OUTPUT, House, copies, in_house
from worker.errors import Refused, Unanswered
from worker.model import EmbedRequest, Outcome, OutcomeKind, Reason, Record, TopicPartition
from worker.notices import Ended, Halted, Healed
from worker.settings import Delivery


def produce(house: House, count: int, text: str = "text", key: str = "k") -> None:
    for n in range(count):
        house.produce(f"{text} {n}" if text else "", key=f"{key}{text}{n}")


def letters(house: House) -> int:
    return len(house.broker.records(DEAD))


class Policy:
    """A content policy that blocks everything while it is in force. No single call shows whose fault that is."""

    def __init__(self, house: House) -> None:
        self.in_force = True
        submit = house.api.submit

        async def submit_blocked(request: EmbedRequest) -> str:
            if self.in_force:
                house.api.failures[request.text] = deque(["Blocked by safety filters: prohibited content"])
            return await submit(request)

        house.api.submit = submit_blocked  # type: ignore[method-assign]


@pytest.mark.parametrize("delivery", Delivery)
def test_a_run_of_one_reason_halts_intake_and_a_restart_is_no_way_around_it(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        policy = Policy(house)
        produce(house, 2000)
        worker = house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 60.0)
        await house.clock.sleep(3.0)
        most = 10 + 2 * 20  # the run, as many as were in work beside it, and those
        assert 10 <= letters(house) <= most
        (reason,) = worker.not_ready()
        assert "dead_letters: CONTENT_BLOCKED " in reason
        assert " times in a row" in reason
        assert "look at what the producers send" in reason
        assert worker.not_live() == []
        await house.clock.sleep(3600.0)
        tried = 6 + 3600 // 300  # 5, 10, 20, ... s, then every 5 minutes
        assert letters(house) <= most + tried
        before = letters(house)
        for _ in range(5):
            await house.stop_one(worker)
            worker = house.start()
            await house.clock.sleep(10.0)
            assert "dead_letters: CONTENT_BLOCKED too often, said the worker" in worker.not_ready()[0]
        assert letters(house) <= before + 5 * 2
        await house.kill(worker)
        worker = house.start()
        await house.clock.sleep(20.0)
        assert "dead_letters" in worker.not_ready()[0]
        policy.in_force = False
        await house.until(lambda: house.lag() == 0, 900.0)
        assert worker.not_ready() == []
        assert set(copies(house).values()) == {1}
        assert house.ended == 2000

    in_house(test, delivery=delivery, WORKER_DEAD_LETTERS__RUN="10", WORKER_LIMITS__IN_FLIGHT="20")


def test_a_share_of_one_reason_halts_intake_where_no_run_would() -> None:
    async def test(house: House) -> None:
        for n in range(1000):
            house.produce("" if n % 8 < 5 else f"{n}", key=f"k{n}")
        worker = house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 60.0)
        (reason,) = worker.not_ready()
        assert "dead_letters: INVALID_EVENT" in reason
        assert " % of the last " in reason
        assert "(more than dead_letters.share allows)" in reason
        await house.clock.sleep(60.0)
        assert house.ended < 200

    in_house(test, WORKER_DEAD_LETTERS__WINDOW="40", WORKER_LIMITS__IN_FLIGHT="20")


def test_garbage_that_never_meets_the_api_is_tried_one_record_at_a_time_at_growing_intervals() -> None:
    async def test(house: House) -> None:
        produce(house, 3000, text="")
        house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 60.0)
        await house.clock.sleep(2.0)
        before = letters(house)
        assert before <= 230 + 256
        times: list[float] = []
        await house.clock.sleep(1300.0)
        times = [notice.seconds for notice in house.observer.of(Ended)]
        assert len(times) - before == 1 + 1 + 1 + 1 + 1 + 1 + 3  # 5, 10, ..., 160, then every 300 s
        assert house.api.calls["submit"] == 0

    in_house(test)


def test_what_is_in_work_waits_unpaid_and_jobs_that_run_are_fetched_while_intake_is_halted() -> None:
    async def test(house: House) -> None:
        house.api.latency = 20.0
        produce(house, 15, text="runs")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 15)
        for _ in range(30):
            house.produce("", key=None)
        await house.until(lambda: bool(house.observer.of(Halted)), 10.0)
        produce(house, 50, text="later")
        await house.until(lambda: len(house.vectors()) >= 15, 30.0)
        assert house.api.posts["runs 0"] == 1
        await house.until(lambda: house.lag() == 0, 300.0)
        assert letters(house) == 30
        assert len(house.vectors()) == 65

    in_house(test, partitions=1, WORKER_DEAD_LETTERS__RUN="10")


def test_records_whose_job_failed_wait_for_their_turn_and_are_the_first_to_be_tried() -> None:
    async def test(house: House) -> None:
        failing = True
        house.api.failures = {}
        submit = house.api.submit

        async def submit_failing(request: EmbedRequest) -> str:
            if failing:
                house.api.failures[request.text] = deque(["internal error"])
            return await submit(request)

        house.api.submit = submit_failing  # type: ignore[method-assign]
        produce(house, 300)
        house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 120.0)
        await house.clock.sleep(30.0)
        posts = house.api.calls["submit"]
        await house.clock.sleep(600.0)
        assert house.api.calls["submit"] - posts <= 3 * 6  # a record that is tried uses up its attempts
        failing = False
        await house.until(lambda: house.lag() == 0, 700.0)
        assert set(copies(house).values()) == {1}
        assert house.ended == 300
        assert len(house.vectors()) > 200

    in_house(test, WORKER_DEAD_LETTERS__RUN="10", WORKER_LIMITS__IN_FLIGHT="60")


def test_three_tried_records_in_a_row_that_end_as_vectors_open_intake() -> None:
    async def test(house: House) -> None:
        for n in range(40):
            house.produce("", key=f"bad{n}")
        house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 10.0)
        await house.until(lambda: house.ended == 40, 30.0)
        produce(house, 2, text="good")
        await house.clock.sleep(900.0)
        assert (len(house.vectors()), house.observer.of(Healed)) == (2, [])
        produce(house, 1, text="third")
        await house.until(lambda: bool(house.observer.of(Healed)), 2.0)
        produce(house, 300, text="rest")
        assert await house.until(lambda: house.lag() == 0, 60.0) < 30.0

    in_house(test, WORKER_DEAD_LETTERS__RUN="40")


def test_tombstones_pass_while_records_are_tried_and_prove_nothing() -> None:
    async def test(house: House) -> None:
        for n in range(12):
            house.produce("", key=f"bad{n}")
        house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 10.0)
        for n in range(100):
            house.produce(None, key=f"gone{n}")
        await house.until(lambda: len(house.broker.records(OUTPUT)) == 100, 30.0)
        assert house.observer.of(Healed) == []

    in_house(test, partitions=1, WORKER_DEAD_LETTERS__RUN="12")


def test_a_tried_record_does_not_wait_for_an_older_one_of_its_key_that_may_not_go_on() -> None:
    async def test(house: House) -> None:
        house.api.failures["older"] = deque(["internal error"])
        house.produce("older", key="k")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        for n in range(20):
            house.produce("", key=f"bad{n}")
        house.produce("newer", key="k")
        for n in range(5):
            house.produce(f"{n}", key="k")
        await house.until(lambda: bool(house.observer.of(Halted)), 10.0)
        await house.until(lambda: house.lag() == 0, 60.0)
        assert [json.loads(record.value or b"")["offset"] for record in house.broker.records(OUTPUT)] == [
            0,
            *range(21, 27),
        ]

    in_house(test, partitions=1, WORKER_DEAD_LETTERS__RUN="10")


def test_an_older_record_of_the_key_of_a_tried_one_goes_on_with_it_and_no_other_does() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        trials, budget = worker._parts.trials, worker._parts.trials._budget
        for _ in range(10):
            budget.counted(Outcome(OutcomeKind.DEAD_LETTER, None, Reason.TIMEOUT), 0.0)
        tried = Record(TopicPartition(INPUT, 0), 7, -1, b"k", b"", (), 1)
        trials.take(tried)
        assert trials.may_go_on(tried)
        assert trials.may_go_on(replace(tried, offset=6))
        others = {"offset": 8}, {"offset": 6, "key": b"other"}, {"offset": 6, "key": None}
        elsewhere = {"offset": 6, "source": TopicPartition(INPUT, 1)}
        assert not any(trials.may_go_on(replace(tried, **changed)) for changed in (*others, elsewhere))
        assert not trials.may_go_on(replace(tried, key=None, offset=6))

    in_house(test, partitions=2, WORKER_DEAD_LETTERS__RUN="10")


def test_an_outage_while_records_are_tried_halts_and_heals_beside_it() -> None:
    async def test(house: House) -> None:
        policy = Policy(house)
        produce(house, 100)
        worker = house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 60.0)
        house.api.down = lambda: Unanswered("refused", sent=False)
        await house.clock.sleep(1800.0)
        assert letters(house) < 40
        house.api.down = None
        policy.in_force = False
        await house.until(lambda: house.lag() == 0, 900.0)
        assert worker.not_ready() == []

    in_house(test, WORKER_DEAD_LETTERS__RUN="10", WORKER_LIMITS__IN_FLIGHT="20")


def test_a_refusal_of_everything_while_records_are_tried_heals_beside_it() -> None:
    async def test(house: House) -> None:
        for n in range(10):
            house.produce("", key=f"bad{n}")
        produce(house, 60)
        house.api.refuse = lambda request: Refused(400, "no such parameter", is_json=True)
        worker = house.start()
        await house.clock.sleep(3600.0)
        assert worker.not_ready()
        assert house.reasons()["INVALID_REQUEST"] < 30
        house.api.refuse = lambda request: None
        await house.until(lambda: house.lag() == 0, 1200.0)
        assert worker.not_ready() == []
        assert house.ended == 70

    in_house(test, WORKER_DEAD_LETTERS__RUN="10")


def test_a_worker_with_outcomes_of_its_own_is_not_halted_by_what_another_ones_ledger_says() -> None:
    async def test(house: House) -> None:
        first = house.start()
        await house.clock.sleep(1.0)
        second = house.start()
        await house.clock.sleep(5.0)
        produce(house, 200)
        await house.until(lambda: house.lag() == 0, 30.0)
        bad = next(where for process in house.workers if process.worker is first for where in process.source.owned)
        for _ in range(60):
            house.broker.publish(INPUT, None, b'{"text": ""}', (), partition=bad.partition)
        await house.until(lambda: bool(house.observer.of(Halted)), 30.0)
        await house.until(lambda: house.ledger(bad.partition).exceeded is Reason.INVALID_EVENT, 5.0)
        await house.stop_one(first)
        await house.clock.sleep(5.0)
        assert second.not_ready() == []
        assert house.ledger(bad.partition).exceeded is None

    in_house(test, partitions=2)


def test_no_dead_letter_is_held_back_while_intake_is_halted() -> None:
    async def test(house: House) -> None:
        produce(house, 300, text="")
        house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 30.0)
        await house.clock.sleep(1.0)
        assert house.workers[0].worker.in_flight == 0
        committed = sum(1 for notice in house.observer.of(Ended) if notice.reason)
        assert letters(house) == committed >= 50

    in_house(test)


def test_limits_that_are_turned_off_halt_nothing() -> None:
    async def test(house: House) -> None:
        produce(house, 500, text="")
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert house.observer.of(Halted) == []

    in_house(test, WORKER_DEAD_LETTERS__RUN="0", WORKER_DEAD_LETTERS__SHARE="1.0")


def test_a_stop_while_intake_is_halted_is_quick_and_leaves_everything_to_the_next_worker() -> None:
    async def test(house: House) -> None:
        policy = Policy(house)
        produce(house, 300)
        worker = house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 60.0)
        await house.clock.sleep(1.0)
        assert await house.stop_one(worker) < 3.0
        policy.in_force = False
        house.start()
        await house.until(lambda: house.lag() == 0, 120.0)
        assert set(copies(house).values()) == {1}

    in_house(test, WORKER_DEAD_LETTERS__RUN="10", WORKER_LIMITS__IN_FLIGHT="100")
