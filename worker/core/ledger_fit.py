"""A ledger that fits into what the broker takes, also where the limit turns out smaller than the records in flight need."""

from collections.abc import Collection
from dataclasses import replace

from worker.core.ledger import Entry, Ledger
from worker.core.ledger_codec import encode


def encode_within(ledger: Ledger, budget: int, recorded: Collection[str] = (), *, strict: bool = False) -> str | None:
    """The ledger in at most `budget` characters. Where it is longer, jobs lose their request_ids, as few of them as possible:
    first those that no committed ledger has (`recorded`: those that one has), of these the newest first. They are written again
    as soon as older records have finished. Every offset stays, and so do intents and claims: without them a record would be
    lost, or paid twice. `strict`: what loses its id leaves an intent, so that nobody submits it again. None: it does not fit even
    so."""
    text = encode(ledger)
    if len(text) <= budget:
        return text
    known = [index for index, entry in enumerate(ledger.entries) if entry.mark.request_id is not None]
    known.sort(key=lambda index: ledger.entries[index].mark.request_id not in recorded)  # stable: the newest stays last
    kept, too_many, best = 0, len(known), None
    while kept < too_many:  # with so many ids it does not fit
        middle = (kept + too_many) // 2
        text = encode(_without(ledger, frozenset(known[middle:]), strict=strict))
        if len(text) <= budget:
            best, kept = text, middle + 1
        else:
            too_many = middle
    return best


def _without(ledger: Ledger, indexes: frozenset[int], *, strict: bool) -> Ledger:
    """The ledger without the ids of these entries."""
    entries = (
        _without_id(entry, strict=strict) if index in indexes else entry for index, entry in enumerate(ledger.entries)
    )
    return replace(ledger, entries=tuple(entries))


def _without_id(entry: Entry, *, strict: bool) -> Entry:
    mark = entry.mark
    if mark.intent or strict:
        return Entry(entry.offset, replace(mark, request_id=None, intent=True))
    return Entry(entry.offset, replace(mark, request_id=None, submitted_at=0.0, attempt=0))
