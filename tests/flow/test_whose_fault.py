"""Whose fault a failure is, seen from the whole worker, and what heals it; found by an attack on it."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

import pytest

from tests.fakes.virtual_time import EPOCH
from tests.flow.harness import INPUT, OUTPUT, House, in_house
from tests.flow.test_gate import NO_CREDITS, REFUSED_KEY, Bench, at_the_gate
from worker.core.halting import LONGEST_PROBE
from worker.errors import ApiError, ProtocolError, Refused, Unanswered
from worker.model import Completed, JobState
from worker.notices import Halted, Healed
from worker.stages.consume import Consume


def consume_of(house: House, n: int = 0) -> Consume:
    return house.workers[n][0]._parts.consume


def test_no_partition_starves_while_others_have_a_backlog() -> None:
    async def test(house: House) -> None:
        for partition in range(6):
            for n in range(1000):
                house.broker.publish(INPUT, f"p{partition}-{n}".encode(), b'{"text": "t"}', partition=partition)
        house.start()
        await house.until(lambda: house.ended >= 1800)
        by = Counter((record.key or b"").decode().split("-")[0] for record in house.broker.records(OUTPUT))
        assert min(by.get(f"p{n}", 0) for n in range(6)) >= 150, by

    in_house(test, partitions=6)


def test_a_probe_that_is_due_while_the_pace_is_shut_does_not_spin() -> None:
    async def test(bench: Bench) -> None:
        job = await bench.submit()
        bench.gate.halt(NO_CREDITS)
        bench.api.poll_troubles.append(Refused(429, "slow", is_json=True, reset_at=EPOCH + 60.0))
        poll = asyncio.create_task(bench.status(job))
        turns = 0
        let_in = bench.gate._let_in

        async def counted() -> float | None:
            nonlocal turns
            turns += 1
            if turns > 5000:
                raise RuntimeError(f"the gate spins at {bench.clock.monotonic():.2f} s")
            return await let_in()

        bench.gate._let_in = counted  # type: ignore[method-assign]
        poll.add_done_callback(lambda _: None)
        for _ in range(700):
            await asyncio.sleep(0.1)
            assert turns < 5000, f"the gate spins at {bench.clock.monotonic():.2f} s"
        assert poll.done()

    at_the_gate(test)


@pytest.mark.parametrize(
    "trouble",
    [lambda: Refused(500, "cannot read output", is_json=True), lambda: ProtocolError("COMPLETED without output", 200)],
)
def test_a_job_whose_result_can_never_be_read_ends_at_its_deadline_and_is_not_paid_again(
    trouble: Callable[[], ApiError],
) -> None:
    async def test(house: House) -> None:
        async def broken(request_id: str) -> Completed | JobState:
            await asyncio.sleep(0.01)
            house.api._find(request_id)
            raise trouble()

        house.api.result = broken  # type: ignore[method-assign]
        house.produce("t", key="k")
        house.start()
        seconds = await house.until(lambda: house.ended == 1, 86400.0)
        assert house.api.posts == {"t": 1}, (house.api.posts, seconds, house.reasons())
        assert house.reasons() == {"TIMEOUT": 1}
        assert seconds < 700

    in_house(test)


def test_an_outage_uses_up_nothing_of_a_jobs_deadline() -> None:
    async def test(house: House) -> None:
        house.api.latency = 720.0  # the vendor's queue stood still while it was down
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.api.down = lambda: Unanswered("refused", sent=False)
        await house.clock.sleep(700.0)
        house.api.down = None
        await house.until(lambda: house.ended == 1, 1000.0)
        assert house.reasons() == {}

    in_house(test)


def test_a_result_that_expired_during_an_outage_uses_up_no_attempt() -> None:
    async def test(house: House) -> None:
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.api.down = lambda: Refused(401, "key expired", is_json=True)
        await house.clock.sleep(2 * 3600.0)
        house.api.down = None
        await house.until(lambda: house.ended == 1, 1000.0)
        assert house.reasons() == {}

    in_house(test, WORKER_API__ATTEMPTS="1")


def test_a_batch_of_bad_events_in_a_row_does_not_halt_the_worker_for_ever() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: (
            Refused(400, "input is longer than 2048 tokens", is_json=True) if request.text == "bad" else None
        )
        for n in range(40):
            house.produce("bad", key=f"bad{n}")
        for n in range(50):
            house.produce("good", key=f"good{n}")
        house.start()
        await house.clock.sleep(6 * 86400.0)
        assert len(house.vectors()) == 50, (house.ended, house.workers[0][0].not_ready())

    in_house(test, partitions=1, WORKER_LIMITS__IN_FLIGHT="20")


def test_submits_without_an_answer_for_ten_minutes_dead_letter_nothing() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Unanswered("no complete answer within 30 s", sent=True)
        for n in range(200):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.clock.sleep(600.0)  # GET credits goes on answering all the time
        assert house.reasons() == {}

    in_house(test)


def test_an_outage_at_low_traffic_dead_letters_nothing() -> None:
    async def test(house: House) -> None:
        house.start()
        await house.clock.sleep(1.0)
        house.api.down = lambda: Unanswered("no complete answer within 30 s", sent=True)
        for n in range(5):
            house.produce(f"{n}", key=f"k{n}")
        await house.clock.sleep(600.0)
        house.api.down = None
        await house.until(lambda: house.ended == 5, 1000.0)
        assert house.reasons() == {}

    in_house(test)


@pytest.mark.parametrize("status", [521, 522, 530, 408])
def test_gateway_statuses_without_an_origin_are_an_outage_too(status: int) -> None:
    async def test(house: House) -> None:
        house.api.down = lambda: Refused(status, "origin unreachable", is_json=False)
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await house.clock.sleep(30.0)
        house.api.down = lambda: Refused(status, "origin unreachable", is_json=False)
        await house.clock.sleep(600.0)
        assert worker.not_ready()

    in_house(test)


def test_gateway_statuses_after_the_start_are_an_outage_too() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        await house.clock.sleep(1.0)
        house.api.down = lambda: Refused(522, "origin unreachable", is_json=False)
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        await house.clock.sleep(600.0)
        assert worker.not_ready()

    in_house(test)


def test_a_halt_met_by_polls_is_probed_by_polls_and_pays_for_nothing() -> None:
    async def test(house: House) -> None:
        async def elsewhere(request_id: str) -> JobState:
            await asyncio.sleep(0.01)
            raise Refused(404, "<html>not found</html>", is_json=False)

        house.api.status = elsewhere  # type: ignore[method-assign]
        house.api.result = elsewhere  # type: ignore[method-assign]
        for n in range(400):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 60.0)
        await house.clock.sleep(1.0)
        paid = len(house.api.jobs)
        await house.clock.sleep(3600.0)
        assert len(house.observer.of(Healed)) == 0
        assert len(house.api.jobs) <= paid + 1, (paid, len(house.api.jobs))

    in_house(test, WORKER_PACE__REQUESTS_PER_MINUTE="600")


def test_probes_of_a_cause_that_comes_back_at_once_grow_rarer() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Refused(401, "this key may not use v2", is_json=True)  # credits answers 200
        for n in range(400):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.clock.sleep(3600.0)
        assert house.api.calls["submit"] < 400, (house.api.calls, len(house.observer.of(Halted)))
        assert len(house.observer.of(Healed)) < 30

    in_house(test)


def test_an_answer_to_a_call_from_before_the_halt_does_not_heal_it() -> None:
    async def test(bench: Bench) -> None:
        bench.api.refuse = lambda request: None
        release = asyncio.Event()

        async def slow() -> str:
            await release.wait()
            return "job"

        from worker.core.endings import Call

        early = asyncio.create_task(bench.gate.call(Call.SUBMIT, slow, event="early"))
        await bench.clock.sleep(0.1)
        bench.gate.halt(NO_CREDITS)
        release.set()
        await early
        assert bench.gate.halted

    at_the_gate(test)


def test_what_a_graceful_stop_behind_one_slow_job_pays_again_is_bounded_by_the_offset_span() -> None:
    async def test(house: House) -> None:
        house.api.latency = 500.0
        house.produce("slow", key="slow")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.api.latency = 0.5
        for n in range(600):
            house.produce(f"{n}", key=f"k{n}")
        await house.until(lambda: house.ended == 199)
        await house.stop()  # a deploy
        house.start()
        await house.until(lambda: house.lag() == 0)
        assert sum(count - 1 for count in house.api.posts.values()) <= 200

    in_house(test, partitions=1, WORKER_LIMITS__OFFSET_SPAN="200")


def test_an_idle_worker_heals_too() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Refused(406, "Insufficient credits: need 0.00003", is_json=True)
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: bool(house.observer.of(Halted)))
        second = house.start()  # takes the partition over, and halts too
        await house.clock.sleep(60.0)
        house.api.refuse = lambda request: None
        await house.until(lambda: house.ended >= 1, 3600.0)
        await house.clock.sleep(86400.0)
        assert [worker.not_ready() for worker, *_ in house.workers if len(worker._parts.partitions)] == [[]] * 2, second

    in_house(test, partitions=2)


def test_headers_count_as_memory() -> None:
    async def test(house: House) -> None:
        header = b"x" * 100_000
        house.api.down = lambda: Unanswered("refused", sent=False)
        for n in range(2000):
            house.broker.publish(INPUT, f"k{n}".encode(), b'{"text": "t"}', (("h", header),))
        house.start()
        await house.clock.sleep(60.0)
        held = sum(len(p.backlog) for p in house.workers[0][0]._parts.partitions.values()) * len(header)
        assert held < 2 * house.settings.limits.bytes, f"{held} bytes held, the limit is {house.settings.limits.bytes}"
        house.api.down = None

    in_house(test, partitions=6, WORKER_LIMITS__BYTES="20000000")


def test_a_429_is_no_proof_that_a_refused_key_is_accepted() -> None:
    async def test(bench: Bench) -> None:
        bench.gate.halt(REFUSED_KEY)
        bench.api.down = lambda: Refused(429, "slow", is_json=True)
        await bench.clock.sleep(60.0)
        assert bench.gate.halted

    at_the_gate(test)


def test_an_answer_of_another_shape_at_the_start_is_not_called_unreachable() -> None:
    async def test(house: House) -> None:
        house.api.down = lambda: ProtocolError("the answer to the credits call holds no number of credits", 200)
        worker = house.start()
        await house.clock.sleep(1.0)
        assert not any("does not answer" in reason for reason in worker.not_ready())

    in_house(test)


def test_texts_that_fail_by_themselves_and_fill_their_partition_do_not_keep_those_behind_them_waiting() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Refused(500, "boom", is_json=True) if "poison" in request.text else None
        for n in range(3):
            house.broker.publish(INPUT, b"poison", b'{"text": "poison"}', partition=n)
        house.start()
        await house.until(lambda: bool(house.observer.of(Halted)), 60.0)
        for n in range(30):
            house.produce(f"{n}", key=f"k{n}")
        await house.until(lambda: house.lag() == 0, 900.0)
        assert house.reasons() == {"API_ERROR": 3}

    in_house(test, WORKER_LIMITS__IN_FLIGHT_PER_PARTITION="1")


@pytest.mark.parametrize("fate", ["expired", "failed"])
def test_polls_that_are_answered_by_lost_jobs_end_a_halt_that_polls_have_met(fate: str) -> None:
    async def test(house: House) -> None:
        house.api.latency = 5.0
        for n in range(50):
            if fate == "failed":
                house.api.failures[f"{n}"] = deque(["the model ran out of memory"])
            house.produce(f"{n}", key=f"k{n}")
        house.api.polls_down = lambda: Refused(403, "forbidden", is_json=True)
        worker = house.start()
        await house.clock.sleep(2 * 3600.0 if fate == "expired" else 600.0)
        assert "forbidden" in worker.not_ready()[0]
        house.api.polls_down = None
        await house.until(lambda: house.lag() == 0, LONGEST_PROBE + 60.0)
        assert len(house.vectors()) == 50

    in_house(test)


def test_submits_of_unknown_fate_use_up_no_probe_in_strict_mode() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: ProtocolError("no request_id", 200)
        for n in range(60):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await house.clock.sleep(600.0)
        assert "refusals" in worker.not_ready()[0]
        house.api.refuse = lambda request: None
        house.produce("60", key="k60")
        await house.until(lambda: house.lag() == 0, LONGEST_PROBE + 60.0)
        assert house.reasons().keys() <= {"UNKNOWN_SUBMIT"}

    in_house(test, partitions=1, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_texts_that_fail_by_themselves_let_others_show_first_that_there_is_no_outage() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Refused(500, "boom", is_json=True) if "poison" in request.text else None
        for n in range(10):
            house.produce("poison", key=f"poison {n}")
        worker = house.start()
        await house.clock.sleep(3600.0)
        assert "outage" in worker.not_ready()[0]
        house.produce("good", key="good")
        await house.until(lambda: "good" in house.vectors(), 2 * LONGEST_PROBE + 60.0)

    in_house(test)
