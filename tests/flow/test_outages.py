"""What happens to the whole worker while the API, the account or the configuration is at fault for long: nothing is dead-lettered
for it, nothing is lost, and it goes on by itself within the longest interval between two probes."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import pytest

from tests.fakes.virtual_time import EPOCH
from tests.flow.harness import DEAD, House, headers_of, in_house
from worker.core.api_key import ApiKey
from worker.core.breaker import FRESH, LONELY
from worker.core.halting import LONGEST_PROBE
from worker.errors import ApiError, JobFailed, Refused, Unanswered
from worker.model import EmbedRequest, Metrics
from worker.notices import Halted, Healed, Throttled
from worker.settings import Delivery

HOUR = 3600.0
WEEKEND = 62 * HOUR

SLACK = 75.0
"""Seconds from the end of a halt until the last event that pauses after a failure has been tried again, and a job's time."""


def refused_connection() -> ApiError:
    return Unanswered("connection refused", sent=False)


def bad_gateway() -> ApiError:
    return Refused(502, "<html>bad gateway</html>", is_json=False)


def internal_error() -> ApiError:
    return Refused(500, "internal error", is_json=True)


def no_answer_in_time() -> ApiError:
    return Unanswered("no complete answer within 30 s", sent=True)


def everything(house: House, trouble: Callable[[], ApiError] | None) -> None:
    house.api.down = trouble


def submits_only(house: House, trouble: Callable[[], ApiError] | None) -> None:
    house.api.refuse = lambda request: trouble() if trouble else None


def polls_only(house: House, trouble: Callable[[], ApiError] | None) -> None:
    house.api.polls_down = trouble


def answers_after_acceptance(house: House, trouble: Callable[[], ApiError] | None) -> None:
    house.api.lost = trouble


OUTAGES = [
    (everything, refused_connection),
    (everything, bad_gateway),
    (everything, internal_error),
    (everything, no_answer_in_time),
    (submits_only, refused_connection),
    (submits_only, bad_gateway),
    (submits_only, internal_error),
    (submits_only, no_answer_in_time),
    (polls_only, bad_gateway),
    (polls_only, internal_error),
    (polls_only, no_answer_in_time),
    (answers_after_acceptance, no_answer_in_time),
]


def texts(house: House, names: Iterator[int], many: int) -> None:
    for n in (next(names) for _ in range(many)):
        house.produce(f"text {n}", key=f"k{n}")


def calls_of(house: House) -> int:
    return house.api.calls["submit"] + house.api.calls["status"] + house.api.calls["result"]


@pytest.mark.parametrize("in_work", [2, 5, 200])
@pytest.mark.parametrize(("begin", "trouble"), OUTAGES)
def test_an_hours_outage_costs_no_event_and_the_worker_goes_on_by_itself(
    begin: Callable[[House, Callable[[], ApiError] | None], None], trouble: Callable[[], ApiError], in_work: int
) -> None:
    async def test(house: House) -> None:
        names = count()
        texts(house, names, 20)
        worker = house.start()
        await house.until(lambda: house.ended == 20)
        began = len(house.api.jobs)
        begin(house, trouble)
        texts(house, names, in_work)
        await house.clock.sleep(HOUR / 2)
        (reason,) = worker.not_ready()
        assert "outage" in reason
        assert str(trouble()) in reason
        assert "intake resumes by itself" in reason
        calls = calls_of(house)
        await house.clock.sleep(HOUR / 2)
        assert calls_of(house) - calls <= 20, "the probes of half an hour, no crowd"
        assert not house.broker.records(DEAD)
        paid = len(house.api.jobs) - began
        begin(house, None)
        seconds = await house.until(lambda: house.ended == 20 + in_work, LONGEST_PROBE + 2 * SLACK)
        assert seconds <= LONGEST_PROBE + 2 * SLACK
        assert not house.broker.records(DEAD)
        assert worker.not_ready() == []
        assert len(house.vectors()) == 20 + in_work
        assert {vector["attempts"] for vector in house.vectors().values()} <= {1, 2}
        if begin is not answers_after_acceptance and begin is not polls_only:
            assert paid == 0
        assert len(house.observer.of(Healed)) >= 1

    in_house(test)


@pytest.mark.parametrize(("begin", "trouble"), OUTAGES)
def test_an_outage_at_five_requests_a_minute_costs_no_event(
    begin: Callable[[House, Callable[[], ApiError] | None], None], trouble: Callable[[], ApiError]
) -> None:
    async def test(house: House) -> None:
        names = count()
        texts(house, names, 3)
        worker = house.start()
        await house.until(lambda: house.ended == 3)
        begin(house, trouble)
        texts(house, names, 4)
        await house.clock.sleep(HOUR)
        assert any("outage" in reason for reason in worker.not_ready())
        begin(house, None)
        await house.until(lambda: house.ended == 7, LONGEST_PROBE + 10 * 60.0)
        assert not house.broker.records(DEAD)
        assert worker.not_ready() == []

    in_house(test, WORKER_PACE__REQUESTS_PER_MINUTE="5")


