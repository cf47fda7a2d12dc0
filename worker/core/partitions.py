"""The partitions that this worker owns, and what is going on in each of them."""

from collections import deque
from collections.abc import Collection, ItemsView, Iterable, Mapping, Sequence, ValuesView
from dataclasses import replace

from worker.core.ledger import BLANK, Ledger, Mark, ledger_of, unclaimed
from worker.core.ledger_codec import DEFAULT_BUDGET, UUID_BYTES, decode, in_flight_limit, smaller, stored_length
from worker.core.ledger_fit import encode_within
from worker.core.ordering import KeyOrder
from worker.core.spending import Cost, Spent
from worker.core.takeover import (
    TakenOver,
    restored,
    suspects,
    take_over,
    unclean_takeovers,
)
from worker.model import Assignment, Outcome, Position, Reason, Record, TopicPartition

_TRAILING_ZERO = 1
"""Character that librdkafka's client adds to metadata, and that the broker counts."""


class Partition:
    """One partition under one assignment: its offsets, its marks (the pending map: what is known of each unfinished offset), the
    order of its keys, and the fetched records not yet taken up.

    `suspected`: offsets taken up one at a time. `posting`: offsets whose POST is under way. `changed`: the ledger says something
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

    def position_after(self, finished: Collection[int], budget: int) -> Position | None:
        """The offset and the ledger to commit once these are finished too; None: the ledger does not fit into `budget`."""
        inherited = self.inherited
        made = ledger_of(inherited.place, inherited.job, self.offsets, self.marks, finished)
        unclean = unclean_takeovers(inherited, made.offset)
        ledger = replace(
            made,
            unclean=unclean,
            clean=self._clean,
            waiting=self._waiting,
            spent=self.spent_after(finished),
            exceeded=self.exceeded,
        )
        metadata = encode_within(ledger, budget, self._recorded(budget), strict=self._strict)
        return None if metadata is None else Position(ledger.offset, metadata)

    def _recorded(self, budget: int) -> Collection[str]:
        """The request_ids that the committed ledger has; looked up only where they might not fit."""
        if len(self.marks) <= in_flight_limit(budget, None):
            return ()
        found = decode(self.committed.metadata, self.inherited.place, self.committed.offset)
        entries = found.entries if isinstance(found, Ledger) else ()
        return {entry.mark.request_id for entry in entries if entry.mark.request_id is not None}


class Partitions:
    """All owned partitions. What belongs to an assignment that is over finds nothing here and dies silently.

    `job`: the `job_fingerprint` of this worker. `wait`: seconds that a new owner waits before its first POST (rule 5b).
    `metadata_limit`: characters that the brokers take. `discard`: unreadable ledgers count as none. `strict`: no submit of
    unknown fate is repeated.
    """

    def __init__(
        self,
        job: bytes = bytes(6),
        wait: float = 0.0,
        metadata_limit: int = DEFAULT_BUDGET,
        *,
        discard: bool = False,
        strict: bool = False,
    ) -> None:
        self._job = job
        self._wait = wait
        self._discard = discard
        self._strict = strict
        self._owned: dict[TopicPartition, Partition] = {}
        self._longest_id: int | None = None
        self.budget = metadata_limit - _TRAILING_ZERO

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

    @property
    def stuck_limit(self) -> int:
        """The same for records that are stuck without a job. Should many of them get one at once all the same, the newest ids are
        left out of the ledger until there is room (see `ledger_fit`)."""
        return in_flight_limit(self.budget, 0)

    def assign(self, assignments: Mapping[TopicPartition, Assignment], now: float) -> Sequence[TakenOver]:
        """Take partitions over; an older assignment of the same partition is forgotten. `now` by the lease's clock."""
        found = []
        for where, assignment in assignments.items():
            taken = take_over(where, assignment, self._job, discard=self._discard)
            postable_at = now if taken.waived else now + self._wait
            self._owned[where] = Partition(assignment, taken, postable_at, strict=self._strict)
            for entry in taken.ledger.entries:
                self.learn(entry.mark.request_id)
            found.append(taken)
        return found

    def learn(self, request_id: str | None) -> None:
        """An id that ledgers will hold: the longest one decides how many fit."""
        if request_id is not None:
            self._longest_id = max(self._longest_id or 0, stored_length(request_id))

    def expects(self, request_id: str) -> bool:
        """Whether an id is no longer than a UUID, or than one that the API has given."""
        return stored_length(request_id) <= max(self._longest_id or 0, UUID_BYTES)

    def shrink(self) -> None:
        """The broker refuses metadata of the present budget."""
        self.budget = smaller(self.budget)

    def exceed(self, reason: Reason | None) -> bool:
        """There are too many dead letters of this reason (None: not any more). Returns whether a ledger says something new."""
        news = [
            partition for partition in self._owned.values() if partition.exceeded != reason and not partition.refused
        ]
        for partition in news:
            partition.exceeded, partition.changed = reason, True
        return bool(news)

    def numbers(self, partitions: Collection[TopicPartition] | None = None) -> Mapping[TopicPartition, int]:
        """The assignment numbers of these (None: of all) as far as they are owned."""
        return {
            where: partition.number
            for where, partition in self._owned.items()
            if partitions is None or where in partitions
        }

    def drop(self, gone: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, Partition]:
        """Forget partitions, each under the number that it was known by: a newer assignment of it stays. Returns those."""
        known = [
            where for where, number in gone.items() if where in self._owned and self._owned[where].number == number
        ]
        return {where: self._owned.pop(where) for where in known}

    def of(self, record: Record) -> Partition | None:
        """The partition of a record, or None if the assignment under which the record was fetched is over."""
        partition = self._owned.get(record.source)
        return partition if partition and partition.number == record.assignment else None
