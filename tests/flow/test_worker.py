"""The whole worker on fakes: what comes in must come out once, in the right place, whatever happens."""

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable

import pytest

from tests.flow.harness import DEAD, INPUT, OUTPUT, House, headers_of, in_house
from worker.core.batching import LARGE_BYTES
from worker.errors import ApiError, ProtocolError, Refused, Unanswered
from worker.notices import Dropped, Halted


def test_events_become_vectors_and_all_offsets_are_committed() -> None:
    async def test(house: House) -> None:
        for n in range(300):
            house.produce(f"text {n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.ended == 300)
        await house.until(lambda: house.lag() == 0, 1.0)
        vectors = house.vectors()
        assert set(vectors) == {f"k{n}" for n in range(300)}
        assert vectors["k7"]["text_sha256"] == hashlib.sha256(b"text 7").hexdigest()
        assert house.api.bills == 300

    in_house(test)


def test_a_slow_job_holds_back_its_offset_but_not_its_neighbours() -> None:
    async def test(house: House) -> None:
        house.api.latency = 100.0
        house.produce("slow", key="slow")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.api.latency = 0.5
        for n in range(50):
            house.produce(f"{n}", key=f"k{n}")
        assert await house.until(lambda: house.ended == 50) < 20
        assert house.lag() == 51
        await house.until(lambda: house.ended == 51)
        await house.until(lambda: house.lag() == 0, 1.0)

    in_house(test, partitions=1)


@pytest.mark.parametrize(
    ("text", "fields", "reason"),
    [
        ("", {}, "INVALID_EVENT"),
        ("   ", {}, "INVALID_EVENT"),
        ("x" * 70_000, {}, "INVALID_EVENT"),
        ("x", {"task_type": "POETRY"}, "INVALID_EVENT"),
    ],
)
def test_what_is_no_event_is_a_dead_letter_and_costs_nothing(text: str, fields: dict[str, object], reason: str) -> None:
    async def test(house: House) -> None:
        house.produce(text, key="k", **fields)
        house.start()
        await house.until(lambda: house.ended == 1)
        assert house.reasons() == {reason: 1}
        assert not house.api.jobs

    in_house(test)


def test_a_dead_letter_is_the_input_untouched_with_the_failure_in_headers() -> None:
    async def test(house: House) -> None:
        value = b'{"text": "bad"}'
        house.api.failures["bad"] = deque(["Blocked by safety filters: prohibited content"])
        replayed = (("dlq.replays", b"2"), ("dlq.origin", b"texts:3:7"))
        headers = (("traceparent", b"00-abc-def-01"), ("dlq.reason", b"OLD"), *replayed, ("empty", None))
        record = house.broker.publish(INPUT, b"key", value, headers)
        house.start()
        await house.until(lambda: house.ended == 1)
        (letter,) = house.broker.records(DEAD)
        assert (letter.key, letter.value) == (b"key", value)
        assert letter.headers[:2] == (("traceparent", b"00-abc-def-01"), ("empty", None))
        said = headers_of(letter)
        assert said["dlq.reason"] == "CONTENT_BLOCKED"
        assert said["dlq.retryable"] == "false"
        assert said["dlq.request_id"] == "job-0"
        assert said["dlq.attempts"] == "1"
        assert (said["dlq.replays"], said["dlq.origin"]) == ("2", "texts:3:7")
        assert (said["dlq.topic"], said["dlq.partition"], said["dlq.offset"]) == (
            INPUT,
            str(record.source.partition),
            "0",
        )
        assert said["dlq.text_sha256"] == hashlib.sha256(b"bad").hexdigest()
        assert said["dlq.timestamp"].endswith("Z")
        assert [name for name, _ in letter.headers].count("dlq.reason") == 1

    in_house(test)


def test_a_vector_carries_the_inputs_headers_without_dlq() -> None:
    async def test(house: House) -> None:
        house.broker.publish(
            INPUT, None, b'{"text": "t", "id": "the-id"}', (("traceparent", b"00-x"), ("dlq.replays", b"1"))
        )
        house.start()
        await house.until(lambda: house.ended == 1)
        (vector,) = house.broker.records(OUTPUT)
        assert vector.headers == (("traceparent", b"00-x"),)
        assert vector.key == b"the-id"

    in_house(test)


def test_a_tombstone_is_passed_on_and_a_null_key_with_a_null_value_is_skipped() -> None:
    async def test(house: House) -> None:
        house.produce(None, key="gone")
        house.produce(None, key=None)
        house.start()
        await house.until(lambda: house.lag() == 0)
        assert [(record.key, record.value) for record in house.broker.records(OUTPUT)] == [(b"gone", None)]
        assert not house.broker.records(DEAD)

    in_house(test)


def test_a_flaky_job_is_submitted_again_and_a_failing_one_is_a_dead_letter_after_its_attempts() -> None:
    async def test(house: House) -> None:
        house.api.failures = {"flaky": deque(["internal error"]), "failing": deque(["internal error"] * 9)}
        house.produce("flaky", key="flaky")
        house.produce("failing", key="failing")
        house.start()
        await house.until(lambda: house.ended == 2)
        assert house.vectors()["flaky"]["attempts"] == 2
        assert house.reasons() == {"INFERENCE_FAILED": 1}
        assert house.api.posts == {"flaky": 2, "failing": 3}
        assert headers_of(house.broker.records(DEAD)[0])["dlq.attempts"] == "3"

    in_house(test)


def test_an_unusable_output_is_a_dead_letter_and_is_not_paid_again() -> None:
    async def test(house: House) -> None:
        house.api.output = lambda request: [0.1, "NaN"]
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: house.ended == 1)
        assert house.reasons() == {"INVALID_RESULT": 1}
        assert house.api.posts == {"t": 1}

    in_house(test)


