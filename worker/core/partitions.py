"""All partitions that this worker owns."""

from collections.abc import Collection, ItemsView, Mapping, Sequence, ValuesView

from worker.core.ledger_capacity import DEFAULT_BUDGET, in_flight_limit, smaller, stored_length
from worker.core.ledger_codec import UUID_BYTES
from worker.core.partition import Partition
from worker.core.takeover import (
    TakenOver,
    take_over,
)
from worker.model import Assignment, Reason, Record, TopicPartition

_TRAILING_ZERO = 1
"""Character that librdkafka's client adds to metadata, and that the broker counts."""


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
