"""One try to commit: a batch as it was built, and what the committed offsets say of it afterwards."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.core.partition import Partition
from worker.errors import CommitAborted
from worker.gate.outbox import Ready
from worker.model import Position, TopicPartition


@dataclass(frozen=True, slots=True)
class Attempt:
    """One batch, as it was built: the outcomes in it, the partitions whose position it has, who waits for the ledger of each."""

    outcomes: Sequence[Ready]
    partitions: Mapping[TopicPartition, Partition]
    positions: Mapping[TopicPartition, Position]
    recorded: Mapping[TopicPartition, Sequence["asyncio.Future[None]"]]

    @property
    def carried(self) -> Sequence[Ready]:
        """The outcomes that have a message, in the order of the messages."""
        return [ready for ready in self.outcomes if ready.outcome.message]

    def is_in(self, found: Mapping[TopicPartition, Position]) -> bool:
        """Whether the batch stands, where these are the committed positions of partitions that are still owned: each is either
        what stood before the batch, or what it carried. Raises CommitAborted where one is neither."""
        stands = False
        for where, position in found.items():
            if position == self.partitions[where].committed:
                continue
            if position != self.positions[where]:
                raise CommitAborted(
                    f"the committed offset of {where} is not one that this worker has committed: restart it if that lasts"
                )
            stands = True
        return stands


def attempt_of(
    outcomes: Sequence[Ready],
    partitions: Mapping[TopicPartition, Partition],
    recorded: Mapping[TopicPartition, Sequence["asyncio.Future[None]"]],
    budget: int,
) -> Attempt:
    """A batch of these outcomes with the ledgers of these partitions, as far as each fits into `budget` characters; the others,
    and their outcomes, are left out."""
    finished: defaultdict[TopicPartition, set[int]] = defaultdict(set)
    for ready in outcomes:
        finished[ready.record.source].add(ready.record.offset)
    made = {where: partition.position_after(finished[where], budget) for where, partition in partitions.items()}
    positions = {where: position for where, position in made.items() if position is not None}
    for where in positions:
        partitions[where].changed = False
    return Attempt(
        [ready for ready in outcomes if ready.record.source in positions],
        {where: partitions[where] for where in positions},
        positions,
        {where: recorded[where] for where in positions},
    )
