"""A submit whose answer was lost: `resubmit` may pay twice, `dead_letter` never does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.flow.harness import DEAD, House, copies, headers_of, in_house
from tests.flow.test_takeover import times_of_posts
from worker.core.ledger import Mark
from worker.errors import ApiError, ProtocolError, Refused, Unanswered
from worker.model import EmbedRequest


def mark(house: House, offset: int) -> Mark:
    """What the committed ledger says of a record of partition 0."""
    (found,) = (entry.mark for entry in house.ledger().entries if entry.offset == offset)
    return found


def lose_answers(house: House, count: int, error: Callable[[], ApiError]) -> None:
    """The next jobs are started, and nobody hears of them."""
    submit, left = house.api.submit, count

    async def losing(request: EmbedRequest) -> str:
        nonlocal left
        request_id = await submit(request)
        if left > 0:
            left -= 1
            raise error()
        return request_id

    house.api.submit = losing  # type: ignore[method-assign]


def slow_submits(house: House, seconds: float) -> Callable[[EmbedRequest], Coroutine[Any, Any, str]]:
    """A POST takes so long from now on; returns how it was."""
    submit = house.api.submit

    async def slow(request: EmbedRequest) -> str:
        await asyncio.sleep(seconds)
        return await submit(request)

    house.api.submit = slow  # type: ignore[method-assign]
    return submit


LOST = [
    lambda: Unanswered("reset", sent=True),
    lambda: Refused(502, "bad gateway", is_json=False),
    lambda: Refused(504, "gateway time-out", is_json=False),
    lambda: ProtocolError("no request_id", 200),
]

REFUSED = [
    lambda: Refused(429, "too many requests", is_json=True),
    lambda: Refused(400, "bad", is_json=True),
    lambda: Refused(503, "unavailable", is_json=False),
    lambda: Refused(406, "Insufficient credits: need 0.00003", is_json=True),
    lambda: Refused(401, "bad key", is_json=True),
    lambda: Unanswered("connection refused", sent=False),
]


@pytest.mark.parametrize("error", LOST)
def test_resubmit_pays_once_more_for_each_lost_answer_and_no_more(error: Callable[[], ApiError]) -> None:
    async def test(house: House) -> None:
        lose_answers(house, 3, error)
        for n in range(30):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.lag() == 0, 600.0)
        assert house.api.posts.total() == 33
        assert (len(house.vectors()), set(copies(house).values())) == (30, {1})

    in_house(test)


def test_the_intent_is_committed_before_the_post_starts() -> None:
    async def test(house: House) -> None:
        intents: list[bool] = []

        def arrives(request: EmbedRequest) -> None:
            intents.append(mark(house, int(request.text)).intent)

        house.api.refuse = arrives
        for n in range(60):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert intents == [True] * 60
        assert set(copies(house).values()) == {1}

    in_house(test, partitions=1, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_the_answer_takes_the_place_of_the_intent() -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: len(house.recorded()) == 1, 5.0)
        assert (mark(house, 0).intent, mark(house, 0).request_id, mark(house, 0).attempt) == (False, "job-0", 1)

    in_house(test, partitions=1, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


@pytest.mark.parametrize("error", REFUSED)
def test_an_intent_is_withdrawn_when_the_answer_or_the_connection_shows_that_no_job_was_started(
    error: Callable[[], ApiError],
) -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: error()
        house.produce("t", key="k")
        worker = house.start()
        await house.until(lambda: house.api.calls["submit"] == 1)
        await house.until(lambda: not any(entry.mark.intent for entry in house.ledger().entries), 0.2)
        await house.kill(worker)
        house.api.refuse = lambda request: None
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert "UNKNOWN_SUBMIT" not in house.reasons()
        assert house.ended == 1

    in_house(test, partitions=1, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


@pytest.mark.parametrize("error", LOST)
def test_a_lost_answer_makes_a_dead_letter_and_no_second_post(error: Callable[[], ApiError]) -> None:
    async def test(house: House) -> None:
        lose_answers(house, 1, error)
        for n in range(20):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.lag() == 0, 600.0)
        assert house.reasons() == {"UNKNOWN_SUBMIT": 1}
        assert len(house.vectors()) == 19
        assert set(house.api.posts.values()) == {1}
        said = headers_of(house.broker.records(DEAD)[0])
        assert (said["dlq.retryable"], said["dlq.attempts"]) == ("true", "1")

    in_house(test, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_a_crash_between_intent_and_answer_makes_a_dead_letter_that_the_next_owner_never_posts() -> None:
    async def test(house: House) -> None:
        house.produce("t", key="k")
        slow_submits(house, 1.0)
        worker = house.start()
        await house.until(
            lambda: house.api.calls["submit"] == 0 and bool(house.committed()) and bool(house.ledger().entries)
        )
        await house.until(lambda: mark(house, 0).intent, 5.0)
        await house.kill(worker)
        await house.clock.sleep(2.0)
        assert house.api.posts == {"t": 1}  # it was accepted, and billed
        times = times_of_posts(house)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert (house.reasons(), times) == ({"UNKNOWN_SUBMIT": 1}, [])

    in_house(test, partitions=1, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_a_new_owner_that_resubmits_posts_again_what_an_intent_left_open() -> None:
    async def test(house: House) -> None:
        house.produce("t", key="k")
        slow_submits(house, 1.0)
        worker = house.start()
        await house.until(lambda: bool(house.committed()) and any(e.mark.intent for e in house.ledger().entries), 5.0)
        await house.kill(worker)
        house.start(WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="resubmit")
        await house.until(lambda: house.lag() == 0, 60.0)
        assert (list(house.vectors()), house.api.posts) == (["k"], {"t": 2})

    in_house(test, partitions=1, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_ten_minutes_of_an_api_out_of_reach_dead_letter_nothing_and_leave_no_intent() -> None:
    async def test(house: House) -> None:
        house.start()
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        await house.until(lambda: house.ended > 0, 30.0)
        house.api.down = lambda: Unanswered("connection refused", sent=False)
        for n in range(100, 300):
            house.produce(f"{n}", key=f"k{n}")
        await house.clock.sleep(600.0)
        intents = [entry for where in range(3) for entry in house.ledger(where).entries if entry.mark.intent]
        assert len(intents) <= 1  # the probe's
        house.api.down = None
        await house.until(lambda: house.lag() == 0, 700.0)
        assert len(house.vectors()) == 300
        assert not house.broker.records(DEAD)
        assert set(house.api.posts.values()) == {1}

    in_house(test, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_an_outage_does_not_dead_letter_what_a_killed_worker_was_about_to_probe_with() -> None:
    async def test(house: House) -> None:
        house.api.down = lambda: Unanswered("connection refused", sent=False)
        for n in range(20):
            house.produce(f"{n}", key=f"k{n}")
        worker = house.start()
        await house.clock.sleep(60.0)
        await house.kill(worker)
        house.api.down = None
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert len(house.vectors()) == 20

    in_house(test, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_intents_whose_post_never_started_are_withdrawn_at_a_stop() -> None:
    async def test(house: House) -> None:
        house.start()
        await house.clock.sleep(5.0)
        for n in range(60):
            house.produce(f"{n}", key=f"k{n}")
        house.broker.faults.commit_delay = 0.8  # longer than it takes to submit: intents wait to be committed
        await house.clock.sleep(1.0)
        await house.stop()
        assert not any(entry.mark.intent for entry in house.ledger().entries)
        house.broker.faults.commit_delay = 0.0
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert (len(house.vectors()), set(house.api.posts.values())) == (60, {1})

    in_house(test, partitions=1, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_a_post_that_is_answered_after_a_429_is_no_unknown_submit() -> None:
    async def test(house: House) -> None:
        house.api.submit_troubles.extend(Refused(429, "slow down", is_json=True) for _ in range(5))
        for n in range(40):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        assert (len(house.vectors()), set(house.api.posts.values())) == (40, {1})

    in_house(test, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")


def test_kills_at_any_moment_pay_for_no_record_twice() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        for n in range(10):
            for m in range(20):
                house.produce(f"{n}-{m}", key=f"k{n}-{m}")
            await house.clock.sleep(7.0 + 0.017 * n)
            await house.kill(worker)
            worker = house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        await house.clock.sleep(11.0)
        assert set(house.api.posts.values()) == {1}
        assert house.ended == 200
        assert set(copies(house).values()) == {1}
        assert set(house.reasons()) <= {"UNKNOWN_SUBMIT"}

    in_house(test, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")