@pytest.mark.parametrize("trouble", [refused_connection, bad_gateway, internal_error, no_answer_in_time])
def test_an_outage_with_a_single_record_in_work_costs_no_event(trouble: Callable[[], ApiError]) -> None:
    async def test(house: House) -> None:
        house.produce("first", key="first")
        worker = house.start()
        await house.until(lambda: house.ended == 1)
        house.api.down = trouble
        house.produce("only", key="only")
        await house.clock.sleep(HOUR)
        (reason,) = worker.not_ready()
        assert "outage" in reason
        house.api.down = None
        await house.until(lambda: house.ended == 2, LONGEST_PROBE + SLACK)
        assert not house.broker.records(DEAD)
        await house.until(lambda: worker.not_ready() == [], 1.0)

    in_house(test)


def test_polls_that_time_out_use_up_nothing_of_a_jobs_time() -> None:
    async def test(house: House) -> None:
        house.api.latency = 200.0
        house.produce("only", key="only")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        slow = [True]
        calls = {name: getattr(house.api, name) for name in ("status", "result", "credits")}

        async def after_half_a_minute(name: str, *arguments: str) -> object:
            if slow[0]:
                await house.clock.sleep(30.0)
                raise no_answer_in_time()
            return await calls[name](*arguments)

        for name in calls:
            setattr(house.api, name, partial(after_half_a_minute, name))
        await house.clock.sleep(190.0)
        slow[0] = False
        await house.until(lambda: house.ended == 1, LONGEST_PROBE + SLACK)
        assert not house.broker.records(DEAD)

    in_house(test, WORKER_API__DEADLINE="60")


def test_an_outage_of_the_inference_only_costs_no_event_with_one_record_in_work_at_a_time() -> None:
    async def test(house: House) -> None:
        names = count()
        house.start()
        submits_only(house, internal_error)
        texts(house, names, 5)
        await house.clock.sleep(HOUR)
        assert not house.broker.records(DEAD)
        submits_only(house, None)
        await house.until(lambda: house.ended == 5, LONGEST_PROBE + SLACK)
        assert not house.broker.records(DEAD)

    in_house(test, WORKER_LIMITS__IN_FLIGHT="1")


def test_an_event_that_breaks_the_api_ends_among_others_and_alone() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: internal_error() if request.text == "bad" else None
        names = count()
        worker = house.start()
        for _ in range(3):
            house.produce("bad", key="bad")
            texts(house, names, 10)
        while len(house.broker.records(DEAD)) < 3:
            await house.clock.sleep(10.0)
            texts(house, names, 1)
            assert house.clock.monotonic() < 300.0
        assert house.reasons() == {"API_ERROR": 3}
        await house.clock.sleep(FRESH)
        assert worker.not_ready() == []
        ended = house.ended
        house.produce("bad", key="alone")
        lasted = await house.until(lambda: house.ended == ended + 1, LONELY + 300.0)
        assert lasted > LONELY
        (last,) = [record for record in house.broker.records(DEAD) if record.key == b"alone"]
        assert headers_of(last)["dlq.attempts"] == "3"
        assert headers_of(last)["dlq.retryable"] == "true"
        assert worker.not_ready() == []

    in_house(test)


def test_events_that_come_one_by_one_in_an_outage_of_submits_only_are_not_blamed() -> None:
    async def test(house: House) -> None:
        names = count()
        worker = house.start()
        texts(house, names, 1)
        await house.until(lambda: house.ended == 1)
        house.api.refuse = lambda request: internal_error()  # the credits call answers
        for _ in range(5):
            texts(house, names, 1)
            await house.clock.sleep(700.0)  # longer than one failure speaks for another event
        assert not house.broker.records(DEAD)
        house.api.refuse = lambda request: None
        await house.until(lambda: house.ended == 6, LONGEST_PROBE + SLACK)
        assert not house.broker.records(DEAD)
        assert worker.not_ready() == []

    in_house(test)


def test_a_lone_submit_whose_answer_is_lost_again_and_again_is_not_repeated_for_an_hour() -> None:
    async def test(house: House) -> None:
        house.start()
        house.api.lost = lambda: Unanswered("reset", sent=True)
        house.produce("text", key="k")
        await house.until(lambda: house.ended == 1, 60.0)
        assert house.reasons() == {"API_ERROR": 1}
        assert house.api.posts["text"] == 3

    in_house(test)


