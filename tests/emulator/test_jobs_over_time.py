"""A job from acceptance to expiry, and what it costs."""

import hashlib
import math

import pytest

from tests.emulator.caller import Caller, body_of
from worker.emulator.jobs import Job, JobTable


def test_a_submit_answers_with_urls_on_the_host_the_client_named() -> None:
    caller = Caller()
    body = body_of(caller.post({"input": "hello"}))
    request_id = body["request_id"]
    assert body == {
        "request_id": request_id,
        "status": "QUEUED",
        "poll_url": f"http://api.test:1/v1/requests/{request_id}",
        "status_url": f"http://api.test:1/v2/requests/{request_id}/status",
        "response_url": f"http://api.test:1/v2/requests/{request_id}",
    }


def test_a_job_is_queued_then_processing_then_completed() -> None:
    caller = Caller()
    request_id = caller.submit("hello")
    seen = []
    for step in (0.0, 0.5, 0.5):
        caller.clock.now += step
        seen.append(body_of(caller.status(request_id))["status"])
    assert seen == ["QUEUED", "PROCESSING", "COMPLETED"]


def test_the_status_call_carries_metrics_but_no_output() -> None:
    caller = Caller()
    request_id = caller.submit("hello")
    caller.clock.now += 2.0
    body = body_of(caller.status(request_id))
    assert body.keys() == {"status", "request_id", "metrics"}
    assert body["metrics"] == {
        "inference_time": 0.9,
        "queue_time": 0.1,
        "total_time": 1.0,
        "cost": 0.000033,
        "remaining_credits": pytest.approx(999.999967),
    }


def test_the_result_is_the_same_at_every_fetch() -> None:
    caller = Caller()
    request_id = caller.submit("hello")
    caller.clock.now += 1.0
    first = caller.result(request_id)
    caller.clock.now += 50.0
    assert caller.result(request_id) == first
    assert len(body_of(first)["output"]) == 3072


def test_the_requested_dimension_is_given_back() -> None:
    assert len(body_of(Caller().outcome("hello", output_dimensionality=768))["output"]) == 768


def test_a_failed_job_is_a_422_on_both_calls_and_a_200_on_the_older_one() -> None:
    caller = Caller()
    request_id = caller.submit("[[fail]] hello")
    caller.clock.now += 1.0
    status, result = caller.status(request_id), caller.result(request_id)
    assert (status.status, result.status) == (422, 422)
    assert status.body == result.body
    assert body_of(status)["status"] == "FAILED"
    assert "cost" not in body_of(status)["metrics"]
    assert caller.get(f"/v1/requests/{request_id}").status == 200


@pytest.mark.parametrize("answer", [200, 400, 404, 500])
def test_the_result_call_answers_for_a_running_job_as_configured(answer: int) -> None:
    caller = Caller(running_result=answer)
    request_id = caller.submit("hello")
    reply = caller.result(request_id)
    assert reply.status == answer
    if answer == 200:
        assert body_of(reply)["status"] == "QUEUED"
    else:
        assert "error" in body_of(reply)
    caller.clock.now += 1.0
    assert body_of(caller.result(request_id))["status"] == "COMPLETED"


def test_an_expired_job_answers_like_an_unknown_one() -> None:
    caller = Caller(retention_seconds=3600.0)
    request_id = caller.submit("hello")
    caller.clock.now += 3599.9
    assert caller.result(request_id).status == 200
    caller.clock.now += 0.1
    for path in (f"/v2/requests/{request_id}", f"/v2/requests/{request_id}/status", f"/v1/requests/{request_id}"):
        reply = caller.get(path)
        assert (reply.status, body_of(reply)) == (404, {"error": f"Request {request_id} not found"})
    assert caller.result("no-such-id").status == 404


def test_a_completed_job_is_billed_once_even_if_never_fetched() -> None:
    caller = Caller()
    request_id = caller.submit("hello")
    assert caller.stats()["bills"] == 0
    caller.clock.now += 1.0
    assert caller.stats()["bills"] == 1
    caller.result(request_id)
    caller.result(request_id)
    stats = caller.stats()
    assert (stats["bills"], stats["billed_total"], stats["credits"]) == (1, 0.000033, 999.999967)


def test_failed_jobs_are_not_billed() -> None:
    caller = Caller()
    for text in ("[[fail]]", "[[block]]", "[[flaky]]"):
        caller.submit(text)
    caller.clock.now += 10.0
    stats = caller.stats()
    assert (stats["bills"], stats["jobs"]["FAILED"], stats["in_flight"]) == (0, 3, 0)


def test_the_same_text_twice_is_a_double_bill_but_other_parameters_are_not() -> None:
    caller = Caller()
    for fields in ({}, {}, {"output_dimensionality": 768}, {"task_type": "CLUSTERING"}):
        caller.submit("hello", **fields)
    caller.clock.now += 1.0
    stats = caller.stats()
    assert (stats["bills"], stats["billed_texts"], stats["double_billed"]) == (4, 3, 1)
    assert caller.emulator.bills() == {hashlib.sha256(b"hello").hexdigest(): 4}


def test_free_credits_are_spent_first_and_the_credits_call_shows_both() -> None:
    caller = Caller(credits=1.0, free_credits=0.5, price=0.4)
    for text in ("a", "b"):
        caller.submit(text)
    caller.clock.now += 1.0
    assert body_of(caller.get("/v1/get-user-credits")) == {"credits": 0.7, "free-credits": 0.0}


def test_an_empty_account_refuses_until_credits_are_added() -> None:
    caller = Caller(credits=0.5, price=1.0)
    reply = caller.post({"input": "hello"})
    assert reply.status == 406
    assert body_of(reply)["error"].startswith("Insufficient credits")
    caller.emulator.reconfigure(credits=5.0)
    assert caller.post({"input": "hello"}).status == 200


def test_two_runs_with_one_seed_take_the_same_times() -> None:
    def finishing_times(seed: int) -> list[float]:
        caller = Caller(latency="lognormal:mean=0.7,sigma=0.5", seed=seed)
        ids = [caller.submit(f"text {n}") for n in range(20)]
        caller.clock.now += 100.0
        return [body_of(caller.status(request_id))["metrics"]["total_time"] for request_id in ids]

    assert finishing_times(1) == finishing_times(1) != finishing_times(2)


def test_the_default_law_has_the_published_mean() -> None:
    caller = Caller(latency="lognormal:mean=0.7,sigma=0.5", retention_seconds=1e6)
    ids = [caller.submit("x") for _ in range(4000)]
    caller.clock.now += 1000.0
    times = [body_of(caller.status(request_id))["metrics"]["total_time"] for request_id in ids]
    assert sum(times) / len(times) == pytest.approx(0.7, abs=0.03)


def test_finished_jobs_are_freed_after_their_retention() -> None:
    table = JobTable()
    for n in range(20_000):
        now = n * 0.1
        table.add(Job(f"id {n}", "text", 8, "", now, now, math.inf if n % 10 == 0 else now + 0.5, None, "flat"))
        table.advance(now, 60.0)
        assert len(table) <= 601
    table.advance(1e9, 60.0)
    assert (len(table), table.in_flight, table.expired, table.finished) == (0, 0, 20_000, 18_000)


def test_a_job_that_ends_after_it_expired_is_still_billed() -> None:
    caller = Caller(retention_seconds=5.0)
    caller.submit("[[slow:10]]")
    caller.clock.now += 6.0
    assert (caller.stats()["jobs"]["kept"], caller.stats()["bills"]) == (0, 0)
    caller.clock.now += 4.0
    assert caller.stats()["bills"] == 1
