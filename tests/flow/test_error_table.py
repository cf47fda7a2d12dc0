"""The contract's error table, row by row, and every reason of a dead letter, at the whole worker: what was published, what
halted, what was counted."""

from collections import deque
from collections.abc import Callable

import pytest

from tests.flow.harness import DEAD, INPUT, House, headers_of, in_house
from worker.core.halting import LONGEST_PROBE
from worker.errors import ApiError, ProtocolError, Refused, Unanswered
from worker.model import Reason
from worker.notices import Halted, Healed, Retried, Throttled

GOOD = 20


def json_error(status: int, message: str) -> Refused:
    return Refused(status, message, is_json=True)


def html_error(status: int) -> Refused:
    return Refused(status, "<html>error</html>", is_json=False)


def among_good_ones(house: House) -> None:
    """Good events before and behind the odd one."""
    for n in range(GOOD // 2):
        house.produce(f"good {n}", key=f"before {n}")
    house.produce("odd", key="odd")
    for n in range(GOOD // 2):
        house.produce(f"good {n}", key=f"behind {n}")


async def good_ones_go_on(house: House, until: Callable[[], bool], seconds: float) -> None:
    """Keep a trickle of good events until something is true: a quiet topic shows less."""
    ends = house.clock.monotonic() + seconds
    while not until():
        assert house.clock.monotonic() < ends, house.workers[0].worker.not_ready()
        house.produce("trickle", key="trickle")
        await house.clock.sleep(5.0)


ABOUT_ONE_EVENT = [
    (json_error(400, "malformed body"), Reason.INVALID_REQUEST, "false", 1),
    (json_error(406, "Invalid value for task_type"), Reason.INVALID_REQUEST, "false", 1),
    (json_error(422, "input is missing"), Reason.INVALID_REQUEST, "false", 1),
    (html_error(413), Reason.INVALID_REQUEST, "false", 1),
    (json_error(409, "conflict"), Reason.API_ERROR, "true", 1),
    (json_error(500, "internal error"), Reason.API_ERROR, "true", 3),
    (html_error(524), Reason.API_ERROR, "true", 3),
    (Unanswered("connection reset", sent=True), Reason.API_ERROR, "true", 3),
    (ProtocolError("a success without request_id", 200), Reason.API_ERROR, "true", 3),
]


@pytest.mark.parametrize(("error", "reason", "retryable", "attempts"), ABOUT_ONE_EVENT, ids=str)
def test_a_submit_that_only_one_event_is_refused_ends_that_event(
    error: ApiError, reason: Reason, retryable: str, attempts: int
) -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: error if request.text == "odd" else None
        among_good_ones(house)
        worker = house.start()
        await good_ones_go_on(house, lambda: bool(house.broker.records(DEAD)), 200.0)
        (letter,) = house.broker.records(DEAD)
        said = headers_of(letter)
        assert (letter.key, letter.value) == (b"odd", b'{"text": "odd"}')
        assert (said["dlq.reason"], said["dlq.retryable"]) == (reason, retryable)
        assert said["dlq.attempts"] == str(attempts)
        status = getattr(error, "status", None)
        assert said.get("dlq.http_status") == (str(status) if status else None)
        assert "dlq.request_id" not in said
        assert str(error) in said["dlq.detail"]
        assert sum(notice.counted for notice in house.observer.of(Retried)) == attempts - 1
        assert not house.observer.of(Halted)
        assert worker.not_ready() == []
        await house.until(lambda: house.lag() == 0)
        assert len(house.vectors()) == GOOD + 1  # the trickle has one key

    in_house(test)


FAILED_JOBS = [
    ("Blocked by safety filters: PROHIBITED_CONTENT", Reason.CONTENT_BLOCKED, "false", 1),
    ("Invalid argument: input exceeds 2048 tokens", Reason.INVALID_REQUEST, "false", 1),
    ("inference failed: out of memory", Reason.INFERENCE_FAILED, "true", 3),
]


@pytest.mark.parametrize(("text", "reason", "retryable", "attempts"), FAILED_JOBS)
def test_a_422_of_a_job_ends_its_event_by_what_the_text_says_and_is_not_billed(
    text: str, reason: Reason, retryable: str, attempts: int
) -> None:
    async def test(house: House) -> None:
        house.api.failures["odd"] = deque([text] * 9)
        among_good_ones(house)
        worker = house.start()
        await good_ones_go_on(house, lambda: bool(house.broker.records(DEAD)), 100.0)
        (letter,) = house.broker.records(DEAD)
        said = headers_of(letter)
        assert (said["dlq.reason"], said["dlq.retryable"]) == (reason, retryable)
        assert (said["dlq.attempts"], said["dlq.http_status"]) == (str(attempts), "422")
        assert said["dlq.request_id"] in house.api.jobs
        assert house.api.posts["odd"] == attempts
        await house.until(lambda: house.lag() == 0)
        assert house.api.bills == len(house.api.jobs) - attempts
        assert not house.observer.of(Halted)
        assert worker.not_ready() == []

    in_house(test)


HALTS_OF_ALL_CALLS = [
    (json_error(401, "API key is invalid"), "api_key", "renew the file of SEGMIND_API_KEY_FILE"),
    (json_error(402, "Payment required"), "credits", "top up"),
    (json_error(406, "Insufficient credits"), "credits", "top up"),
    (json_error(406, "team spend limit reached"), "spend_limit", "raise it"),
    (json_error(406, "Invalid content type"), "content_type", "look for a proxy that changes headers"),
    (json_error(406, "not acceptable"), "not_acceptable", "look at the account's state at Segmind"),
    (json_error(403, "this account may not call the model"), "forbidden", "ask Segmind for access to api.model"),
    (html_error(404), "url", "set api.base_url"),
    (html_error(405), "url", "set api.base_url"),
    (html_error(301), "url", "set api.base_url"),
    (html_error(407), "proxy", "correct api.proxy"),
    (json_error(410, "this model is retired"), "retired", "set api.model to another one"),
    (json_error(415, "unsupported media type"), "content_type", "look for a proxy that changes headers"),
]
HALTS_OF_SUBMITS = [*HALTS_OF_ALL_CALLS, (json_error(404, "no such model"), "model", "correct api.model")]


async def halts_and_heals(
    house: House, begin: Callable[[], None], end: Callable[[], None], cause: str, fix: str
) -> None:
    for n in range(GOOD):
        house.produce(f"before {n}", key=f"before {n}")
    worker = house.start()
    await house.until(lambda: house.ended == GOOD)
    house.api.latency = 5.0
    for n in range(GOOD):
        house.produce(f"running {n}", key=f"running {n}")
    await house.until(lambda: len(house.api.jobs) == 2 * GOOD)
    begin()
    for n in range(GOOD):
        house.produce(f"late {n}", key=f"late {n}")
    await house.clock.sleep(1000.0)
    (reason,) = worker.not_ready()
    assert f": {cause}: " in reason
    assert fix in reason
    (halted,) = house.observer.of(Halted)
    assert halted.reason.startswith(f"{cause}: ")
    assert not house.broker.records(DEAD)
    end()
    seconds = await house.until(lambda: house.ended == 3 * GOOD)
    assert seconds < LONGEST_PROBE + 10.0
    assert worker.not_ready() == []
    assert len(house.observer.of(Healed)) == 1
    assert not house.broker.records(DEAD)
    assert {vector["attempts"] for vector in house.vectors().values()} == {1}
    assert house.api.posts.total() == 3 * GOOD


@pytest.mark.parametrize(("error", "cause", "fix"), HALTS_OF_SUBMITS, ids=str)
def test_what_is_wrong_with_the_account_or_the_configuration_halts_and_costs_no_event(
    error: ApiError, cause: str, fix: str
) -> None:
    async def test(house: House) -> None:
        def begin() -> None:
            house.api.refuse = lambda request: error

        def end() -> None:
            house.api.refuse = lambda request: None

        await halts_and_heals(house, begin, end, cause, fix)

    in_house(test)


@pytest.mark.parametrize(("error", "cause", "fix"), HALTS_OF_ALL_CALLS, ids=str)
def test_the_same_met_by_all_calls_stops_the_polls_too(error: ApiError, cause: str, fix: str) -> None:
    async def test(house: House) -> None:
        def begin() -> None:
            house.api.down = lambda: error

        def end() -> None:
            house.api.down = None

        await halts_and_heals(house, begin, end, cause, fix)

    in_house(test)


def test_while_submits_are_halted_running_jobs_are_polled_to_their_end() -> None:
    async def test(house: House) -> None:
        house.api.latency = 30.0
        for n in range(GOOD):
            house.produce(f"running {n}", key=f"running {n}")
        worker = house.start()
        await house.until(lambda: len(house.api.jobs) == GOOD)
        house.api.refuse = lambda request: json_error(402, "Payment required")
        house.produce("late", key="late")
        await house.until(lambda: house.ended == GOOD, 60.0)
        assert "credits" in worker.not_ready()[0]

    in_house(test)


def test_a_429_is_pace_and_neither_an_attempt_nor_a_halt() -> None:
    async def test(house: House) -> None:
        for limited in ("submit_troubles", "poll_troubles"):
            getattr(house.api, limited).extend([json_error(429, "slow down"), html_error(429)])
        among_good_ones(house)
        worker = house.start()
        await house.until(lambda: house.ended == GOOD + 1)
        assert len(house.observer.of(Throttled)) >= 2
        assert not house.observer.of(Halted)
        assert not house.observer.of(Retried)
        assert {vector["attempts"] for vector in house.vectors().values()} == {1}
        assert worker.not_ready() == []

    in_house(test)


@pytest.mark.parametrize("error", [html_error(502), html_error(503), html_error(504), json_error(500, "oops")], ids=str)
def test_a_few_5xx_among_successes_cost_a_pause(error: Refused) -> None:
    async def test(house: House) -> None:
        worker = house.start()
        house.produce("first", key="first")
        await house.until(lambda: house.ended == 1)
        house.api.submit_troubles.append(error)
        house.api.poll_troubles.append(error)
        among_good_ones(house)
        await house.until(lambda: house.ended == GOOD + 2)
        attempts = {vector["attempts"] for vector in house.vectors().values()}
        assert attempts == {1}
        assert len(house.observer.of(Retried)) == (
            1 if error.status == 500 else 2
        )  # a result that is refused is no failure
        assert house.api.posts.total() == GOOD + 2
        assert not house.observer.of(Halted)
        assert worker.not_ready() == []

    in_house(test)


def test_a_404_of_a_young_job_is_asked_again_and_of_one_that_is_an_hour_old_is_expired() -> None:
    async def test(house: House) -> None:
        house.api.poll_troubles.append(json_error(404, "Request job-0 not found"))
        house.produce("young", key="young")
        house.start()
        await house.until(lambda: house.ended == 1)
        assert house.api.posts == {"young": 1}

    in_house(test)


def test_a_result_that_is_gone_after_an_hour_is_expired_where_the_event_had_its_time() -> None:
    async def test(house: House) -> None:
        house.api.latency = 10_000.0
        house.produce("slow", key="k")
        worker = house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        await house.clock.sleep(3_560.0)
        house.api.down = lambda: Unanswered("connection refused", sent=False)  # uses up none of its time
        await house.clock.sleep(12.0)
        house.api.down = None
        await house.until(lambda: house.ended == 1, 60.0)
        said = headers_of(house.broker.records(DEAD)[0])
        assert (said["dlq.reason"], said["dlq.retryable"], said["dlq.attempts"]) == ("EXPIRED", "true", "1")
        assert said["dlq.http_status"] == "404"
        assert worker.not_ready() == []

    in_house(test, WORKER_API__DEADLINE="3600", WORKER_API__ATTEMPTS="1")


def test_a_job_that_is_never_done_is_a_timeout() -> None:
    async def test(house: House) -> None:
        house.api.latency = 10_000.0
        house.produce("hangs", key="k")
        worker = house.start()
        await house.until(lambda: house.ended == 1)
        said = headers_of(house.broker.records(DEAD)[0])
        assert (said["dlq.reason"], said["dlq.retryable"], said["dlq.attempts"]) == ("TIMEOUT", "true", "1")
        assert house.api.posts == {"hangs": 1}
        assert worker.not_ready() == []

    in_house(test)


def test_bytes_that_are_no_event_are_an_invalid_event_and_cost_no_call() -> None:
    async def test(house: House) -> None:
        house.broker.publish(INPUT, b"k", b"\xff\xfe not an event")
        house.start()
        await house.until(lambda: house.ended == 1)
        said = headers_of(house.broker.records(DEAD)[0])
        assert (said["dlq.reason"], said["dlq.retryable"], said["dlq.attempts"]) == ("INVALID_EVENT", "false", "0")
        assert house.api.calls["submit"] == 0

    in_house(test)


def test_an_output_without_a_vector_is_an_invalid_result_and_is_not_paid_again() -> None:
    async def test(house: House) -> None:
        house.api.output = lambda request: [] if request.text == "odd" else [0.5]
        among_good_ones(house)
        worker = house.start()
        await house.until(lambda: house.ended == GOOD + 1)
        said = headers_of(house.broker.records(DEAD)[0])
        assert (said["dlq.reason"], said["dlq.retryable"], said["dlq.attempts"]) == ("INVALID_RESULT", "false", "1")
        assert said["dlq.request_id"] in house.api.jobs
        assert house.api.posts["odd"] == 1
        assert worker.not_ready() == []

    in_house(test)


def test_several_unusable_outputs_among_good_ones_are_not_paid_again() -> None:
    async def test(house: House) -> None:
        house.api.output = lambda request: [] if request.text.startswith("odd") else [0.5]
        for n in range(60):
            house.produce(f"odd {n}" if n % 4 == 0 else f"good {n}", key=f"{n}")
        worker = house.start()
        await house.until(lambda: house.ended == 60, 10.0)
        assert house.reasons() == {"INVALID_RESULT": 15}
        assert set(house.api.posts.values()) == {1}
        assert worker.not_ready() == []

    in_house(test)


def test_a_submit_of_unknown_fate_is_one_where_the_setting_says_so() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Unanswered("reset", sent=True) if request.text == "odd" else None
        among_good_ones(house)
        worker = house.start()
        await house.until(lambda: house.ended == GOOD + 1)
        said = headers_of(house.broker.records(DEAD)[0])
        assert (said["dlq.reason"], said["dlq.retryable"], said["dlq.attempts"]) == ("UNKNOWN_SUBMIT", "true", "1")
        assert house.api.calls["submit"] == GOOD + 1
        assert worker.not_ready() == []

    in_house(test, WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT="dead_letter")
