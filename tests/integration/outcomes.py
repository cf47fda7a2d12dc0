"""What became of every record: read from the topics, matched with what must have become of it."""

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import fastavro

from tests.integration.events import SKIPPED, TOMBSTONE, VECTOR, Event, Place, schema, sha256, single_object_header
from tests.integration.readers import Found

EMBEDDING: Final = schema("embedding.avsc")
_EMBEDDING_HEADER: Final = single_object_header(EMBEDDING)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NEVER_SUBMITTED: Final = "INVALID_EVENT"
MODEL: Final = "gemini-embedding-001"


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each record has an outcome, and how many outcomes of each kind (or reason) there are.
    `too_few_attempts`: those that tell of fewer attempts than their event needs, which is so where a worker ends what
    another had begun."""

    outcomes: Mapping[Place, int]
    kinds: Mapping[str, int]
    too_few_attempts: Sequence[Place] = ()

    @property
    def twice(self) -> list[Place]:
        """The records that have more than one outcome."""
        return [place for place, count in self.outcomes.items() if count > 1]

    @property
    def duplicates(self) -> int:
        """Outcomes beyond the first of their record."""
        return sum(count - 1 for count in self.outcomes.values())


def decoded(value: bytes | None) -> dict[str, Any]:
    """An output record's value, its single-object header checked."""
    assert value is not None
    assert value[:10] == _EMBEDDING_HEADER
    stream = io.BytesIO(value[10:])
    embedding = fastavro.schemaless_reader(stream, EMBEDDING, None)
    assert not stream.read(1), "bytes behind the record"
    assert isinstance(embedding, dict)
    return embedding


def tally(topic: str, placed: Mapping[Place, Event], output: list[Found], dead_letters: list[Found]) -> Tally:
    """Check every outcome against its record, and that no record is without. `topic` is the input topic."""
    outcomes: Counter[Place] = Counter()
    kinds: Counter[str] = Counter()
    attempts: dict[Place, int] = {}
    tombstones = {event.key: place for place, event in placed.items() if event.ends == TOMBSTONE}
    for found in output:
        if found.value is None:
            place = tombstones[found.key]
            check_headers(found, placed[place])
            kinds[TOMBSTONE] += 1
        else:
            place, attempts[place] = check_vector(topic, found, placed)
            kinds[VECTOR] += 1
        outcomes[place] += 1
    for found in dead_letters:
        place = place_of(found)
        check_dead_letter(topic, found, place, placed[place])
        attempts[place] = int(found.header("dlq.attempts") or -1)
        kinds[placed[place].ends] += 1
        outcomes[place] += 1
    missing = {place: event.ends for place, event in placed.items() if place not in outcomes and event.ends != SKIPPED}
    assert not missing, f"{len(missing)} without an outcome: {dict(list(missing.items())[:20])}"
    assert not [place for place in outcomes if placed[place].ends == SKIPPED]
    too_few = [
        place for place, count in attempts.items() if placed[place].text and count < placed[place].fewest_attempts
    ]
    return Tally(outcomes, kinds, [place for place in too_few if placed[place].ends != _NEVER_SUBMITTED])


def check_vector(topic: str, found: Found, placed: Mapping[Place, Event]) -> tuple[Place, int]:
    """Check one record of the output topic; returns which record it is the outcome of, and its attempts."""
    embedding = decoded(found.value)
    source = embedding["source"]
    place = Place(source["partition"], source["offset"])
    event = placed[place]
    assert event.text is not None
    assert (source["topic"], event.ends) == (topic, VECTOR), embedding
    assert source["timestamp"] is not None
    assert found.key == (event.key if event.key is not None else event.id.encode())
    assert embedding["id"] == event.id
    assert embedding["dimensions"] == len(embedding["vector"]) == event.dimensions
    assert abs(sum(number * number for number in embedding["vector"]) - 1.0) < 1e-3
    assert embedding["model"] == MODEL
    assert embedding["text_sha256"] == sha256(event.text)
    assert embedding["attempts"] >= 1
    assert _UUID.fullmatch(embedding["request_id"])
    assert embedding["metrics"]["total_time"] >= 0.0
    check_headers(found, event)
    return place, embedding["attempts"]


def check_headers(found: Found, event: Event) -> None:
    """The input's headers in their order, without `dlq.*`."""
    assert found.headers == tuple(header for header in event.headers if not header[0].startswith("dlq."))


def place_of(dead_letter: Found) -> Place:
    """The record that a dead letter was."""
    return Place(int(dead_letter.header("dlq.partition") or -1), int(dead_letter.header("dlq.offset") or -1))


def check_dead_letter(topic: str, found: Found, place: Place, event: Event, *, whole: bool = True) -> None:
    """Key, value and headers byte for byte (`whole` False: the broker would not take the value), and the `dlq.*` headers."""
    failure = {name.removeprefix("dlq."): found.header(name) for name, _ in found.headers if name.startswith("dlq.")}
    assert (found.key, found.value) == (event.key, event.value if whole else None)
    kept = tuple(header for header in event.headers if not header[0].startswith("dlq."))
    assert found.headers[: len(kept)] == kept
    assert all(name.startswith("dlq.") for name, _ in found.headers[len(kept) :])
    assert failure["reason"] in {event.ends, event.or_else or event.ends}, failure
    assert (failure["topic"], failure["partition"], failure["offset"]) == (
        topic,
        str(place.partition),
        str(place.offset),
    )
    assert failure["detail"]
    assert len(failure["detail"].encode()) <= 1024
    assert failure["retryable"] in {"true", "false"}
    assert failure["model"] == MODEL
    assert _RFC3339.fullmatch(failure["failed_at"] or "")
    assert _RFC3339.fullmatch(failure["timestamp"] or "")
    assert failure.get("text_sha256") == (sha256(event.text) if event.text else None)
    attempts = int(failure["attempts"] or -1)
    if event.ends == _NEVER_SUBMITTED:
        assert attempts == 0
        assert "request_id" not in failure
    else:
        assert attempts >= 1
    if "request_id" in failure:
        assert _UUID.fullmatch(failure["request_id"] or "")
        assert _RFC3339.fullmatch(failure["submitted_at"] or "")