def test_the_events_own_dimension_is_asked_for_and_checked() -> None:
    async def test(house: House) -> None:
        house.produce("t", key="own", output_dimensionality=7)
        house.produce("t", key="default")
        house.start()
        await house.until(lambda: house.ended == 2)
        lengths = {key: len(list(vector["vector"])) for key, vector in house.vectors().items()}  # type: ignore[call-overload]
        assert lengths == {"own": 7, "default": 5}

    in_house(test, WORKER_API__OUTPUT_DIMENSIONALITY="5")


def test_a_job_that_never_ends_is_a_dead_letter_timeout_and_is_not_paid_again() -> None:
    async def test(house: House) -> None:
        house.api.latency = 10_000.0
        house.produce("t", key="k")
        house.start()
        seconds = await house.until(lambda: house.ended == 1)
        assert 600 < seconds < 620
        assert house.reasons() == {"TIMEOUT": 1}
        assert headers_of(house.broker.records(DEAD)[0])["dlq.request_id"] == "job-0"
        assert house.api.posts == {"t": 1}

    in_house(test)


def test_a_result_that_expired_during_an_outage_is_paid_again_and_uses_up_no_attempt() -> None:
    async def test(house: House) -> None:
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.api.down = lambda: Unanswered("refused", sent=False)
        await house.clock.sleep(2 * 3600.0)
        assert house.ended == 0
        house.api.down = None
        await house.until(lambda: house.ended == 1, 600.0)
        assert house.api.posts == {"t": 2}
        assert house.vectors()["k"]["attempts"] == 1

    in_house(test)


@pytest.mark.parametrize(
    "trouble",
    [
        lambda: Unanswered("connection refused", sent=False),
        lambda: Refused(502, "bad gateway", is_json=False),
        lambda: Refused(401, "key expired", is_json=True),
        lambda: Refused(406, "Insufficient credits: need 0.000033", is_json=True),
        lambda: Refused(429, "too many requests", is_json=True),
        lambda: Refused(404, "not found", is_json=False),
    ],
)
def test_an_hour_of_the_accounts_or_the_vendors_trouble_dead_letters_nothing_and_heals_by_itself(
    trouble: Callable[[], ApiError],
) -> None:
    async def test(house: House) -> None:
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.ended > 0)
        house.api.down = trouble
        for n in range(100, 200):
            house.produce(f"{n}", key=f"k{n}")
        await house.clock.sleep(3000.0)
        assert house.ended <= 200
        house.api.down = None
        await house.until(lambda: len(house.vectors()) == 200, 700.0)
        assert not house.broker.records(DEAD)

    in_house(test)


def test_a_halted_worker_is_not_ready_and_says_why() -> None:
    async def test(house: House) -> None:
        house.api.refuse = lambda request: Refused(406, "Insufficient credits: need 0.000033", is_json=True)
        house.produce("t", key="k")
        worker = house.start()
        assert worker.not_ready() == ["starting: the worker has not joined its group yet"]
        await house.until(lambda: bool(house.observer.of(Halted)))
        (reason,) = worker.not_ready()
        assert "credits" in reason
        assert "top up" in reason
        house.api.refuse = lambda request: None
        await house.until(lambda: house.ended == 1, 60.0)
        assert worker.not_ready() == []

    in_house(test)


