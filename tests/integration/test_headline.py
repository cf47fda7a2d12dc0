"""The headline: a mixed load, two workers, an API that misbehaves, a rebalance; every event ends where it must."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import pytest

from tests.integration.conftest import SetupFactory
from tests.integration.events import SKIPPED, TOMBSTONE, VECTOR, Event, encoded, good, sha256
from tests.integration.setup import DIMENSIONS

pytestmark = pytest.mark.real_kafka

PARTITIONS: Final = 6
TRACE: Final = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
HEADERS: Final = (TRACE, ("dlq.reason", b"TIMEOUT"), ("empty", b""), ("null", None), ("raw", b"\xff\x00"))
COUNTS: Final = {
    "good": 1300,
    "with an id and a size of its own": 100,
    "without key": 60,
    "flaky": 100,
    "tombstone": 100,
    "null key and null value": 10,
    "garbage": 60,
    "cut off": 30,
    "empty": 50,
    "oversized": 20,
    "too long for the model": 20,
    "blocked": 60,
    "always failing": 40,
    "refused": 30,
    "unusable vector": 20,
}
API: Final[dict[str, Any]] = {
    "latency": "lognormal:mean=0.3,sigma=0.5",
    "error_rate": 0.01,
    "reset_before": 0.005,
    "reset_after": 0.01,
    "slow_rate": 0.01,
    "slow_seconds": 1.0,
    "get_error_rate": 0.02,
    "get_reset_before": 0.01,
    "get_reset_after": 0.01,
    "get_slow_rate": 0.01,
    "get_slow_seconds": 1.0,
    "requests_per_minute": 15_000,
    "rate_limit_window_seconds": 2.0,
    "rate_limit_header": "epoch_milliseconds",
}
PACE: Final = 30_000
"""Requests a minute that the workers think they have: more than the API grants, so that it answers 429."""
ATTEMPTS: Final = 6
"""Per event: with 2 % of the submits failing on the API's account, no event meets its end for that reason."""


def events_of(kind: str, chance: random.Random) -> Iterator[Event]:
    """Endless events of a kind, each of them unlike all others."""
    number = 0
    while True:
        number += 1
        key = f"{kind}-{number}".encode()
        text = f"{kind} event number {number}: {chance.randbytes(8).hex()}"
        yield event_of(kind, key, text, number, chance)


def event_of(kind: str, key: bytes, text: str, number: int, chance: random.Random) -> Event:  # noqa: PLR0911
    """One event."""
    match kind:
        case "good":
            value = encoded(text, single_object=number % 2 == 0)
            kept = (TRACE,) if number % 3 else HEADERS
            return Event(key, value, VECTOR, text, key.decode(), DIMENSIONS, headers=kept)
        case "with an id and a size of its own":
            return good(text, key=key, own_id=f"own-{number}", dimensions=128, output_dimensionality=128)
        case "without key":
            return good(text, key=None, own_id=f"keyless-{number}", dimensions=DIMENSIONS)
        case "flaky":
            text = f"{text} [[flaky:1]]"
            return Event(key, encoded(text), VECTOR, text, key.decode(), DIMENSIONS, fewest_attempts=2)
        case "tombstone":
            return Event(key, None, TOMBSTONE, headers=HEADERS)
        case "null key and null value":
            return Event(None, None, SKIPPED)
    return bad_event_of(kind, key, text, number, chance)


