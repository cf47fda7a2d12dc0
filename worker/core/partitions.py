"""The partitions that this worker owns, and what is going on in each of them."""

from collections import deque
from collections.abc import Collection, ItemsView, Mapping, ValuesView

from worker.core.offsets import OffsetTracker
from worker.model import Assignment, Job, Record, TopicPartition


class Partition:
    """One partition under one assignment: its offsets, the offsets whose POST is under way, its pending map (offset to job),
    and the fetched records not yet taken up. `closing`: no POST starts any more."""

    def __init__(self, assignment: Assignment) -> None:
        self.number = assignment.number
        self.offsets = OffsetTracker(assignment.start.offset)
        self.posting: set[int] = set()
        self.pending: dict[int, Job] = {}
        self.backlog: deque[Record] = deque()
        self.paused = True
        self.closing = False

    @property
    def in_flight(self) -> int:
        """Records taken up whose outcome is not committed."""
        return len(self.offsets.unfinished)


class Partitions:
    """All owned partitions. What belongs to an assignment that is over finds nothing here and dies silently."""

    def __init__(self) -> None:
        self._owned: dict[TopicPartition, Partition] = {}

    def __len__(self) -> int:
        return len(self._owned)

    def items(self) -> ItemsView[TopicPartition, Partition]:
        """Every owned partition."""
        return self._owned.items()

    def values(self) -> ValuesView[Partition]:
        """Every owned partition's state."""
        return self._owned.values()

    def assign(self, assignments: Mapping[TopicPartition, Assignment]) -> None:
        """Take partitions over; an older assignment of the same partition is forgotten."""
        for where, assignment in assignments.items():
            self._owned[where] = Partition(assignment)

    def drop(self, gone: Collection[TopicPartition]) -> Mapping[TopicPartition, Partition]:
        """Forget partitions; unknown ones are ignored. Returns those that were owned."""
        return {where: self._owned.pop(where) for where in gone if where in self._owned}

    def of(self, record: Record) -> Partition | None:
        """The partition of a record, or None if the assignment under which the record was fetched is over."""
        partition = self._owned.get(record.source)
        return partition if partition and partition.number == record.assignment else None