def test_events_that_break_the_api_do_not_shut_out_the_good_ones_behind_them() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: internal_error() if request.text == "bad" else None
        for n in range(6):
            house.produce("bad", key=f"bad {n}")
        texts(house, count(), 20)
        worker = house.start()
        await house.until(lambda: house.ended == 26, 2 * HOUR)
        assert house.reasons() == {"API_ERROR": 6}
        assert worker.not_ready() == []

    in_house(test, partitions=1, WORKER_LIMITS__IN_FLIGHT="2")


def test_where_the_setting_says_so_an_outage_ends_events_as_dead_letters_and_halts_nothing() -> None:
    async def test(house: House) -> None:
        names = count()
        worker = house.start()
        texts(house, names, 10)
        await house.until(lambda: house.ended == 10)
        house.api.latency = 20.0
        texts(house, names, 10)
        await house.until(lambda: len(house.api.jobs) == 20)
        house.api.down = bad_gateway
        texts(house, names, 10)
        await house.until(lambda: house.ended == 30, 1000.0)
        assert house.reasons() == {"API_ERROR": 10, "TIMEOUT": 10}
        assert {headers_of(record)["dlq.retryable"] for record in house.broker.records(DEAD)} == {"true"}
        attempts = {
            headers_of(r)["dlq.attempts"]
            for r in house.broker.records(DEAD)
            if b"API_ERROR" in dict(r.headers).values()
        }
        assert attempts == {"3"}
        assert not house.observer.of(Halted)
        assert worker.not_ready() == []

    in_house(test, WORKER_GUARANTEES__ON_OUTAGE="dead_letter")


def test_where_outages_are_counted_a_worker_starts_without_a_halt_beside_an_api_that_is_down() -> None:
    async def test(house: House) -> None:
        house.api.down = refused_connection
        house.produce("text", key="k")
        worker = house.start()
        await house.until(lambda: house.ended == 1, 60.0)
        assert house.reasons() == {"API_ERROR": 1}
        assert worker.not_ready() == []

    in_house(test, WORKER_GUARANTEES__ON_OUTAGE="dead_letter")


def test_an_account_that_is_empty_over_a_weekend_costs_no_event_and_no_call_but_the_free_one() -> None:
    async def test(house: House) -> None:
        house.api.balance = 50.5 * house.api.price
        texts(house, count(), 100)
        worker = house.start()
        await house.until(lambda: bool(house.observer.of(Halted)))
        await house.clock.sleep(1.0)
        assert house.ended == 50, "running jobs have been polled to their end"
        await house.clock.sleep(60.0)
        submits = house.api.calls["submit"]
        await house.clock.sleep(WEEKEND)
        (reason,) = worker.not_ready()
        assert "credits: balance 0.000016, a call needs 0.000033 (HTTP 406: Insufficient credits" in reason
        assert reason.endswith("top up; intake resumes by itself")
        assert "since 2027-01-15T08:00" in reason
        assert house.api.calls["submit"] - submits <= WEEKEND / LONGEST_PROBE * 1.5, "one event a probe, never a crowd"
        house.api.balance = 0.0
        await house.clock.sleep(LONGEST_PROBE)
        submits = house.api.calls["submit"]
        await house.clock.sleep(WEEKEND)
        assert house.api.calls["submit"] == submits, "with a balance of 0 no event is tried"
        assert "credits: balance 0.00, a call needs 0.000033" in worker.not_ready()[0]
        house.api.balance = 10.0
        seconds = await house.until(lambda: house.ended == 100)
        assert seconds <= LONGEST_PROBE + SLACK
        assert not house.broker.records(DEAD)
        assert worker.not_ready() == []
        assert house.api.posts.total() == 100
        assert len(house.observer.of(Halted)) == len(house.observer.of(Healed)) == 1

    in_house(test)


def test_an_empty_account_at_the_start_says_that_the_price_is_not_known_yet() -> None:
    async def test(house: House) -> None:
        house.api.balance = 0.0
        house.produce("text", key="k")
        worker = house.start()
        await house.clock.sleep(HOUR)
        (reason,) = worker.not_ready()
        assert "credits: balance 0.00, what a call needs is not known yet" in reason

    in_house(test)


