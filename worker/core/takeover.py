"""What a new owner makes of the ledger that it finds."""

from dataclasses import dataclass, replace

from worker.core.ledger import FINGERPRINT_BYTES, Ledger, Place, Read, Refused, usable
from worker.core.ledger_capacity import MOST_RECORDS
from worker.core.ledger_codec import decode, encode, written_for_another
from worker.core.offset_runs import OffsetRuns
from worker.model import Assignment, TopicPartition
from worker.notices import Recalled

CRASHES = 3
"""Unclean takeovers without change after which a partition works one record at a time (`commit-protocol.md`)."""


def first_metadata(cluster: str, topic_id: str, partition: int, offset: int) -> str:
    """What is committed with a partition's very first offset: an empty ledger that says that nobody is at work, so that its first
    owner need not wait. (Its job fingerprint is nobody's, and it holds no job.)"""
    place = Place(cluster, topic_id, partition)
    return encode(Ledger(place, offset, bytes(FINGERPRINT_BYTES), (), offset, clean=True))


def taken_over(found: Ledger) -> Ledger:
    """The ledger to commit first, before any record is processed: whether its writer handed it over is counted, and its word
    that it did is used up. A hand-over does not undo earlier crashes: only progress does (`unclean_takeovers`)."""
    return replace(found, unclean=found.unclean + (not found.clean), clean=False, waiting=False)


def unclean_takeovers(inherited: Ledger, offset: int) -> int:
    """The count that goes with a ledger at this offset: it starts again when the committed offset has moved.

    Any smaller change would hide a poisonous record for long: its neighbours get ids and finish in each of the worker's short
    lives, but the offset cannot pass the record itself.
    """
    return inherited.unclean if offset == inherited.offset else 0


def suspects(inherited: Ledger) -> int:
    """How many records are to be worked on one at a time, each claimed before it is decoded: those that the ledger lists, and as
    many as may have been taken up without ever being listed by owners that died at once.

    The caller keeps to it for the whole assignment: were it to stop at the first success, each further record could cost
    three crashes again."""
    return len(inherited.entries) + MOST_RECORDS if inherited.unclean >= CRASHES else 0


def waives_wait(found: Ledger) -> bool:
    """Whether rule 5b lets the new owner POST at once: the last owner says that it has ended its work, or there was none
    (`first_metadata`). Not where that owner was `waiting` itself: the lease of the one before it may still be valid. Metadata
    that was erased or void says neither."""
    return found.clean and not found.waiting


def restored(ledger: Ledger) -> OffsetRuns:
    """The offsets as the ledger knows them; consuming starts at its `offset`."""
    return OffsetRuns(ledger.offset, (entry.offset for entry in ledger.entries), ledger.end)


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What a new owner begins with. `ledger` is to be committed before any record is taken up; `found` is what stood there,
    `unclean`: a ledger whose writer has not handed it over; `voided` counts the request_ids that are of no use any more;
    `waived`: nobody else can be POSTing, so the owner need not wait before it does (rule 5b). `refused` says why the partition
    must not be touched: its ledger cannot be read."""

    where: TopicPartition
    ledger: Ledger
    found: Read
    unclean: bool
    voided: int
    waived: bool
    refused: str | None

    @property
    def notice(self) -> Recalled:
        """What is told of it."""
        found = self.found
        return Recalled(
            self.where,
            self.ledger.offset,
            unfinished=len(self.ledger.entries),
            jobs=sum(entry.mark.request_id is not None for entry in self.ledger.entries),
            voided=self.voided,
            clean=isinstance(found, Ledger) and found.clean,
            unclean_takeovers=self.ledger.unclean,
            problem=None if isinstance(found, Ledger) else self.refused or found.reason,
        )


def take_over(where: TopicPartition, assignment: Assignment, job: bytes, *, discard: bool) -> TakenOver:
    """What the metadata of an assignment's committed offset means for its new owner, whose `job_fingerprint` is `job`.
    `discard`: an unreadable ledger counts as none (the setting `guarantees.on_unreadable_ledger`)."""
    start = assignment.start
    place = Place(assignment.cluster, assignment.topic_id, where.partition)
    found = decode(start.metadata, place, start.offset)
    if isinstance(found, Ledger):
        ledger, voided = usable(taken_over(found), job)
        return TakenOver(where, ledger, found, not found.clean, voided, waives_wait(found), None)
    refused = None
    if isinstance(found, Refused) and not discard:
        refused = (
            f"the ledger of {where} at offset {start.offset} cannot be read ({found.reason}): run the worker that wrote it, or "
            "set WORKER_GUARANTEES__ON_UNREADABLE_LEDGER=discard to submit and publish again what it knew"
        )
    ledger = Ledger(place, start.offset, job, (), start.offset)
    return TakenOver(where, ledger, found, unclean=False, voided=0, waived=False, refused=refused)


def names_another_topic(metadata: str, cluster: str, topic_id: str, partition: int, offset: int) -> bool:
    """Whether what is committed with this offset is the ledger of another topic of the same cluster: of one that had this name
    before and was deleted. Such an offset is as void as its ledger. (From another cluster it was translated by who copied it.)
    """
    return decode(metadata, Place(cluster, topic_id, partition), offset) == written_for_another("topic")
