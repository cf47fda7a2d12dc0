"""What a new owner makes of the ledger that it finds, and a worker of its own after a commit whose outcome is unknown."""

from collections.abc import Mapping
from dataclasses import replace

from worker.core.ledger import Entry, Finished, Ledger, Mark
from worker.core.offset_runs import OffsetRuns

CRASHES = 3
"""Unclean takeovers without change after which a partition works one record at a time (`commit-protocol.md`)."""


def taken_over(found: Ledger) -> Ledger:
    """The ledger to commit first, before any record is processed: whether its writer handed it over is counted, and its word
    that it did is used up."""
    return replace(found, unclean=0 if found.clean else found.unclean + 1, clean=False)


def unclean_takeovers(inherited: Ledger, offset: int) -> int:
    """The count that goes with a ledger at this offset: it starts again when the committed offset has moved.

    Any smaller change would hide a poisonous record for long: its neighbours get ids and finish in each of the worker's short
    lives, but the offset cannot pass the record itself.
    """
    return inherited.unclean if offset == inherited.offset else 0


def suspects_end(inherited: Ledger) -> int:
    """Records below this offset are to be worked on one at a time, each claimed before it is decoded (`inherited.offset`: none).
    The caller keeps to it for the whole assignment: were it to stop at the first success, each further record could cost
    three crashes again."""
    return inherited.end if inherited.unclean >= CRASHES else inherited.offset


def waives_wait(found: Ledger | None, *, first_start: bool) -> bool:
    """Whether rule 5b lets the new owner POST at once: nobody can have POSTed (`first_start`: there was no committed offset at
    all), or the last owner says that it has ended its work. Metadata that was erased or void says neither."""
    return first_start or (found is not None and found.clean)


def may_hand_over_clean(now: float, postable_at: float) -> bool:
    """Whether a leaving owner may set `clean`. Not while its own takeover wait still runs: the lease of the owner before it may
    be valid, and the flag would waive the rest of the wait. Both in seconds of the lease's clock."""
    return now >= postable_at


def restored(ledger: Ledger) -> OffsetRuns:
    """The offsets as the ledger knows them; consuming starts at its `offset`."""
    return OffsetRuns(ledger.offset, (entry.offset for entry in ledger.entries), ledger.end)


def overlay(committed: Ledger, offsets: OffsetRuns, marks: Mapping[int, Mark]) -> Ledger:
    """The ledger to go on with after a commit whose outcome is unknown (rule 4): what is `committed`, and over it what only
    the memory of the same assignment knows (`offsets`, `marks`), never over finished.

    `marks` holds every mark that memory has changed, a withdrawn intent as what stood before it: a record that is not in it
    keeps the committed mark. Every record that memory has started above the committed end stays listed, with an id or without:
    were one left out, it would count as finished.
    """
    entries = {entry.offset: entry.mark for entry in committed.entries}
    for offset in offsets.unfinished:
        known = committed.recall(offset)
        if not isinstance(known, Finished):
            entries[offset] = marks.get(offset, known)
    end = max(committed.end, offsets.next_offset)
    first = min(entries, default=end)
    return replace(
        committed,
        offset=first,
        entries=tuple(Entry(offset, entries[offset]) for offset in sorted(entries)),
        end=end,
    )
