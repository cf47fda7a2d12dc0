"""One partition that this worker owns, and what is going on in it."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from worker.core.ledger import BLANK, INTENT, Ledger, Mark, ledger_of, unclaimed
from worker.core.ledger_capacity import in_flight_limit
from worker.core.ledger_codec import decode
from worker.core.ledger_fit import encode_within
from worker.core.ordering import KeyOrder
from worker.core.spending import Cost, Spent
from worker.core.takeover import (
    TakenOver,
    restored,
    suspects,
    unclean_takeovers,
)
from worker.model import Assignment, Outcome, Position, Record


class Partition:
    """One partition under one assignment: its offsets, its marks (the pending map: what is known of each unfinished offset), the
    order of its keys, and the fetched records not yet taken up.

    `suspected`: offsets taken up one at a time. `intending`: offsets whose intent has its room in the ledger (strict mode).
    `posting`: offsets whose POST is under way. `changed`: the ledger says something
    that is not committed. `settled`: the ledger that was found has been committed by this owner; nothing is taken up before.
    `spent`: on finished records. `exceeded`: the reason of which this owner has too many dead letters, for the ledger.
    `postable_at`: no POST before this time (of the lease's clock). `closing`: nothing is taken up and no POST starts any more.
    `handed_over`: this owner's last word.
    """

    def __init__(self, assignment: Assignment, taken: TakenOver, postable_at: float, *, strict: bool = False) -> None:
        self.number = assignment.number
        self.inherited = taken.ledger
        self.unclean = taken.unclean
        self.suspects_left = suspects(taken.ledger)
        self.suspected: set[int] = set()
        self.refused = taken.refused
        self.exceeded = taken.ledger.exceeded
        self.spent = taken.ledger.spent
        self._costs: dict[int, Cost] = {}
        self._priced: set[int] = set()  # the cost of their newest job is known, if only that there is none
        self.offsets = restored(taken.ledger)
        self.marks: dict[int, Mark] = {
            entry.offset: entry.mark for entry in taken.ledger.entries if entry.mark != BLANK
        }
        self.order: KeyOrder[Outcome] = KeyOrder()
        self.committed = assignment.start
        self.postable_at = postable_at
        self.intending: set[int] = set()
        self.posting: set[int] = set()
        self.backlog: deque[Record] = deque()
        self.changed = taken.refused is None
        self.settled = False
        self.paused = True
        self.closing = False
        self.handed_over = False
        self._strict = strict
        self._clean = self._waiting = False

    @property
    def in_flight(self) -> int:
        """Records taken up whose outcome is not committed."""
        return len(self.offsets.unfinished) - self.offsets.awaited

    @property
    def next_is_inherited(self) -> bool:
        """Whether the next record to be taken up had been taken up by an earlier owner already."""
        return bool(self.backlog) and self.backlog[0].offset < self.inherited.end

    @property
    def next_is_suspect(self) -> bool:
        """Whether the next record to be taken up has to work alone, see `takeover.suspects`."""
        if not self.backlog or not self.settled or self.closing:
            return False
        return self.suspects_left > 0 or self.mark(self.backlog[0].offset).claims > 0

    def suspect(self, offset: int) -> bool:
        """A record was taken up; returns whether it is to be claimed, and to work alone."""
        if self.suspects_left <= 0 and not self.mark(offset).claims:
            return False
        self.suspects_left = max(0, self.suspects_left - 1)
        self.suspected.add(offset)
        return True

    def discard_backlog(self) -> int:
        """Forget the records that are not taken up; returns their bytes."""
        size = sum(record.size for record in self.backlog)
        self.backlog.clear()
        return size

    def mark(self, offset: int) -> Mark:
        """What is known of a record."""
        return self.marks.get(offset, BLANK)

    def set_mark(self, offset: int, mark: Mark) -> None:
        """Something new is known of a record: the next commit writes it down."""
        if mark.request_id != self.mark(offset).request_id:
            self._priced.discard(offset)
        if mark == BLANK:
            self.marks.pop(offset, None)
        else:
            self.marks[offset] = mark
        self.changed = True

    def cost(self, offset: int, cost: Cost) -> None:
        """A job of this record has cost so much; it is spent, for the ledger, once the record is finished."""
        before = self._costs.get(offset)
        self._costs[offset] = cost if before is None else Cost(cost.hour, before.nanos + cost.nanos)
        self._priced.add(offset)

    def costs_nothing(self, offset: int) -> None:
        """The newest job of this record is lost, and was not billed."""
        self._priced.add(offset)

    def jobs_without_cost(self) -> Collection[int]:
        """The offsets whose job runs, or is being submitted."""
        running = {offset for offset, mark in self.marks.items() if mark.request_id and offset not in self._priced}
        return running | self.posting

    def spent_after(self, finished: Iterable[int]) -> Spent:
        """What is spent once these are finished."""
        spent = self.spent
        for offset in finished:
            if offset in self._costs:
                spent = spent.plus(self._costs[offset])
        return spent

    @property
    def spent_with_all_costs(self) -> Spent:
        """Also on records that are not finished."""
        return self.spent_after(self._costs)

    def forget(self, offsets: Collection[int]) -> None:
        """These are finished: nothing needs to be known of them any more, but what they have cost."""
        self.spent = self.spent_after(offsets)
        for offset in offsets:
            self.marks.pop(offset, None)
            self._costs.pop(offset, None)
            self._priced.discard(offset)

    def hand_over(self, now: float, *, crashed: bool) -> None:
        """The owner's last word: it has ended its work in order. A `crashed` worker says nothing of the kind, so that what has
        made it crash is not taken for innocent."""
        self.changed = self.handed_over = True
        if crashed:
            return
        self._clean, self._waiting = True, now < self.postable_at or bool(self.posting)
        for offset, mark in self.marks.items():
            self.marks[offset] = unclaimed(mark)
        self.forget([offset for offset, mark in self.marks.items() if mark == BLANK])

    def has_room(self, offset: int, budget: int) -> bool:
        """Whether the ledger fits into `budget` characters with the intent of this record in it too, besides those that were let
        in before; if so this one is let in, until `intending` loses it."""
        if len(self.offsets.unfinished) > in_flight_limit(budget, 0):
            intents = {one: self.marks.get(one, INTENT) for one in (*self.intending, offset)}
            ledger = self._ledger((), {**self.marks, **intents})
            if encode_within(ledger, budget, strict=True) is None:
                return False
        self.intending.add(offset)
        return True

    def position_after(self, finished: Collection[int], budget: int) -> Position | None:
        """The offset and the ledger to commit once these are finished too; None: the ledger does not fit into `budget`."""
        ledger = self._ledger(finished, self.marks)
        metadata = encode_within(ledger, budget, self._recorded(budget), strict=self._strict)
        return None if metadata is None else Position(ledger.offset, metadata)

    def _ledger(self, finished: Collection[int], marks: Mapping[int, Mark]) -> Ledger:
        inherited = self.inherited
        made = ledger_of(inherited.place, inherited.job, self.offsets, marks, finished)
        unclean = unclean_takeovers(inherited, made.offset)
        return replace(
            made,
            unclean=unclean,
            clean=self._clean,
            waiting=self._waiting,
            spent=self.spent_after(finished),
            exceeded=self.exceeded,
        )

    def _recorded(self, budget: int) -> Collection[str]:
        """The request_ids that the committed ledger has; looked up only where they might not fit."""
        if len(self.marks) <= in_flight_limit(budget, None):
            return ()
        found = decode(self.committed.metadata, self.inherited.place, self.committed.offset)
        entries = found.entries if isinstance(found, Ledger) else ()
        return {entry.mark.request_id for entry in entries if entry.mark.request_id is not None}
