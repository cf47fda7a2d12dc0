"""A dead-letter topic of many kinds, and which of its letters a replay has to produce."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Producer

from tests.core.letters import headers_of
from tests.integration.events import Event, Place, encoded
from tests.integration.readers import TopicReader
from worker.core.times import rfc3339
from worker.model import Headers

REASONS: Final = (
    ("TIMEOUT", True),
    ("API_ERROR", True),
    ("CONTENT_BLOCKED", False),
    ("EXPIRED", True),
    ("INVALID_EVENT", False),
    ("INFERENCE_FAILED", True),
)
_A_TRANSACTION: Final = 700
_OPEN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Failed:
    """A letter to be written: of the `number`th event, which stood at `place`."""

    number: int
    place: Place
    reason: str
    retryable: bool
    replays: int
    omitted: bool

    @property
    def origin(self) -> str:
        """What its replay says of where the event came in, without the topic."""
        return f"{self.place.partition}:{self.place.offset}"


def events(count: int) -> list[Event]:
    """Texts; every ninth has no key."""
    return [
        Event(
            b"key-%d" % number if number % 9 else None,
            encoded(f"text {number}"),
            "",
            headers=(("traceparent", b"00-%032x-01" % number), ("number", b"%d" % number)),
        )
        for number in range(count)
    ]


def newer(count: int) -> list[Event]:
    """A newer text of every thirteenth key."""
    return [Event(b"key-%d" % number, encoded(f"newer {number}"), "") for number in range(0, count, 13)]


def failures(placed: Mapping[Place, Event]) -> list[Failed]:
    """A letter of each event."""
    made = []
    for place, event in placed.items():
        number = int(dict(event.headers)["number"] or 0)
        reason, retryable = REASONS[number % len(REASONS)]
        replays = (0, 0, 1, 3)[number % 4] if number % 5 == 0 else 0
        made.append(
            Failed(number, place, reason, retryable, replays, omitted=number % 401 == 7 and event.key is not None)
        )
    return sorted(made, key=lambda failed: failed.number)


def write(servers: str, topic: str, source: str, placed: Mapping[Place, Event], letters: Sequence[Failed]) -> None:
    """Write the letters in transactions, with aborted ones and records that are no letters between them."""
    producer = Producer(
        {"bootstrap.servers": servers, "transactional.id": f"fill-{topic}", "partitioner": "murmur2_random"}
    )
    producer.init_transactions(_OPEN_SECONDS)
    for begin in range(0, len(letters), _A_TRANSACTION):
        producer.begin_transaction()
        for failed in letters[begin : begin + 5]:
            producer.produce(topic, key=b"aborted", value=b"x", headers=_headers(failed, source))
        producer.flush()
        producer.abort_transaction(_OPEN_SECONDS)
        producer.begin_transaction()
        producer.produce(
            topic, key=b"garbage", value=b"\xff", headers=[("dlq.reason", b"\xff"), ("dlq.offset", b"9" * 99)]
        )
        for failed in letters[begin : begin + _A_TRANSACTION]:
            event = placed[failed.place]
            headers = [*_client_headers(event.headers), *_headers(failed, source)]
            value = None if failed.omitted else event.value
            producer.produce(topic, key=event.key, value=value, headers=headers)
            producer.poll(0)
        producer.commit_transaction(_OPEN_SECONDS)
    with closing(TopicReader(servers)) as reader:
        reader.settle(topic)


def to_replay(placed: Mapping[Place, Event], letters: Sequence[Failed], reasons: Sequence[str], count: int) -> set[int]:
    """The numbers of the events that a replay of these reasons has to produce, counted without the code under test."""
    superseded = set(range(0, count, 13))
    return {
        failed.number
        for failed in letters
        if failed.reason in reasons
        and failed.retryable
        and failed.replays < 3
        and not (failed.number in superseded and placed[failed.place].key is not None)
    }


def _client_headers(headers: Headers) -> list[tuple[str, str | bytes | None]]:
    return [*headers]


def _headers(failed: Failed, source: str) -> list[tuple[str, str | bytes | None]]:
    now = time.time()
    said = headers_of(
        {
            "reason": failed.reason,
            "detail": f"failed {failed.number}",
            "retryable": str(failed.retryable).lower(),
            "attempts": 3,
            "topic": source,
            "partition": failed.place.partition,
            "offset": failed.place.offset,
            "failed_at": rfc3339(now),
            "model": "gemini-embedding-001",
            "replays": failed.replays or None,
        }
    )
    return _client_headers(said)