def test_a_worker_is_live_until_its_consumer_stalls() -> None:
    async def test(house: House) -> None:
        worker = house.start()
        await house.clock.sleep(1.0)
        assert worker.not_live() == []
        house.workers[0][1].stalled_seconds = 61.0
        assert "has not polled for 61 s" in worker.not_live()[0]

    in_house(test)


def test_an_api_that_is_down_at_start_halts_the_worker_until_it_is_up() -> None:
    async def test(house: House) -> None:
        house.api.down = lambda: Unanswered("refused", sent=False)
        house.produce("t", key="k")
        worker = house.start()
        await house.clock.sleep(100.0)
        assert "unreachable" in worker.not_ready()[0]
        assert house.api.calls["submit"] == 0
        house.api.down = None
        await house.until(lambda: house.ended == 1, 301.0)

    in_house(test)


def test_one_failed_call_at_the_start_halts_nothing() -> None:
    async def test(house: House) -> None:
        house.api.down = lambda: Refused(502, "bad gateway", is_json=False)
        house.produce("t", key="k")
        house.start()
        await house.clock.sleep(0.1)
        house.api.down = None
        await house.until(lambda: house.ended == 1, 30.0)
        assert house.observer.of(Halted) == []

    in_house(test)


def test_a_submit_whose_answer_was_lost_is_repeated_within_its_attempts() -> None:
    async def test(house: House) -> None:
        house.api.submit_troubles.extend([Unanswered("reset", sent=True), ProtocolError("no request_id", 200)])
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: house.ended == 1)
        assert house.vectors()["k"]["attempts"] == 3

    in_house(test)


def test_no_more_records_are_in_flight_than_the_limits_allow() -> None:
    async def test(house: House) -> None:
        for n in range(500):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.ended == 500)
        assert house.api.most_busy <= 20

    in_house(test, WORKER_LIMITS__IN_FLIGHT="20", WORKER_LIMITS__IN_FLIGHT_PER_PARTITION="9")


def test_the_offset_span_is_bounded_while_the_lowest_record_hangs() -> None:
    async def test(house: House) -> None:
        house.api.latency = 300.0
        house.produce("slow", key="slow")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.api.latency = 0.1
        for n in range(200):
            house.produce(f"{n}", key=f"k{n}")
        await house.clock.sleep(100.0)
        assert house.ended == 49
        await house.until(lambda: house.ended == 201)

    in_house(test, partitions=1, WORKER_LIMITS__OFFSET_SPAN="50")


def test_a_graceful_stop_leaves_running_jobs_to_the_next_worker_who_pays_nothing_twice() -> None:
    async def test(house: House) -> None:
        for n in range(400):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: len(house.api.jobs) > 100)
        await house.stop()
        assert house.ended < 400
        assert house.lag() > 0
        house.start()
        await house.until(lambda: len(house.vectors()) == 400)
        assert house.ended == 400
        assert house.api.bills == 400

    in_house(test)


def test_a_stop_is_bounded_even_if_jobs_hang() -> None:
    async def test(house: House) -> None:
        house.api.latency = 10_000.0
        for n in range(50):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 50)
        began = house.clock.monotonic()
        await house.stop()
        assert house.clock.monotonic() - began < 10.0
        assert house.ended == 0
        assert house.api.closed

    in_house(test, WORKER_LIMITS__DRAIN="5")


def test_a_second_worker_takes_its_share_and_only_records_in_flight_at_the_rebalance_may_appear_twice() -> None:
    async def test(house: House) -> None:
        for n in range(600):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.ended > 100)
        house.start()
        await house.until(lambda: len(house.vectors()) == 600)
        dropped = sum(notice.in_flight for notice in house.observer.of(Dropped))
        assert 600 <= house.ended <= 600 + dropped
        await house.until(lambda: house.lag() == 0, 5.0)

    in_house(test, partitions=6)


def test_lost_partitions_are_dropped_and_nothing_is_lost() -> None:
    async def test(house: House) -> None:
        for n in range(300):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        house.start()
        await house.until(lambda: house.ended > 50)
        await house.broker.expel(house.workers[0][1])
        await house.until(lambda: len(house.vectors()) == 300)
        await house.until(lambda: house.lag() == 0, 5.0)
        assert any(notice.lost for notice in house.observer.of(Dropped))

    in_house(test, partitions=4)


def test_a_killed_workers_records_are_taken_up_by_the_others() -> None:
    async def test(house: House) -> None:
        for n in range(300):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        house.start()
        await house.until(lambda: house.ended > 50)
        await house.broker.kill(house.workers[0][1])
        await house.until(lambda: len(house.vectors()) == 300)
        await house.until(lambda: house.lag() == 0, 5.0)

    in_house(test, partitions=4)


