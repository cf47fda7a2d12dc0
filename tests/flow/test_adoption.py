"""A replayed dead letter that names its young job is polled, not paid again."""

from collections import deque

import pytest

from tests.flow.harness import DEAD, INPUT, OUTPUT, House, copies, headers_of, in_house
from worker.core.adoption import MARGIN
from worker.core.verdicts import RESULT_LIFETIME
from worker.errors import ApiError, Refused
from worker.model import Record
from worker.notices import Adopted, Halted
from worker.settings import Delivery

either_way = pytest.mark.parametrize("delivery", list(Delivery))

DEADLINE = {"WORKER_API__DEADLINE": "20"}


async def timed_out(house: House, key: str = "k") -> Record:
    """A dead letter whose job goes on running."""
    house.api.latency = 100.0
    house.produce("t", key=key)
    house.start(None, **DEADLINE)
    await house.until(lambda: len(house.broker.records(DEAD)) == 1, 120.0)
    await house.stop()
    return house.broker.records(DEAD)[0]


def replay(house: House, letter: Record, **changed: bytes | None) -> Record:
    """Produce it again as `replay` does; `changed`: headers that are other than they should be."""
    kept = tuple(header for header in letter.headers if not header[0].startswith("dlq."))
    named = {name.removeprefix("dlq."): value for name, value in letter.headers}
    sent = {name: named[name] for name in ("request_id", "submitted_at", "text_sha256", "job")}
    new = (("dlq.replays", b"1"), *((f"dlq.{name}", value) for name, value in {**sent, **changed}.items()))
    return house.broker.publish(INPUT, letter.key, letter.value, (*kept, *new))