def bad_event_of(kind: str, key: bytes, text: str, number: int, chance: random.Random) -> Event:  # noqa: PLR0911
    """One event that becomes a dead letter."""

    def bad(reason: str, value: bytes, submitted: str | None = None, attempts: int = 1) -> Event:
        return Event(key, value, reason, submitted, fewest_attempts=attempts, headers=HEADERS)

    match kind:
        case "garbage":
            return bad("INVALID_EVENT", b"\xff" + chance.randbytes(number))
        case "cut off":
            return bad("INVALID_EVENT", encoded(text)[: -5 - number % 10])
        case "empty":
            return bad("INVALID_EVENT", encoded(" \n\t"[: number % 4]))
        case "oversized":
            return bad("INVALID_EVENT", encoded(text.ljust(70_000, "x")))
        case "too long for the model":
            text = text.ljust(10_000, "y")
            return bad("INVALID_REQUEST", encoded(text), text)
        case "blocked":
            return bad("CONTENT_BLOCKED", encoded(f"{text} [[block]]"), f"{text} [[block]]")
        case "always failing":
            failing = bad("INFERENCE_FAILED", encoded(f"{text} [[fail]]"), f"{text} [[fail]]", ATTEMPTS)
            return replace(failing, or_else="API_ERROR")
        case "refused":
            return bad("INVALID_REQUEST", encoded(f"{text} [[reject]]"), f"{text} [[reject]]")
        case "unusable vector":
            return bad("INVALID_RESULT", encoded(f"{text} [[badvector]]"), f"{text} [[badvector]]")
    raise ValueError(kind)


def mixed_events(chance: random.Random) -> list[Event]:
    """All of them, shuffled."""
    events = [event for kind, count in COUNTS.items() for event in islice(events_of(kind, chance), count)]
    chance.shuffle(events)
    return events


@pytest.mark.timeout(360)
def test_2000_mixed_events_through_faults_and_a_rebalance_all_end_where_they_must(
    setups: SetupFactory, show: Callable[[str], None]
) -> None:
    setup = setups(partitions=PARTITIONS)
    emulator = setup.emulator(**API)
    events = mixed_events(random.Random(2))
    assert len(events) == 2000
    placed = setup.produce(events)
    assert {place.partition for place in placed} == set(range(PARTITIONS))
    settings = {
        "WORKER_API__ATTEMPTS": str(ATTEMPTS),
        "WORKER_PACE__REQUESTS_PER_MINUTE": str(PACE),
    }
    began = time.monotonic()
    first = setup.worker(emulator.wait_url(), **settings)
    setup.wait_until_counted(setup.output, 500, 60)
    second = setup.worker(emulator.wait_url(), **settings)
    second.wait_ready()
    at_rebalance = setup.reader.count(setup.output)
    assert at_rebalance < 1400, f"the second worker came too late to matter: {at_rebalance} offsets were out"
    setup.wait_finished(240)
    seconds = time.monotonic() - began
    assert first.stop() == 0, first.tail
    assert second.stop() == 0, second.tail

    tally, stats, bills = setup.tally(placed), emulator.stats(), emulator.bills()
    moved = first.handed_over
    lost_answers = stats["faults"].get("POST reset_after", 0)
    show(
        f"2,000 events in {seconds:.0f} s, rebalance at {at_rebalance} offsets of the output, {len(moved)} partitions moved with "
        f"{first.dropped_in_flight} records in flight; "
        f"twice: {tally.duplicates}; 429s: {stats['rate_limited']}, "
        f"faults: {sum(stats['faults'].values())}; bills: {stats['bills']}, paid twice: {stats['double_billed']} "
        f"({lost_answers} answers lost after acceptance); requests an event: {stats['requests'] / 2000:.2f}"
    )

    # every event where it must be, none missing (`tally` has checked each), none twice
    expected = Counter(event.ends for event in events)
    once = Counter(placed[place].ends for place in tally.outcomes)
    assert once == expected - Counter({SKIPPED: COUNTS["null key and null value"]})
    assert tally.duplicates == 0
    # a submit that has failed is not in the ledger: its next owner counts the attempt anew
    assert len(tally.too_few_attempts) <= first.dropped_in_flight

    # the money: all that has a vector (or an unusable one) was paid, nothing else; twice only where an answer was lost
    paid = {sha256(event.text) for event in events if event.text and event.ends in {VECTOR, "INVALID_RESULT"}}
    assert bills.keys() == paid
    assert stats["double_billed"] == sum(bills.values()) - len(paid)
    assert stats["double_billed"] <= lost_answers
    assert lost_answers > 0

    # the trouble was real
    assert stats["rate_limited"] > 0
    assert {kind.split()[1] for kind in stats["faults"]} == {"error", "reset_before", "reset_after", "slow"}
    assert not first.logged("halted")
    assert not second.logged("halted")
    assert len(moved) == PARTITIONS // 2
