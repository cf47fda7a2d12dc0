"""Whatever stands on the input topic: each record ends once, and what cannot be embedded keeps key, value and headers."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.flow.harness import DEAD, INPUT
from tests.fuzz.house import EXAMPLES, NOW, HostileHouse, in_hostile_house
from tests.integration.events import encoded
from worker.core.adoption import request_fingerprint, sha256
from worker.core.ledger import job_of
from worker.core.times import rfc3339
from worker.model import EmbedRequest, OutcomeKind, Record
from worker.notices import Ended
from worker.settings import load

JOB = job_of(load({}).api, load({}).input, "")
"""Of a worker in `in_hostile_house`, which has no settings of its own that matter here."""
TEXTS = st.sampled_from(["a", "b"]) | st.text(max_size=12)
EVENTS = st.builds(
    lambda text, dimension, task: encoded(text, output_dimensionality=dimension, task_type=task),
    TEXTS,
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.sampled_from(["CLUSTERING", ""]) | st.text(max_size=6),
)
VALUES = (
    st.none()
    | st.binary(max_size=40)
    | EVENTS
    | st.builds(lambda event, cut: event[:cut], EVENTS, st.integers(0, 8))
    | st.builds(lambda event: event + b"\x00", EVENTS)
)
HEADER_VALUES = (
    st.none()
    | st.binary(max_size=20)
    | st.sampled_from(
        [
            b"1",
            b"-1",
            b"9" * 400,
            b"00000000-0000-0000-0000-000000000001",
            b"..",
            b"x" * 128,
            b"\xff",
            b"2027-01-15T07:59:00Z",
            sha256("a").encode(),
            request_fingerprint(JOB, EmbedRequest("a", None, None)).encode(),
            b"TIMEOUT",
            "\u202e".encode(),
        ]
    )
)
NAMES = st.sampled_from(
    [
        "dlq.request_id",
        "dlq.submitted_at",
        "dlq.text_sha256",
        "dlq.job",
        "dlq.replays",
        "dlq.reason",
        "dlq.",
        "traceparent",
        "DLQ.x",
    ]
) | st.text(max_size=5)
HEADERS = st.lists(st.tuples(NAMES, HEADER_VALUES), max_size=5)


def named_job(request_id: bytes, age: float) -> list[tuple[str, bytes | None]]:
    """Headers that fit the text "a"."""
    return [
        ("dlq.request_id", request_id),
        ("dlq.submitted_at", rfc3339(NOW - age).encode()),
        ("dlq.text_sha256", sha256("a").encode()),
        ("dlq.job", request_fingerprint(JOB, EmbedRequest("a", None, None)).encode()),
    ]


FITTING = st.builds(
    named_job, st.sampled_from([b"forged", b"00000000-0000-0000-0000-000000000001"]), st.floats(-10, 4000)
)
RECORDS = st.lists(
    st.tuples(st.none() | st.binary(max_size=6) | st.sampled_from([b"k", b"k" * 3000]), VALUES, HEADERS | FITTING),
    min_size=1,
    max_size=12,
).map(lambda records: [*records, (b"good", encoded("good"), [])])
"""With a good one at the end: what is refused alike before anything has succeeded waits, as it should, for the next that does."""


async def worked_off(house: HostileHouse, records: list[Any]) -> None:
    """Publish them and wait for their end."""
    published = [house.broker.publish(INPUT, key, value, tuple(headers)) for key, value, headers in records]
    worker = house.start()
    await house.until_all_is_done(worker, 7200.0)
    assert house.endings() == {(record.source.partition, record.offset): 1 for record in published}
    assert worker.in_flight == 0
    ended = house.remembered.of(Ended)
    vectors = sum(notice.kind is OutcomeKind.VECTOR for notice in ended)
    assert len(house.web.jobs) <= vectors + sum(notice.kind is OutcomeKind.DEAD_LETTER for notice in ended)
    assert len(house.outcomes()) == sum(notice.kind is not OutcomeKind.SKIPPED for notice in ended)
    for letter in house.broker.records(DEAD):
        check_letter(letter, published)
    for outcome in house.outcomes():
        names = [name for name, _ in outcome.headers if name.startswith("dlq.")]
        assert len(names) == len(set(names))


def check_letter(letter: Record, published: list[Record]) -> None:
    """It holds its source whole; no `dlq.*` header of the source is left."""
    said = {name: (value or b"").decode() for name, value in letter.headers if name.startswith("dlq.")}
    (source,) = (
        record
        for record in published
        if (record.source.partition, record.offset) == (int(said["dlq.partition"]), int(said["dlq.offset"]))
    )
    assert (letter.key, letter.value) == (source.key, source.value)
    own = tuple(header for header in source.headers if not header[0].startswith("dlq."))
    assert letter.headers[: len(own)] == own
    assert len(said["dlq.detail"].encode()) <= 1024
    assert said["dlq.reason"].isupper()


@settings(EXAMPLES, max_examples=80)
@given(records=RECORDS)
@example(records=[(b"k", encoded("a"), [*named_job(b"forged", 60.0), *named_job(b"another", 60.0)])])
@example(records=[(b"k", encoded("a"), named_job(b"forged", 60.0))] * 3)
def test_any_records_end_once(records: list[Any]) -> None:
    in_hostile_house(lambda house: worked_off(house, records))


@settings(EXAMPLES, max_examples=40)
@given(records=RECORDS)
def test_any_records_end_once_where_newer_texts_supersede_older_ones(records: list[Any]) -> None:
    async def test(house: HostileHouse) -> None:
        for key, value, headers in records:
            house.broker.publish(INPUT, key, value, tuple(headers))
        worker = house.start()
        await house.until_all_is_done(worker, 7200.0)
        assert set(house.endings().values()) == {1}
        assert len(house.endings()) == len(records)

    in_hostile_house(test, environment={"WORKER_GUARANTEES__SUPERSEDE": "true"})
