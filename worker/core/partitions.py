"""The partitions that this worker owns, and what is going on in each of them."""

from collections import deque
from collections.abc import Collection, ItemsView, Mapping, Sequence, ValuesView
from dataclasses import replace

from worker.core.ledger import BLANK, Mark, ledger_of, unclaimed
from worker.core.ledger_codec import DEFAULT_BUDGET, in_flight_limit, smaller, stored_length
from worker.core.ledger_fit import encode_within
from worker.core.ordering import KeyOrder
from worker.core.takeover import (
    TakenOver,
    may_hand_over_clean,
    restored,
    suspects_end,
    take_over,
    unclean_takeovers,
)
from worker.model import Assignment, Outcome, Position, Record, TopicPartition

_TRAILING_ZERO = 1
"""Character that librdkafka's client adds to metadata, and that the broker counts."""


class Partition:
    """One partition under one assignment: its offsets, its marks (the pending map: what is known of each unfinished offset), the
    order of its keys, and the fetched records not yet taken up.

    `posting`: offsets whose POST is under way. `changed`: the ledger says something that is not committed. `settled`: the ledger
    that was found has been committed by this owner; nothing is taken up before. `postable_at`: no POST before this time (of
    the lease's clock). `closing`: nothing is taken up and no POST starts any more. `handed_over`: this owner's last word.
    """

    def __init__(self, assignment: Assignment, taken: TakenOver, postable_at: float) -> None:
        self.number = assignment.number
        self.inherited = taken.ledger
        self.unclean = taken.ledger.unclean > 0
        self.suspects_end = suspects_end(taken.ledger)
        self.refused = taken.refused
        self.offsets = restored(taken.ledger)
        self.marks: dict[int, Mark] = {
            entry.offset: entry.mark for entry in taken.ledger.entries if entry.mark != BLANK
        }
        self.order: KeyOrder[Outcome] = KeyOrder()
        self.committed = assignment.start
        self.postable_at = postable_at
        self.posting: set[int] = set()
        self.backlog: deque[Record] = deque()
        self.changed = taken.refused is None
        self.settled = False
        self.paused = True
        self.closing = False
        self.handed_over = False
        self._clean = False

    @property
    def in_flight(self) -> int:
        """Records taken up whose outcome is not committed."""
        return len(self.offsets.unfinished) - self.offsets.awaited

    @property
    def next_is_inherited(self) -> bool:
        """Whether the next record to be taken up had been taken up by an earlier owner already."""
        return bool(self.backlog) and self.backlog[0].offset < self.inherited.end

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
        if mark == BLANK:
            self.marks.pop(offset, None)
        else:
            self.marks[offset] = mark
        self.changed = True

    def forget(self, offsets: Collection[int]) -> None:
        """These are finished: nothing needs to be known of them any more."""
        for offset in offsets:
            self.marks.pop(offset, None)

    def hand_over(self, now: float, *, crashed: bool) -> None:
        """The owner's last word: it has ended its work in order. A `crashed` worker says nothing of the kind, so that what has
        made it crash is not taken for innocent."""
        self.changed = self.handed_over = True
        if crashed:
            return
        self._clean = may_hand_over_clean(now, self.postable_at)
        for offset, mark in self.marks.items():
            self.marks[offset] = unclaimed(mark)
        self.forget([offset for offset, mark in self.marks.items() if mark == BLANK])

    def position_after(self, finished: Collection[int], budget: int) -> Position | None:
        """The offset and the ledger to commit once these are finished too; None: the ledger does not fit into `budget`."""
        inherited = self.inherited
        ledger = ledger_of(inherited.place, inherited.job, self.offsets, self.marks, finished, clean=self._clean)
        ledger = replace(ledger, unclean=unclean_takeovers(inherited, ledger.offset))
        metadata = encode_within(ledger, budget)
        return None if metadata is None else Position(ledger.offset, metadata)


class Partitions:
    """All owned partitions. What belongs to an assignment that is over finds nothing here and dies silently.

    `job`: the `job_fingerprint` of this worker. `wait`: seconds that a new owner waits before its first POST (rule 5b).
    `discard`: unreadable ledgers count as none.
    """

    def __init__(self, job: bytes = bytes(6), wait: float = 0.0, *, discard: bool = False) -> None:
        self._job = job
        self._wait = wait
        self._discard = discard
        self._owned: dict[TopicPartition, Partition] = {}
        self._longest_id: int | None = None
        self.budget = DEFAULT_BUDGET - _TRAILING_ZERO

    def __len__(self) -> int:
        return len(self._owned)

    def items(self) -> ItemsView[TopicPartition, Partition]:
        """Every owned partition."""
        return self._owned.items()

    def values(self) -> ValuesView[Partition]:
        """Every owned partition's state."""
        return self._owned.values()

    @property
    def record_limit(self) -> int:
        """How many records of one partition may be in work so that its ledger fits; 0: the brokers take too little metadata."""
        return in_flight_limit(self.budget, self._longest_id)

    def assign(self, assignments: Mapping[TopicPartition, Assignment], now: float) -> Sequence[TakenOver]:
        """Take partitions over; an older assignment of the same partition is forgotten. `now` by the lease's clock."""
        found = []
        for where, assignment in assignments.items():
            taken = take_over(where, assignment, self._job, discard=self._discard)
            self._owned[where] = Partition(assignment, taken, now if taken.waived else now + self._wait)
            for entry in taken.ledger.entries:
                self.learn(entry.mark.request_id)
            found.append(taken)
        return found

    def learn(self, request_id: str | None) -> None:
        """An id that ledgers will hold: the longest one decides how many fit."""
        if request_id is not None:
            self._longest_id = max(self._longest_id or 0, stored_length(request_id))

    def shrink(self) -> None:
        """The broker refuses metadata of the present budget."""
        self.budget = smaller(self.budget)

    def drop(self, gone: Collection[TopicPartition]) -> Mapping[TopicPartition, Partition]:
        """Forget partitions; unknown ones are ignored. Returns those that were owned."""
        return {where: self._owned.pop(where) for where in gone if where in self._owned}

    def of(self, record: Record) -> Partition | None:
        """The partition of a record, or None if the assignment under which the record was fetched is over."""
        partition = self._owned.get(record.source)
        return partition if partition and partition.number == record.assignment else None
