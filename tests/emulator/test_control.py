"""Statistics and live changes."""

import orjson
import pytest

from tests.emulator.caller import Caller, body_of
from worker.emulator.answers import Reply
from worker.emulator.config import EmulatorConfig, InvalidConfigError, reconfigured


def patch(caller: Caller, changes: object) -> Reply:
    return caller.call("PATCH", "/_emulator/config", orjson.dumps(changes))


def test_statistics_count_requests_by_route_and_status() -> None:
    caller = Caller()
    request_id = caller.submit("x")
    caller.status(request_id)
    caller.status("unknown")
    caller.clock.now += 1.0
    caller.result(request_id)
    stats = body_of(caller.get("/_emulator/stats"))
    assert stats["requests_by_route"] == {"submit": {"200": 1}, "status": {"200": 1, "404": 1}, "result": {"200": 1}}
    assert stats["requests"] == 4
    assert stats["jobs"] == {"QUEUED": 0, "PROCESSING": 0, "COMPLETED": 1, "FAILED": 0, "expired": 0, "kept": 1}
    assert stats["uptime_seconds"] == 1.0


def test_a_change_takes_effect_at_once_and_is_shown() -> None:
    caller = Caller()
    reply = patch(caller, {"requests_per_minute": 1, "latency": "constant:5", "models": ["a"]})
    assert (reply.status, body_of(reply)["latency"]) == (200, "constant:5")
    assert body_of(caller.get("/_emulator/config"))["models"] == ["a"]
    assert [caller.get("/v1/get-user-credits").status for _ in range(2)] == [200, 429]


def test_a_new_price_is_not_asked_of_jobs_that_were_completed_before() -> None:
    caller = Caller(price=1.0)
    caller.submit("x")
    caller.clock.now += 1.0
    patch(caller, {"price": 2.0})
    assert caller.stats()["billed_total"] == 1.0


def test_an_unrelated_change_does_not_open_a_full_window() -> None:
    caller = Caller(requests_per_minute=1)
    caller.get("/v1/get-user-credits")
    patch(caller, {"error_rate": 0.0})
    assert caller.get("/v1/get-user-credits").status == 429


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"eror_rate": 0.1}, "eror_rate"),
        ({"error_rate": 1.5}, "error_rate"),
        ({"error_rate": None}, "error_rate"),
        ({"latency": "soon"}, "latency"),
        ({"latency": "lognormal:mean=nan,sigma=1"}, "latency"),
        ({"latency": "constant:-1"}, "latency"),
        ({"output_shape": "star"}, "output_shape"),
        ({"running_result": 302}, "running_result"),
        ({"requests_per_minute": -1}, "requests_per_minute"),
        ({"credits": "much"}, "credits"),
        ({"error_statuses": []}, "error_statuses"),
        ({"": 1}, "unknown"),
        ({"self": 1}, "unknown field 'self'"),
        ([1], "object"),
    ],
)
def test_a_wrong_change_is_refused_by_name_and_changes_nothing(changes: object, named: str) -> None:
    caller = Caller()
    before = caller.emulator.config
    reply = patch(caller, changes)
    assert reply.status == 400
    assert named in body_of(reply)["error"]
    assert "\n" not in body_of(reply)["error"]
    assert caller.emulator.config == before


def test_a_wrong_value_is_told_without_words_of_the_checking_library() -> None:
    told = body_of(patch(Caller(), {"latency": "soon"}))["error"]
    assert told.startswith("latency: not understood; write lognormal:mean=")
    assert told.endswith("(got 'soon')")


def test_a_body_that_is_not_json_is_refused() -> None:
    assert Caller().call("PATCH", "/_emulator/config", b"{").status == 400


def test_keys_are_never_shown() -> None:
    caller = Caller()
    reply = patch(caller, {"api_keys": ["SG_secret"]})
    assert body_of(reply)["api_keys"] == 1
    assert b"SG_secret" not in reply.body
    with pytest.raises(InvalidConfigError) as caught:
        reconfigured(EmulatorConfig(), {"api_keys": "SG_secret"})
    assert "SG_secret" not in str(caught.value)


def test_a_reset_forgets_jobs_bills_and_counts_but_keeps_the_configuration() -> None:
    caller = Caller(price=1.0)
    request_id = caller.submit("x")
    caller.clock.now += 1.0
    assert caller.call("POST", "/_emulator/reset").status == 200
    stats = caller.stats()
    assert (stats["requests"], stats["bills"], stats["credits"], stats["jobs"]["kept"]) == (0, 0, 1000.0, 0)
    assert caller.status(request_id).status == 404
    assert caller.emulator.config.price == 1.0
