"""Bugs of the ledger: what it says, what it forgets, how it is taken over."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.patching import Bugs, Patch, bug
from worker.core import partition, takeover, verdicts
from worker.core.ledger import Ledger
from worker.core.ledger_codec import encode
from worker.core.partition import Partition
from worker.core.partitions import Partitions
from worker.gate.outbox import Outbox
from worker.model import Outcome

BUGS: Bugs = {}


def _ledgers_made(change: Any) -> list[Patch]:
    """Every ledger that is to be committed goes through `change`."""
    made = partition.__dict__["ledger_of"]
    return [Patch(partition, "ledger_of", lambda *given, **named: change(made(*given, **named)))]


@bug(BUGS)
def ledger_forgotten() -> Sequence[Patch]:
    """A new owner recalls nothing: all above the committed offset is done again."""
    read = takeover.__dict__["decode"]

    def decode(metadata: str, place: Any, offset: int) -> Any:
        found = read(metadata, place, offset)
        return replace(found, entries=(), end=found.offset) if isinstance(found, Ledger) else found

    return [Patch(takeover, "decode", decode)]


@bug(BUGS)
def held_counts_as_finished() -> Sequence[Patch]:
    """An outcome that waits for an earlier one of its key is finished, says the ledger."""
    made = Partition.position_after

    def position_after(self: Partition, finished: Collection[int], *given: Any, **named: Any) -> Any:
        return made(self, {*finished, *self.order._held}, *given, **named)

    return [Patch(Partition, "position_after", position_after)]


@bug(BUGS)
def decided_counts_as_finished() -> Sequence[Patch]:
    """An outcome that is ready is finished, says the ledger, whether it is in the batch or not."""
    made, release = Partition.position_after, Outbox._release
    decided: dict[int, set[int]] = {}

    def _release(self: Outbox, partition: Partition, offset: int, outcome: Outcome) -> None:
        before = len(self._ready)
        release(self, partition, offset, outcome)
        decided.setdefault(id(partition), set()).update(ready.record.offset for ready in self._ready[before:])

    def position_after(self: Partition, finished: Collection[int], *given: Any, **named: Any) -> Any:
        return made(self, {*finished, *decided.get(id(self), ())}, *given, **named)

    return [Patch(Outbox, "_release", _release), Patch(Partition, "position_after", position_after)]


@bug(BUGS)
def runs_off_by_one() -> Sequence[Patch]:
    """The end of a ledger is one too high: the next record counts as finished."""
    return _ledgers_made(lambda ledger: replace(ledger, end=ledger.end + 1) if ledger.entries else ledger)


@bug(BUGS)
def finished_above_the_watermark_forgotten() -> Sequence[Patch]:
    """The ledger keeps its first entry only: what is finished above it is not written down."""
    return _ledgers_made(
        lambda ledger: replace(ledger, entries=ledger.entries[:1], end=ledger.offset + 1) if ledger.entries else ledger
    )


@bug(BUGS)
def watermark_passes_an_unfinished_record() -> Sequence[Patch]:
    """The committed offset goes to the second unfinished record."""
    return _ledgers_made(
        lambda ledger: (
            replace(ledger, offset=ledger.entries[1].offset, entries=ledger.entries[1:])
            if len(ledger.entries) > 1
            else ledger
        )
    )


@bug(BUGS)
def capacity_ignored() -> Sequence[Patch]:
    """As many records in work as the settings say, and ledgers as long as that takes."""
    return [
        Patch(Partitions, "record_limit", property(lambda self: 120)),
        Patch(partition, "encode_within", lambda ledger, *given, **named: encode(ledger)),
    ]


@bug(BUGS)
def metadata_too_large_ignored() -> Sequence[Patch]:
    """The broker refuses the ledger, and the budget stays."""
    return [Patch(Partitions, "shrink", lambda self: None)]


@bug(BUGS)
def takeover_wait_waived() -> Sequence[Patch]:
    """Rule 5b: a new owner POSTs at once, whoever was there before."""
    return [Patch(takeover, "waives_wait", lambda found: True)]


@bug(BUGS)
def always_handed_over_clean() -> Sequence[Patch]:
    """Every ledger says that its writer has ended its work."""
    fit: Any = partition.__dict__["encode_within"]

    def encode_within(ledger: Ledger, *given: Any, **named: Any) -> Any:
        return fit(replace(ledger, clean=True, waiting=False), *given, **named)

    return [Patch(partition, "encode_within", encode_within)]


@bug(BUGS)
def wait_not_passed_on() -> Sequence[Patch]:
    """Who hands over while its own takeover wait still runs waives the rest of it."""
    fit: Any = partition.__dict__["encode_within"]

    def encode_within(ledger: Ledger, *given: Any, **named: Any) -> Any:
        return fit(replace(ledger, waiting=False), *given, **named)

    return [Patch(partition, "encode_within", encode_within)]


@bug(BUGS)
def taken_up_before_the_ledger_is_committed() -> Sequence[Patch]:
    """A new owner takes records up before it has committed that the partition has changed hands."""
    made = Partition.__init__

    def make(self: Partition, *given: Any) -> None:
        made(self, *given)
        self.settled = True

    return [Patch(Partition, "__init__", make)]


@bug(BUGS)
def expiry_not_honoured() -> Sequence[Patch]:
    """A result that is gone is asked for, for ever."""
    return [Patch(verdicts, "RESULT_LIFETIME", float("inf"))]