def test_commits_that_fail_are_built_again_and_nothing_is_lost() -> None:
    async def test(house: House) -> None:
        house.broker.faults.abort_publish = 5
        house.broker.faults.abort_commit = 5
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: len(house.vectors()) == 100)
        await house.until(lambda: house.lag() == 0, 60.0)

    in_house(test)


def test_a_value_that_the_dead_letter_topic_refuses_goes_without_it_and_points_to_its_source() -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[DEAD] = 1_000_000
        large = house.broker.publish(INPUT, b"large", b'"' + b"x" * 5_000_000)
        for n in range(20):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.ended == 21)
        await house.clock.sleep(10.0)
        (letter,) = house.broker.records(DEAD)
        assert letter.value is None
        assert letter.key == b"large"
        said = headers_of(letter)
        assert said["dlq.reason"] == "INVALID_EVENT"
        assert (said["dlq.partition"], said["dlq.offset"]) == (str(large.source.partition), str(large.offset))
        assert Counter(record.key for record in house.broker.records(OUTPUT)).most_common(1)[0][1] == 1
        assert len(large.value or b"") > LARGE_BYTES

    in_house(test)


def test_a_vector_that_the_output_topic_refuses_is_a_dead_letter() -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[OUTPUT] = 10
        house.produce("t", key="k")
        house.start()
        await house.until(lambda: house.ended == 1)
        assert house.reasons() == {"INVALID_RESULT": 1}

    in_house(test)


def test_a_bug_ends_the_worker_with_its_error_and_commits_nothing_past_it() -> None:
    async def test(house: House) -> None:
        def bug(request: object) -> object:
            raise ZeroDivisionError("a bug")

        house.api.output = bug
        house.produce("t", key="k")
        house.start()
        with pytest.raises(ZeroDivisionError):
            await house.workers[0][3]
        house.workers.clear()
        assert house.lag() == 1

    in_house(test)


def test_polls_share_the_pace_with_submits() -> None:
    async def test(house: House) -> None:
        for n in range(100):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        seconds = await house.until(lambda: house.ended == 100)
        calls = house.api.calls.total()
        assert calls <= 120 * (seconds / 60) + 5
        assert calls < 350

    in_house(test, WORKER_PACE__REQUESTS_PER_MINUTE="120")


def test_two_workers_share_the_accounts_limit_by_their_partitions() -> None:
    async def test(house: House) -> None:
        house.start()
        house.start()
        await house.clock.sleep(10.0)
        for n in range(200):
            house.produce(f"{n}", key=f"k{n}")
        before, began = house.api.calls.total(), house.clock.monotonic()
        await house.until(lambda: house.ended == 200)
        minutes = (house.clock.monotonic() - began) / 60
        assert house.api.calls.total() - before <= 300 * minutes + 20

    in_house(test, partitions=4, WORKER_PACE__REQUESTS_PER_MINUTE="300")


def test_until_end_finishes_what_was_there_and_ends_without_being_told() -> None:
    async def test(house: House) -> None:
        for n in range(50):
            house.produce(f"{n}", key=f"k{n}")
        ends = {where: house.broker.log(where).end for where in house.broker.partitions([INPUT])}
        house.start(ends)
        await asyncio.wait_for(house.workers[0][3], 60.0)
        assert len(house.vectors()) == 50
        assert house.lag() == 0

    in_house(test)


def test_where_the_result_endpoint_tells_of_running_jobs_the_status_call_is_left_out() -> None:
    async def test(house: House) -> None:
        for n in range(300):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: len(house.api.jobs) > 10)
        house.api.latency = 3.0  # now jobs are met running, and it is learned that the endpoint tells
        await house.until(lambda: house.ended == 300)
        asked = house.api.calls["status"]
        for n in range(300):
            house.produce(f"{n}", key=f"again{n}")
        await house.until(lambda: house.ended == 600)
        assert house.api.calls["status"] == asked
        assert house.api.calls["result"] > 600

    in_house(test)


@pytest.mark.parametrize("status", [400, 404, 500])
def test_where_the_result_endpoint_refuses_running_jobs_it_is_asked_for_done_ones_only(status: int) -> None:
    async def test(house: House) -> None:
        house.api.result_of_running = status
        for n in range(300):
            house.produce(f"{n}", key=f"k{n}")
        house.start()
        await house.until(lambda: house.ended == 300)
        assert not house.broker.records(DEAD)
        assert not house.observer.of(Halted)
        assert 300 <= house.api.calls["result"] <= 320

    in_house(test)
