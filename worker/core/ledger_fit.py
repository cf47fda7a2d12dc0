"""A ledger that fits into what the broker takes, also where the limit turns out smaller than the records in flight need."""

from dataclasses import replace

from worker.core.ledger import Entry, Ledger
from worker.core.ledger_codec import encode


def encode_within(ledger: Ledger, budget: int) -> str | None:
    """The ledger in at most `budget` characters. Where it is longer, the newest jobs lose their request_ids, as few of them as
    possible; they are written again as soon as older records have finished. Intents and claims stay, and so does every offset:
    without them a record would be paid for twice, or lost. None: it does not fit even so."""
    text = encode(ledger)
    if len(text) <= budget:
        return text
    kept, without = 0, len(ledger.entries)
    best = None
    while kept < without:  # invariant: with `without` ids it does not fit
        middle = (kept + without) // 2
        text = encode(_keeping(ledger, middle))
        if len(text) <= budget:
            best, kept = text, middle + 1
        else:
            without = middle
    return best


def _keeping(ledger: Ledger, count: int) -> Ledger:
    entries = (*ledger.entries[:count], *map(_without_id, ledger.entries[count:]))
    return replace(ledger, entries=entries)


def _without_id(entry: Entry) -> Entry:
    if entry.mark.request_id is None:
        return entry
    if entry.mark.intent:
        return Entry(entry.offset, replace(entry.mark, request_id=None))
    return Entry(entry.offset, replace(entry.mark, request_id=None, submitted_at=0.0, attempt=0))
