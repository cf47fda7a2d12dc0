import pytest

from worker.core.acceptance import may_be_accepted
from worker.errors import ProtocolError, Refused, Unanswered


@pytest.mark.parametrize(
    "error",
    [
        Unanswered("reset", sent=True),
        Refused(500, "<html>", is_json=False),
        Refused(502, "bad gateway", is_json=False),
        Refused(502, "bad gateway", is_json=True),
        Refused(504, "time-out", is_json=False),
        Refused(520, "unknown", is_json=False),
        Refused(524, "a time-out behind the proxy", is_json=False),
        Refused(599, "?", is_json=False),
        ProtocolError("no request_id", 200),
    ],
)
def test_what_says_nothing_about_the_request_may_have_started_a_job(
    error: Unanswered | Refused | ProtocolError,
) -> None:
    assert may_be_accepted(error)


@pytest.mark.parametrize(
    "error",
    [
        Unanswered("connection refused", sent=False),
        Refused(301, "moved", is_json=False),
        Refused(400, "bad", is_json=True),
        Refused(401, "key", is_json=True),
        Refused(404, "model", is_json=True),
        Refused(406, "credits", is_json=True),
        Refused(408, "time-out", is_json=False),
        Refused(422, "failed", is_json=True),
        Refused(429, "slow down", is_json=True),
        Refused(499, "gone", is_json=False),
        Refused(500, "the API's own words", is_json=True),
        Refused(503, "unavailable", is_json=False),
        Refused(521, "the origin is down", is_json=False),
        Refused(530, "the origin is out of reach", is_json=False),
    ],
)
def test_a_refusal_or_a_connection_that_was_never_made_has_started_none(error: Unanswered | Refused) -> None:
    assert not may_be_accepted(error)
