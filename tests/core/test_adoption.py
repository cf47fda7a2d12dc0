"""Headers that name a job are believed as far as they can be checked, and no further."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.adoption import MARGIN, adoptable, is_adopted, request_fingerprint, sha256
from worker.core.verdicts import RESULT_LIFETIME
from worker.model import EmbedRequest, Headers, Job

NOW = 1_800_000_000.0
JOB = b"worker"
REQUEST = EmbedRequest("a text", "RETRIEVAL_QUERY", 768)
ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def time(seconds: float) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def headers(**changed: bytes | None) -> Headers:
    good: dict[str, bytes | None] = {
        "request_id": ID.encode(),
        "submitted_at": time(NOW - 100.0),
        "text_sha256": sha256("a text").encode(),
        "job": request_fingerprint(JOB, REQUEST).encode(),
    }
    return (("own", b"1"), *((f"dlq.{name}", value) for name, value in {**good, **changed}.items()))


def test_a_young_job_for_the_same_text_and_the_same_parameters_is_taken_over() -> None:
    assert adoptable(headers(), REQUEST, JOB, NOW) == Job(ID, NOW - 100.0, 1)


@pytest.mark.parametrize(
    "submitted_at",
    [
        time(NOW - RESULT_LIFETIME + MARGIN),
        time(NOW),
        b"2027-01-15T08:59:59.5+01:00",
        b"2027-01-15T03:29:00.123456789-04:30",
    ],
)
def test_its_time_may_be_written_in_any_form_of_rfc_3339(submitted_at: bytes) -> None:
    assert adoptable(headers(submitted_at=submitted_at), REQUEST, JOB, NOW) is not None


@pytest.mark.parametrize(
    "submitted_at",
    [
        time(NOW + 0.01),
        time(NOW - RESULT_LIFETIME + MARGIN - 0.01),
        time(NOW - timedelta(days=365).total_seconds()),
        b"2027-01-15T07:59:59",
        b"2027-01-15",
        b"20270115T075959Z",
        b"2027-W02-5T07:59:59Z",
        b"2027-13-15T07:59:59Z",
        b"2027-01-15T07:59:60Z",
        b"2027-01-15T07:59:59+24:00",
        b"0001-01-01T00:00:00+23:59",
        b"1800000000",
        b"epoch 1800000000 s",
        "２０２７-01-15T07:59:59Z".encode(),
        b"",
        None,
        b"2" * 10_000_000,
    ],
)
def test_a_time_that_is_none_or_too_old_or_yet_to_come_is_not_believed(submitted_at: bytes | None) -> None:
    assert adoptable(headers(submitted_at=submitted_at), REQUEST, JOB, NOW) is None


@pytest.mark.parametrize("request_id", [b"", b"..", b"a/b", b"a b", b"x" * 129, b"\xff", "ü".encode(), None])
def test_an_id_that_the_api_cannot_have_given_is_not_believed(request_id: bytes | None) -> None:
    assert adoptable(headers(request_id=request_id), REQUEST, JOB, NOW) is None


def test_another_text_is_not_believed() -> None:
    for text_sha256 in (sha256("another").encode(), sha256("a text").upper().encode(), b"", None):
        assert adoptable(headers(text_sha256=text_sha256), REQUEST, JOB, NOW) is None


def test_other_parameters_are_not_believed() -> None:
    for other in (
        EmbedRequest("a text", "RETRIEVAL_DOCUMENT", 768),
        EmbedRequest("a text", None, 768),
        EmbedRequest("a text", "RETRIEVAL_QUERY", 3072),
        EmbedRequest("a text", "RETRIEVAL_QUERY", None),
    ):
        assert adoptable(headers(), other, JOB, NOW) is None
    assert adoptable(headers(), REQUEST, b"another worker", NOW) is None
    assert adoptable(headers(job=None), REQUEST, JOB, NOW) is None


def test_no_value_is_the_same_as_a_value_that_is_spelt_like_it() -> None:
    spelt = {request_fingerprint(JOB, EmbedRequest("t", task, 1)) for task in (None, "None", "'None'", "")}
    assert len(spelt) == 4


@pytest.mark.parametrize("name", ["dlq.request_id", "dlq.submitted_at", "dlq.text_sha256", "dlq.job"])
def test_a_header_that_is_missing_or_there_twice_counts_as_none(name: str) -> None:
    whole = headers()
    assert adoptable(tuple(header for header in whole if header[0] != name), REQUEST, JOB, NOW) is None
    assert adoptable((*whole, *(header for header in whole if header[0] == name)), REQUEST, JOB, NOW) is None


def test_a_job_is_known_as_adopted_for_as_long_as_the_record_names_it() -> None:
    assert is_adopted(headers(), ID)
    assert not is_adopted(headers(), "another")
    assert not is_adopted(headers(request_id=None), ID)
    assert not is_adopted((), ID)
    assert not is_adopted((*headers(), *headers()), ID)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["dlq.request_id", "dlq.submitted_at", "dlq.text_sha256", "dlq.job", "dlq.", "own"]),
            st.none() | st.binary(max_size=80) | st.text(max_size=40).map(str.encode),
        ),
        max_size=8,
    ),
    st.floats(0, 1e11),
)
def test_whatever_headers_say_is_either_a_job_of_this_text_or_none(
    found: list[tuple[str, bytes | None]], now: float
) -> None:
    job = adoptable(tuple(found), REQUEST, JOB, now)
    assert job is None or dict(found)["dlq.text_sha256"] == sha256("a text").encode()
