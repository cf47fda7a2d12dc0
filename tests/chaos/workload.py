"""The events of a run: several versions of every key, of several kinds, so that order can go wrong."""

import random
from collections import Counter
from dataclasses import replace
from typing import Final

from tests.integration.events import TOMBSTONE, VECTOR, Event, encoded, good
from tests.integration.setup import DIMENSIONS

VERSIONS: Final = 16
"""Versions of a key, on average; a few hot keys have many more."""
NUMBER: Final = "chaos.number"
"""Header that tells every event from all others, tombstones included."""

_HOT: Final = 0.1
_SHARES: Final = {"good": 82, "flaky": 4, "blocked": 4, "refused": 2, "garbage": 4, "tombstone": 4}
_LAST: Final = 24
"""Good ones at the end: what is refused alike with no success behind it takes five minutes to end."""


def events(count: int, seed: int) -> list[Event]:
    """`count` events; always the same for the same seed. No text comes twice, so that a second bill for one is a repeated one."""
    chance = random.Random(f"workload {seed}")
    keys = [f"key-{number}" for number in range(max(1, count // VERSIONS))]
    hot = keys[: max(1, len(keys) // 50)]
    kinds = chance.choices(list(_SHARES), list(_SHARES.values()), k=count)
    last = min(_LAST, count // 10)
    kinds[count - last :] = ["good"] * last
    versions: Counter[str] = Counter()
    made = []
    for number, kind in enumerate(kinds):
        key = chance.choice(hot if chance.random() < _HOT else keys)
        versions[key] += 1
        text = f"{key}, version {versions[key]}, event {number}: {chance.randbytes(8).hex()}"
        made.append(replace(_event(kind, key.encode(), text), headers=((NUMBER, b"%d" % number),)))
    return made


def _event(kind: str, key: bytes, text: str) -> Event:
    if kind == "flaky":
        text = f"{text} [[flaky:1]]"
        return Event(key, encoded(text), VECTOR, text, key.decode(), DIMENSIONS, fewest_attempts=2)
    if kind == "blocked":
        return Event(key, encoded(f"{text} [[block]]"), "CONTENT_BLOCKED", f"{text} [[block]]")
    if kind == "refused":
        return Event(key, encoded(f"{text} [[reject]]"), "INVALID_REQUEST", f"{text} [[reject]]")
    if kind == "garbage":
        return Event(key, b"\xff" + text.encode(), "INVALID_EVENT")
    if kind == "tombstone":
        return Event(key, None, TOMBSTONE)
    return good(text, key=key, dimensions=DIMENSIONS)
