"""Dead letters for tests."""

from collections.abc import Mapping
from typing import Any

from worker.core.dead_letters import Letter, letter_in
from worker.model import Headers, Record, TopicPartition

DEAD = TopicPartition("dead", 0)


def headers_of(facts: Mapping[str, object]) -> Headers:
    """`dlq.*` headers; None: left out."""
    return tuple((f"dlq.{name}", str(fact).encode()) for name, fact in facts.items() if fact is not None)


def dead_record(
    offset: object = 0,
    *,
    at: int | None = None,
    key: bytes | None = b"key",
    value: bytes | None = b"value",
    partition: int = 0,
    dead: TopicPartition = DEAD,
    carried: Headers = (),
    **facts: object,
) -> Record:
    """A record as the worker puts it on the dead-letter topic. `facts` are those of the headers; `partition` is the source's."""
    said: dict[str, object] = {
        "reason": "TIMEOUT",
        "detail": "not done in time",
        "retryable": "true",
        "topic": "texts",
        "partition": partition,
        "offset": offset,
        "timestamp": "2026-01-01T00:00:00.000Z",
        "failed_at": "2026-01-02T00:00:00.000Z",
        "model": "gemini-embedding-001",
        **facts,
    }
    stands = offset if at is None else at
    return Record(
        dead, stands if isinstance(stands, int) else 0, 1_767_312_000_000, key, value, carried + headers_of(said), 0
    )


def letter(offset: int = 0, **given: Any) -> Letter:
    """A dead letter; `at`: its own offset, else that of its source."""
    found = letter_in(dead_record(offset, **given))
    assert found is not None
    return found
