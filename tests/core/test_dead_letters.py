"""Dead letters are read without trust: what is none is told apart, what is absurd counts as not said, nothing is raised."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.letters import DEAD, dead_record, headers_of, letter
from worker.core.dead_letters import Event, ValueState, event_of, letter_in, replays_of
from worker.model import Record, TopicPartition

SOURCE = TopicPartition("texts", 3)
FACTS = (
    "reason",
    "detail",
    "retryable",
    "topic",
    "partition",
    "offset",
    "timestamp",
    "failed_at",
    "submitted_at",
    "model",
)
MORE = ("request_id", "attempts", "text_sha256", "replays", "origin", "job", "value", "http_status")


def test_what_the_worker_writes_is_read_back() -> None:
    found = letter(
        7,
        partition=3,
        reason="API_ERROR",
        request_id="id-1",
        submitted_at="2026-01-01T23:50:00.000Z",
        text_sha256="ab" * 32,
        job="0011aabbccdd",
        replays=2,
    )
    assert (found.reason, found.source, found.offset) == ("API_ERROR", SOURCE, 7)
    assert found.event == Event(SOURCE, 7)
    assert (found.request_id, found.text_sha256, found.job, found.replays) == ("id-1", "ab" * 32, "0011aabbccdd", 2)
    assert found.retryable is True
    assert found.failed_at == 1_767_312_000.0
    assert found.submitted_at == 1_767_311_400.0
    assert found.timestamp_ms == 1_767_225_600_000
    assert found.value is ValueState.KEPT


@pytest.mark.parametrize(
    "facts",
    [
        {"reason": None},
        {"reason": "lower"},
        {"reason": "A" * 65},
        {"reason": "BAD REASON"},
        {"topic": None},
        {"topic": ".."},
        {"topic": "a/b"},
        {"topic": "t" * 250},
        {"partition": None},
        {"partition": -1},
        {"partition": 2**31},
        {"partition": "1" * 5000},
        {"partition": "٣"},
        {"offset": "1e3"},
        {"offset": 2**63},
        {"offset": "+1"},
    ],
)
def test_a_record_without_a_reason_or_a_source_is_no_dead_letter(facts: dict[str, Any]) -> None:
    assert letter_in(dead_record(**facts)) is None


@pytest.mark.parametrize(
    ("name", "value", "field", "none"),
    [
        ("retryable", "TRUE", "retryable", None),
        ("request_id", "../../v1/admin", "request_id", None),
        ("request_id", "x" * 129, "request_id", None),
        ("text_sha256", "ab" * 31, "text_sha256", None),
        ("job", "0x12", "job", None),
        ("submitted_at", "2026-01-01T00:00:00", "submitted_at", None),
        ("submitted_at", "soon", "submitted_at", None),
        ("submitted_at", "9999-99-99T00:00:00Z", "submitted_at", None),
        ("replays", "-5", "replays", 0),
        ("replays", "9" * 30, "replays", 0),
        ("timestamp", "", "timestamp_ms", -1),
    ],
)
def test_an_absurd_fact_counts_as_not_said(name: str, value: str, field: str, none: object) -> None:
    assert getattr(letter(**dict[str, Any]({name: value})), field) == none


def test_a_letter_that_does_not_say_when_it_failed_goes_by_the_time_it_was_written() -> None:
    assert letter(failed_at=None).failed_at == 1_767_312_000.0


@pytest.mark.parametrize(
    ("value", "said", "state"),
    [
        (b"", None, ValueState.KEPT),
        (b"value", None, ValueState.KEPT),
        (b"value", "anything", ValueState.KEPT),
        (None, None, ValueState.OMITTED),
        (None, "kept", ValueState.OMITTED),
        (None, "omitted", ValueState.OMITTED),
        (b"hash", "redacted", ValueState.REDACTED),
        (b"value", "omitted", ValueState.OMITTED),
    ],
)
def test_a_letter_without_the_original_value_says_so(value: bytes | None, said: str | None, state: ValueState) -> None:
    record = dead_record(value=value)
    marked = Record(DEAD, 0, 0, b"k", value, record.headers + headers_of({"value": said}), 0)
    found = letter_in(marked)
    assert found is not None
    assert found.value is state


@pytest.mark.parametrize("reason", ["CONTENT_BLOCKED", "INVALID_REQUEST"])
def test_what_the_api_would_refuse_again_is_final_whatever_the_letter_says(reason: str) -> None:
    assert letter(reason=reason, retryable="true").is_final
    assert letter(reason="INVALID_EVENT", retryable="false").is_final
    assert not letter(reason="INVALID_EVENT", retryable="true").is_final
    assert not letter(reason="INVALID_EVENT", retryable=None).is_final


def test_a_replayed_record_carries_the_event_it_repeats() -> None:
    origin = headers_of({"origin": "texts:3:7", "replays": 2})
    record = Record(SOURCE, 9, 0, b"k", b"v", origin, 0)
    assert event_of(record) == Event(SOURCE, 7)
    assert replays_of(record.headers) == 2
    assert letter(9, partition=3, origin="texts:3:7").event == Event(SOURCE, 7)


@pytest.mark.parametrize(
    "origin", ["texts:3:9", "texts:3:10", "texts:3", "texts", "", "a/b:0:0", "texts:x:1", "t:1:-1"]
)
def test_an_origin_that_cannot_be_is_none(origin: str) -> None:
    record = Record(SOURCE, 9, 0, b"k", b"v", headers_of({"origin": origin}), 0)
    assert event_of(record) == Event(SOURCE, 9)


names = st.sampled_from([f"dlq.{name}" for name in (*FACTS, *MORE)]) | st.text(max_size=12)
values = st.none() | st.binary(max_size=80) | st.sampled_from([b"TIMEOUT", b"texts", b"0", b"7", b"true", b"9" * 400])


@given(st.lists(st.tuples(names, values), max_size=24), st.none() | st.binary(max_size=20), st.integers(-1, 2**62))
@example([("dlq.failed_at", b"0001-01-01T00:00:00+23:59")], b"", -1)
def test_whatever_stands_on_the_topic_is_a_letter_or_none(headers: list, value: bytes | None, timestamp: int) -> None:
    record = Record(DEAD, 5, timestamp, None, value, tuple(headers), 0)
    found = letter_in(record)
    assert event_of(record).offset >= 0
    if found is not None:
        assert 0 <= found.source.partition < 2**31
        assert 0 <= found.offset < 2**63
        assert len(found.detail) <= 1024
        assert found.value is not ValueState.KEPT or record.value is not None
