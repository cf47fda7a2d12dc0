"""Keys, models, bodies, limits: every refusal of the contract."""

import math
import time
from datetime import UTC, datetime

import pytest

from tests.emulator.caller import MODEL, Caller, body_of


def test_a_missing_key_is_refused_with_the_envelope_of_the_authentication_surface() -> None:
    reply = Caller().post({"input": "x"}, x_api_key="")
    assert reply.status == 401
    assert body_of(reply) == {
        "error": "missing_credentials",
        "error_description": "Missing Authorization or x-api-key in header",
        "status_code": 401,
    }


def test_only_configured_keys_are_accepted_and_a_bearer_token_never() -> None:
    caller = Caller(api_keys=("SG_good",))
    assert caller.post({"input": "x"}, x_api_key="SG_good").status == 200
    assert caller.post({"input": "x"}, x_api_key="SG_bad").status == 401
    assert caller.post({"input": "x"}, x_api_key="", authorization="Bearer SG_good").status == 401
    assert caller.get("/v1/get-user-credits").status == 401


def test_models_are_unknown_forbidden_or_retired() -> None:
    caller = Caller(forbidden_models=("dear",), retired_models=("old",))
    answers = [caller.post({"input": "x"}, model=model).status for model in ("none", "dear", "old", MODEL)]
    assert answers == [404, 403, 410, 200]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v2/{MODEL}"),
        ("POST", "/v2/requests/1/status"),
        ("DELETE", "/v2/requests/1"),
        ("PUT", "/v1/requests/1"),
        ("POST", "/v1/get-user-credits"),
        ("POST", "/_emulator/stats"),
    ],
)
def test_a_wrong_verb_is_answered_with_a_page(method: str, path: str) -> None:
    reply = Caller().call(method, path)
    assert (reply.status, reply.content_type) == (405, "text/html")
    assert reply.body.startswith(b"<html>")


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/", "/v3/x", "/v2/a/b", "", "*", "/_emulator/nothing"])
def test_an_unknown_path_is_a_404(path: str) -> None:
    assert Caller().get(path).status == 404


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "application/jsonx"])
def test_a_wrong_content_type_is_a_406(content_type: str) -> None:
    reply = Caller().post({"input": "x"}, content_type=content_type)
    assert (reply.status, body_of(reply)) == (406, {"error": "Invalid content type"})


def test_a_content_type_with_a_charset_is_accepted() -> None:
    assert Caller().post({"input": "x"}, content_type="Application/JSON; charset=utf-8").status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"{}", b'{"text":"x"}', b"\xff", b"[" * 5000])
def test_a_malformed_body_is_a_400(body: bytes) -> None:
    assert Caller().call("POST", f"/v2/{MODEL}", body).status == 400


BAD_PARAMETERS = [
    {"input": 5},
    {"input": None},
    {"input": " "},
    {"input": "x" * 8193},
    {"input": "x", "output_dimensionality": 0},
    {"input": "x", "output_dimensionality": 3073},
    {"input": "x", "output_dimensionality": "768"},
    {"input": "x", "output_dimensionality": True},
    {"input": "x", "task_type": "POETRY"},
    {"input": "x", "task_type": ["CLUSTERING"]},
]


@pytest.mark.parametrize("fields", BAD_PARAMETERS)
def test_bad_parameters_are_accepted_and_fail_later(fields: dict[str, object]) -> None:
    caller = Caller()
    request_id = body_of(caller.post(fields))["request_id"]
    caller.clock.now += 1.0
    assert "Invalid value" in body_of(caller.result(request_id))["error"]
    assert caller.stats()["bills"] == 0


@pytest.mark.parametrize("fields", BAD_PARAMETERS)
def test_bad_parameters_are_refused_at_once_where_configured(fields: dict[str, object]) -> None:
    reply = Caller(validation="synchronous", validation_status=406).post(fields)
    assert reply.status == 406
    assert "Invalid value" in body_of(reply)["error"]


def test_a_fixed_window_refuses_until_it_closes() -> None:
    caller = Caller(requests_per_minute=3)
    assert [caller.get("/v1/get-user-credits").status for _ in range(5)] == [200, 200, 200, 429, 429]
    caller.clock.now += 59.9
    assert caller.post({"input": "x"}).status == 429
    caller.clock.now += 0.1
    assert caller.post({"input": "x"}).status == 200
    assert caller.stats()["rate_limited"] == 3


def test_a_token_bucket_lets_one_through_exactly_when_it_said() -> None:
    caller = Caller(requests_per_minute=6, rate_limit="token_bucket", rate_limit_header="epoch_milliseconds")
    epoch = caller.emulator._epoch
    for _ in range(6):
        assert caller.post({"input": "x"}).status == 200
    for _ in range(20):
        refused = caller.post({"input": "x"})
        assert refused.status == 429
        caller.clock.now = int(dict(refused.headers)["x-rate-limit-reset-at-utc"]) / 1000.0 - epoch
        assert caller.post({"input": "x"}).status == 200


def test_gets_are_free_where_configured() -> None:
    caller = Caller(requests_per_minute=1, rate_limit_counts_gets=False)
    assert [caller.get("/v1/get-user-credits").status for _ in range(3)] == [200, 200, 200]
    assert [caller.post({"input": "x"}).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("style", ["epoch_seconds", "epoch_milliseconds", "iso"])
def test_the_reset_time_is_utc_in_the_chosen_format(style: str) -> None:
    caller = Caller(requests_per_minute=1, rate_limit_header=style, clock_skew_seconds=500.0)
    caller.get("/v1/get-user-credits")
    value = dict(caller.get("/v1/get-user-credits").headers)["x-rate-limit-reset-at-utc"]
    if style == "iso":
        seconds = datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    else:
        seconds = int(value) / (1000.0 if style == "epoch_milliseconds" else 1.0)
    assert math.isclose(seconds, time.time() + 560.0, abs_tol=5.0)


def test_the_reset_header_can_be_left_out() -> None:
    caller = Caller(requests_per_minute=1, rate_limit_header="none")
    caller.get("/v1/get-user-credits")
    assert caller.get("/v1/get-user-credits").headers == ()