@either_way
def test_the_job_of_a_replayed_dead_letter_is_polled_to_its_end_and_nothing_is_paid(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        replayed = replay(house, await timed_out(house))
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        assert (house.api.posts, house.api.bills) == ({"t": 1}, 1)
        assert house.vectors()["k"] | {"vector": 0, "text_sha256": 0} == {
            "id": "k",
            "vector": 0,
            "request_id": "job-0",
            "attempts": 1,
            "offset": replayed.offset,
            "text_sha256": 0,
        }
        assert [notice.job.request_id for notice in house.observer.of(Adopted)] == ["job-0"]
        (vector,) = house.broker.records(OUTPUT)
        assert not vector.headers

    in_house(test, delivery=delivery)


@pytest.mark.parametrize(
    "changed",
    [
        {"text_sha256": b"0" * 64},
        {"job": b"0" * 12},
        {"job": None},
        {"request_id": b"a/../b"},
        {"request_id": b"x" * 100},  # would leave less room in every ledger
        {"submitted_at": b"2027-01-15T10:00:00.000Z"},
        {"submitted_at": b"2027-01-15T06:00:00.000Z"},
        {"submitted_at": b"yesterday"},
    ],
)
def test_headers_that_do_not_fit_are_ignored_and_the_text_is_submitted(changed: dict[str, bytes | None]) -> None:
    async def test(house: House) -> None:
        replay(house, await timed_out(house), **changed)
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        assert house.api.posts == {"t": 2}
        assert house.vectors()["k"]["request_id"] == "job-1"
        assert not house.observer.of(Adopted)

    in_house(test)


@pytest.mark.parametrize(
    "changed",
    [
        {"WORKER_API__MODEL": "another"},
        {"WORKER_API__TASK_TYPE": "CLUSTERING"},
        {"WORKER_API__OUTPUT_DIMENSIONALITY": "4"},
        {"WORKER_API__EXTRA": '{"a": 1}'},
        {"WORKER_INPUT__TEXT": "{text}"},
    ],
)
def test_a_job_with_other_parameters_is_not_taken_for_this_one(changed: dict[str, str]) -> None:
    async def test(house: House) -> None:
        replay(house, await timed_out(house))
        house.start(None, **changed)
        await house.until(lambda: house.lag() == 0, 200.0)
        assert house.api.posts == {"t": 2}

    in_house(test)


def test_the_wishes_of_the_event_itself_belong_to_the_parameters() -> None:
    async def test(house: House) -> None:
        house.api.latency = 100.0
        house.produce("t", key="plain")
        house.produce("t", key="small", output_dimensionality=2)
        house.produce("t", key="query", task_type="RETRIEVAL_QUERY")
        house.start(None, **DEADLINE)
        await house.until(lambda: len(house.broker.records(DEAD)) == 3, 120.0)
        jobs = {headers_of(letter)["dlq.job"] for letter in house.broker.records(DEAD)}
        assert len(jobs) == 3
        assert all(len(job) == 12 for job in jobs)

    in_house(test)


def test_a_job_that_is_too_old_is_paid_anew() -> None:
    async def test(house: House) -> None:
        letter = await timed_out(house)
        await house.clock.sleep(RESULT_LIFETIME - MARGIN)
        replay(house, letter)
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        assert house.api.posts == {"t": 2}
        assert not house.observer.of(Adopted)

    in_house(test)


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_id_that_the_api_does_not_know_holds_nobody_up_halts_nothing_and_uses_up_no_attempt(status: int) -> None:
    async def test(house: House) -> None:
        replay(house, await timed_out(house), request_id=b"forged")
        house.api.latency = 0.5
        asked = house.api.status

        async def refused(request_id: str) -> object:
            if request_id == "forged":
                raise Refused(status, "<html>no</html>", is_json=False)
            return await asked(request_id)

        house.api.status = refused  # type: ignore[method-assign, assignment]
        house.start()
        assert await house.until(lambda: house.lag() == 0, 200.0) < 15.0
        assert house.api.posts == {"t": 2}
        assert (house.vectors()["k"]["request_id"], house.vectors()["k"]["attempts"]) == ("job-1", 1)
        assert not house.observer.of(Halted)

    in_house(test, WORKER_API__ATTEMPTS="1")


def test_an_id_about_which_the_api_only_fails_is_doubted_for_a_minute() -> None:
    async def test(house: House) -> None:
        replay(house, await timed_out(house), request_id=b"forged")
        house.api.latency = 0.5
        asked = house.api.status

        async def failing(request_id: str) -> object:
            if request_id == "forged":
                raise Refused(500, "oops", is_json=True)
            return await asked(request_id)

        house.api.status = failing  # type: ignore[method-assign, assignment]
        house.start()
        assert 60.0 < await house.until(lambda: house.lag() == 0, 600.0) < 150.0
        assert house.api.posts == {"t": 2}

    in_house(test, WORKER_API__ATTEMPTS="1")


def test_a_job_that_is_older_than_its_header_says_is_submitted_anew_once_it_is_gone() -> None:
    async def test(house: House) -> None:
        replay(house, await timed_out(house))
        house.api.latency = 0.5
        job = house.api.jobs["job-0"]
        job.started, job.seconds = house.clock.monotonic() - 3595.0, 7200.0
        house.start()
        assert await house.until(lambda: house.lag() == 0, 200.0) < 60.0
        assert house.api.posts == {"t": 2}
        assert house.vectors()["k"]["attempts"] == 1

    in_house(test, WORKER_API__ATTEMPTS="1")


def test_an_unknown_id_says_nothing_about_the_result_endpoint() -> None:
    async def test(house: House) -> None:
        letter = await timed_out(house)
        for n in range(10):
            replay(house, letter, request_id=f"forged-{n}".encode())
        house.api.latency = 0.5
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        before = house.api.calls["status"]
        house.produce("new", key="new")
        await house.until(lambda: "new" in house.vectors(), 60.0)
        assert house.api.calls["status"] == before

    in_house(test)


def test_during_an_outage_an_adopted_job_is_waited_for_and_not_paid_anew() -> None:
    async def test(house: House) -> None:
        letter = await timed_out(house)
        house.start()
        await house.clock.sleep(10.0)
        down: list[ApiError] = [Refused(502, "bad gateway", is_json=False)]
        house.api.down = lambda: down[0]
        replay(house, letter)
        await house.clock.sleep(900.0)
        house.api.down = None
        await house.until(lambda: house.lag() == 0, 600.0)
        assert house.api.posts == {"t": 1}

    in_house(test)


def test_an_adopted_job_that_has_failed_is_submitted_anew_and_its_attempts_begin_anew() -> None:
    async def test(house: House) -> None:
        house.api.failures["t"] = deque(["overloaded"])
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        assert house.reasons() == {"INFERENCE_FAILED": 1}
        replay(house, house.broker.records(DEAD)[0])
        await house.until(lambda: house.lag() == 0, 60.0)
        assert house.api.posts == {"t": 2}
        assert house.vectors()["k"]["attempts"] == 1

    in_house(test, WORKER_API__ATTEMPTS="1")


@either_way
def test_after_a_crash_the_ledger_knows_the_adopted_job(delivery: Delivery) -> None:
    async def test(house: House) -> None:
        letter = await timed_out(house)
        replay(house, letter)
        first = house.start()
        await house.until(lambda: house.recorded() == {"job-0"}, 30.0)
        await house.kill(first)
        await house.clock.sleep(5.0)
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        assert len(house.observer.of(Adopted)) == 1
        assert house.api.posts == {"t": 1}
        assert copies(house, OUTPUT) == {b"k": 1}

    in_house(test, delivery=delivery)


def test_an_unknown_id_in_the_ledger_of_a_crashed_worker_does_not_hold_up_the_next_one() -> None:
    async def test(house: House) -> None:
        replay(house, await timed_out(house), request_id=b"forged")
        house.api.latency = 0.5
        house.api.down = lambda: Refused(502, "bad gateway", is_json=False)
        first = house.start()
        await house.until(lambda: house.recorded() == {"forged"}, 30.0)
        await house.kill(first)
        house.api.down = None
        house.start()
        assert await house.until(lambda: house.lag() == 0, 600.0) < 20.0
        assert house.api.posts == {"t": 2}

    in_house(test)


def test_an_adopted_job_that_never_ends_is_a_dead_letter_again_after_a_whole_deadline() -> None:
    async def test(house: House) -> None:
        letter = await timed_out(house)
        next(iter(house.api.jobs.values())).seconds = 3000.0
        replay(house, letter)
        house.start(None, **DEADLINE)
        await house.until(lambda: house.lag() == 0, 200.0)
        again = headers_of(house.broker.records(DEAD)[1])
        before = headers_of(letter)
        assert (again["dlq.reason"], again["dlq.replays"]) == ("TIMEOUT", "1")
        for name in ("dlq.request_id", "dlq.submitted_at", "dlq.text_sha256", "dlq.job"):
            assert again[name] == before[name]
        assert house.api.posts == {"t": 1}

    in_house(test)


def test_outcomes_of_one_key_stay_in_order_around_an_adopted_job() -> None:
    async def test(house: House) -> None:
        letter = await timed_out(house)
        replayed = replay(house, letter)
        house.api.latency = 0.5
        newer = house.produce("newer", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        assert house.api.posts == {"t": 1, "newer": 1}
        assert house.vectors()["k"]["offset"] == newer.offset
        assert replayed.offset < newer.offset
        assert len(house.broker.records(OUTPUT)) == 2

    in_house(test)


def test_an_adopted_job_is_superseded_by_a_newer_text_like_any_other() -> None:
    async def test(house: House) -> None:
        replay(house, await timed_out(house))
        house.api.latency = 0.5
        newer = house.produce("newer", key="k")
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        assert [record.offset for record in house.broker.records(OUTPUT)] == [0]
        assert house.vectors()["k"]["offset"] == newer.offset

    in_house(test, WORKER_GUARANTEES__SUPERSEDE="true")


def test_in_strict_mode_an_unknown_id_costs_one_submit_like_any_other() -> None:
    async def test(house: House) -> None:
        replay(house, await timed_out(house), request_id=b"forged")
        house.api.latency = 0.5
        house.start()
        await house.until(lambda: house.lag() == 0, 200.0)
        assert house.api.posts == {"t": 2}
        assert not house.observer.of(Halted)

    in_house(test, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")