def test_a_storm_of_429s_costs_no_event_no_attempt_and_halts_nothing() -> None:
    async def test(house: House) -> None:
        texts(house, count(), 100)
        worker = house.start()
        await house.until(lambda: house.ended >= 20)
        storm = count()
        house.api.down = lambda: Refused(
            429, "slow down", is_json=True, reset_at=house.clock.epoch() + 30.0 if next(storm) % 2 else None
        )
        await house.clock.sleep(HOUR / 2)  # longer, and results would expire
        assert not house.broker.records(DEAD)
        assert not house.observer.of(Halted)
        assert worker.not_ready() == []
        throttled = house.observer.of(Throttled)
        assert throttled
        assert calls_of(house) <= 600
        house.api.down = None
        await house.until(lambda: house.ended == 100, HOUR)
        assert {vector["attempts"] for vector in house.vectors().values()} == {1}
        assert house.api.posts.total() == 100

    in_house(test)


def test_an_expired_key_costs_no_event_and_a_rotated_key_file_heals_it_without_a_restart() -> None:
    async def test(house: House) -> None:
        mounted, valid = ["SG_0000000000000001"], ["SG_0000000000000001"]
        key = ApiKey(lambda: mounted[0])

        def checked() -> ApiError | None:
            present = key.present()
            if present == valid[0]:
                return None
            key.refuse(present)
            return Refused(401, "API key is invalid or expired", is_json=True)

        house.api.down = checked
        texts(house, count(), 50)
        worker = house.start()
        await house.until(lambda: house.ended >= 10)
        valid[0] = "SG_0000000000000002"
        texts(house, count(50), 50)
        await house.clock.sleep(10 * HOUR)
        (reason,) = worker.not_ready()
        assert "api_key: the API refuses the key (HTTP 401: API key is invalid or expired)" in reason
        assert (
            "renew the file of SEGMIND_API_KEY_FILE (intake resumes by itself), or set SEGMIND_API_KEY and restart"
            in reason
        )
        assert "SG_" not in reason
        calls = calls_of(house)
        await house.clock.sleep(10 * HOUR)
        assert calls_of(house) == calls, "while the free call is refused no event is tried"
        mounted[0] = "SG_0000000000000002"
        seconds = await house.until(lambda: house.ended == 100)
        assert seconds <= LONGEST_PROBE + SLACK
        assert not house.broker.records(DEAD)
        assert worker.not_ready() == []
        assert {vector["attempts"] for vector in house.vectors().values()} == {1}

    in_house(test)


def bad_dimension(request: EmbedRequest) -> ApiError | None:
    wrong = request.output_dimensionality == 7
    return Refused(400, "output_dimensionality must be one of 768, 1536, 3072", is_json=True) if wrong else None


@pytest.mark.parametrize("events", [2, 15, 200])
def test_a_wrong_dimensionality_that_submits_are_refused_for_costs_no_event(events: int) -> None:
    async def test(house: House) -> None:
        house.api.refuse = bad_dimension
        texts(house, count(), events)
        worker = house.start(WORKER_API__OUTPUT_DIMENSIONALITY="7")
        await house.clock.sleep(24 * HOUR)
        (reason,) = worker.not_ready()
        assert "refusals: the API refuses different events alike" in reason
        assert "output_dimensionality must be one of 768" in reason
        assert "api.output_dimensionality" in reason.partition(": correct ")[2]
        assert house.api.calls["submit"] <= events + 24 * HOUR / LONGEST_PROBE * 1.5
        assert not house.broker.records(DEAD)
        await house.stop()
        house.start(WORKER_API__OUTPUT_DIMENSIONALITY="768")
        await house.until(lambda: house.ended == events, 60.0)
        assert not house.broker.records(DEAD)
        assert house.api.posts.total() == events

    in_house(test)


@pytest.mark.parametrize("events", [2, 15, 200])
def test_a_wrong_dimensionality_that_jobs_fail_for_costs_no_event_and_no_money(events: int) -> None:
    async def test(house: House) -> None:
        wrong = "invalid argument: output_dimensionality must be one of 768, 1536, 3072"
        status, result = house.api.status, house.api.result

        async def failing(call: Callable[[str], object], request_id: str) -> object:
            answer = await call(request_id)  # type: ignore[misc]
            if house.api.jobs[request_id].request.output_dimensionality == 7 and house.api._done(
                house.api.jobs[request_id]
            ):
                raise JobFailed(wrong, Metrics())
            return answer

        house.api.status = lambda request_id: failing(status, request_id)  # type: ignore[method-assign,assignment,return-value]
        house.api.result = lambda request_id: failing(result, request_id)  # type: ignore[method-assign,assignment,return-value]
        texts(house, count(), events)
        worker = house.start(WORKER_API__OUTPUT_DIMENSIONALITY="7")
        await house.clock.sleep(24 * HOUR)
        (reason,) = worker.not_ready()
        assert "failed_jobs: the jobs of different events fail alike" in reason
        assert not house.broker.records(DEAD)
        await house.stop()
        house.start(WORKER_API__OUTPUT_DIMENSIONALITY="768")
        await house.until(lambda: house.ended == events, 60.0)
        assert not house.broker.records(DEAD)

    in_house(test)


