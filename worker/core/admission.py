"""Which records may be taken up, and which partitions are fetched: as many as the limits allow, and no others."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.core.partition import Partition
from worker.core.partitions import Partitions
from worker.model import TopicPartition
from worker.settings.sections import LimitsSettings


def may_start(partition: Partition, limits: LimitsSettings, record_limit: int) -> bool:
    """Whether the next record of the partition may be taken up. `record_limit`: how many its ledger is sure to hold."""
    if not partition.backlog or partition.closing or not partition.settled:
        return False
    offsets, head = partition.offsets, partition.backlog[0].offset
    if head < offsets.next_offset:
        return True  # an earlier owner had taken it up: it has its place in the ledger
    limit = min(limits.in_flight_per_partition, record_limit)
    return offsets.admits(head, limit) and offsets.span < limits.offset_span


@dataclass(frozen=True, slots=True)
class Stuck:
    """Records in work that have failed or been refused, and of which it is not known whose fault that is: how many (None: all
    that are in work). `jobless`: it is sure that no job of theirs runs."""

    records: int | None
    jobless: bool


def may_help(partition: Partition, partitions: Partitions, limits: LimitsSettings, stuck: Stuck) -> bool:
    """Whether the next record of the partition may be taken up where all in work are stuck: the limit of its partition holds
    unless those have no job, what its ledger holds in any case."""
    if not stuck.jobless:
        return may_start(partition, limits, partitions.record_limit)
    wider = limits.model_copy(update={"in_flight_per_partition": partitions.stuck_limit})
    return may_start(partition, wider, partitions.stuck_limit)


def pauses(
    partitions: Partitions, limits: LimitsSettings, held: int, *, is_open: bool
) -> tuple[Sequence[TopicPartition], Sequence[TopicPartition]]:
    """The partitions to pause and those to resume, when `held` bytes of records are in memory; they are marked so. The gap
    between the two marks keeps a partition from being paused and resumed for every record, because a pause throws prefetched
    records away. `is_open` False: nothing is fetched any more."""
    high = 2 * limits.in_flight_per_partition
    full, spare = held > limits.bytes, held <= limits.bytes // 2
    pause, resume = [], []
    for where, partition in partitions.items():
        waiting, done = len(partition.backlog), not is_open or partition.closing
        if not partition.paused and (done or waiting > high or full):
            partition.paused = True
            pause.append(where)
        elif partition.paused and not done and waiting <= high // 2 and spare:
            partition.paused = False
            resume.append(where)
    return pause, resume
