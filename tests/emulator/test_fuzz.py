"""Whatever is posted: a refusal or a job, never a 5xx that was not asked for, never an exception."""

import json

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulator.caller import MODEL, Caller, body_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MARKED = st.lists(
    st.sampled_from(["[[block]]", "[[flaky:2]]", "[[slow:0]]", "[[shape:data]]", "[[badvector:", "]]", "[[hang", "a"])
).map("".join)
FIELDS = st.fixed_dictionaries(
    {}, optional={"input": VALUES | MARKED, "output_dimensionality": VALUES, "task_type": VALUES, "x": VALUES}
)


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=200) | FIELDS.map(lambda fields: json.dumps(fields).encode()))
def test_any_body_is_refused_or_becomes_a_job_that_ends(body: bytes) -> None:
    caller = Caller()
    reply = caller.call("POST", f"/v2/{MODEL}", body)
    assert reply.status in (200, 400)
    if reply.status == 200:
        request_id = body_of(reply)["request_id"]
        caller.clock.now += 1.0
        assert caller.result(request_id).status in (200, 422)
        assert caller.status(request_id).status in (200, 422)
        caller.clock.now += 3600.0
        assert caller.stats()["in_flight"] == 0


@settings(max_examples=100, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PATCH", "HEAD", "\udcff"]),
    path=st.text(max_size=20).map(lambda tail: "/" + tail)
    | st.builds("{}{}{}".format, st.sampled_from(["/v2/", "/v2/requests/", "/_emulator/"]), st.text(), st.text())
    | st.just("/v2/requests/\udcff/status"),
    headers=st.dictionaries(st.sampled_from(["x_api_key", "content_type", "host"]), st.text() | st.just("\udcff")),
    body=st.binary(max_size=20),
)
def test_any_call_has_a_reply_below_500(method: str, path: str, headers: dict[str, str], body: bytes) -> None:
    reply = Caller(api_keys=("SG_test",)).call(method, path, body, **headers)
    assert 200 <= reply.status < 500
    if reply.content_type == "application/json":
        orjson.loads(reply.body)


def test_a_host_that_is_no_text_does_no_harm() -> None:
    assert Caller().post({"input": "x"}, host="\udcff").status == 200