@pytest.mark.parametrize("events", [2, 15, 400])
def test_a_wrong_dimensionality_that_results_have_costs_no_event_and_little_money(events: int) -> None:
    async def test(house: House) -> None:
        house.api.output = lambda request: [0.5] * (3072 if request.output_dimensionality == 7 else 768)
        texts(house, count(), events)
        worker = house.start(WORKER_API__OUTPUT_DIMENSIONALITY="7")
        await house.clock.sleep(HOUR)
        paid = len(house.api.jobs)
        assert paid <= min(events, 256) + 20
        await house.clock.sleep(23 * HOUR)
        (reason,) = worker.not_ready()
        assert "results: the results of different events are unusable alike, and paid" in reason
        assert "api.output_dimensionality" in reason.partition(": correct ")[2]
        assert len(house.api.jobs) <= paid + 24 * HOUR / LONGEST_PROBE * 1.5
        assert not house.broker.records(DEAD)
        await house.stop()
        house.start(WORKER_API__OUTPUT_DIMENSIONALITY="768")
        await house.until(lambda: house.ended == events, 120.0)
        assert not house.broker.records(DEAD)

    in_house(test)


def test_results_that_are_unusable_for_a_day_heal_by_themselves_and_cost_no_event() -> None:
    async def test(house: House) -> None:
        names = count()
        texts(house, names, 50)
        worker = house.start()
        await house.until(lambda: house.ended == 50)
        house.api.output = lambda request: {"vector": "elsewhere"}
        texts(house, names, 100)
        await house.clock.sleep(24 * HOUR)
        assert "results" in worker.not_ready()[0]
        house.api.output = None
        seconds = await house.until(lambda: house.ended == 150)
        assert seconds <= LONGEST_PROBE + SLACK
        assert not house.broker.records(DEAD)
        assert worker.not_ready() == []

    in_house(test)


def test_a_vendor_that_refuses_everything_for_a_day_costs_no_event_and_heals_by_itself() -> None:
    async def test(house: House) -> None:
        names = count()
        texts(house, names, 50)
        worker = house.start()
        await house.until(lambda: house.ended == 50)
        house.api.refuse = lambda request: Refused(400, "model does not take this parameter", is_json=True)
        texts(house, names, 100)
        await house.clock.sleep(24 * HOUR)
        assert "refusals" in worker.not_ready()[0]
        house.api.refuse = lambda request: None
        seconds = await house.until(lambda: house.ended == 150)
        assert seconds <= LONGEST_PROBE + SLACK
        assert not house.broker.records(DEAD)

    in_house(test)


def test_the_first_event_of_all_ends_though_it_is_refused_and_nothing_else_comes() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Refused(400, "the text holds no word", is_json=True)
        house.produce("bad", key="k")
        worker = house.start()
        await house.until(lambda: house.ended == 1, 61.0)
        assert house.reasons() == {"INVALID_REQUEST": 1}
        assert worker.not_ready() == []

    in_house(test)


@pytest.mark.parametrize(("overall", "per_partition"), [("1", "120"), ("256", "1")])
def test_bad_events_at_the_head_of_a_topic_end_though_one_record_is_in_work_at_a_time(
    overall: str, per_partition: str
) -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: (
            Refused(400, "the text is too long", is_json=True) if request.text == "bad" else None
        )
        for n in range(5):
            house.produce("bad", key=f"bad {n}")
        texts(house, count(), 5)
        worker = house.start()
        await house.until(lambda: house.ended == 10, 60.0)
        assert house.reasons() == {"INVALID_REQUEST": 5}
        assert worker.not_ready() == []

    limits = {"WORKER_LIMITS__IN_FLIGHT": overall, "WORKER_LIMITS__IN_FLIGHT_PER_PARTITION": per_partition}
    in_house(test, 1, Delivery.EXACTLY_ONCE, **limits)


def test_readiness_says_since_when() -> None:
    async def test(house: House) -> None:
        await house.clock.sleep(100.0)
        house.api.down = refused_connection
        worker = house.start()
        await house.clock.sleep(50.0)
        (reason,) = worker.not_ready()
        assert reason.startswith("halted since 2027-01-15T08:01:40.730Z (49 s): unreachable: the API does not answer")
        assert house.clock.epoch() == EPOCH + 150.0

    in_house(test)
