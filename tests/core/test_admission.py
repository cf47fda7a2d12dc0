from collections.abc import Callable

import pytest

from worker.core.admission import may_start, pauses
from worker.core.ledger import Entry, Ledger, Mark, Place
from worker.core.ledger_codec import encode
from worker.core.partition import Partition
from worker.core.partitions import Partitions
from worker.core.takeover import first_metadata
from worker.model import Assignment, Position, Record, TopicPartition
from worker.settings.sections import LimitsSettings

WHERE = TopicPartition("texts", 0)
JOB = bytes(6)


def record(offset: int, size: int = 10) -> Record:
    return Record(WHERE, offset, 0, None, bytes(size), (), 1)


def owned(metadata: str = "", offset: int = 0) -> tuple[Partitions, Partition]:
    """A partition whose takeover is committed."""
    partitions = Partitions(JOB)
    partitions.assign({WHERE: Assignment(1, Position(offset, metadata or first_metadata("", "", 0, offset)))}, 0.0)
    (partition,) = partitions.values()
    partition.settled = True
    return partitions, partition


def inherited(*offsets: int, end: int, unclean: int = 0) -> tuple[Partitions, Partition]:
    """One whose ledger lists these unfinished offsets."""
    entries = tuple(Entry(offset, Mark("job", 1.0, 1)) for offset in offsets)
    return owned(encode(Ledger(Place("", "", 0), offsets[0], JOB, entries, end, unclean)), offsets[0])


def take_up(partition: Partition, *offsets: int) -> None:
    for offset in offsets:
        partition.offsets.started(offset)


def test_a_record_is_taken_up_where_there_is_room() -> None:
    _, partition = owned()
    assert not may_start(partition, LimitsSettings(), 120)  # nothing has come
    partition.backlog.append(record(0))
    assert may_start(partition, LimitsSettings(), 120)


@pytest.mark.parametrize(
    "closed",
    [lambda partition: setattr(partition, "closing", True), lambda partition: setattr(partition, "settled", False)],
)
def test_none_is_taken_up_before_the_takeover_is_committed_or_once_the_partition_goes(
    closed: Callable[[Partition], None],
) -> None:
    _, partition = owned()
    partition.backlog.append(record(0))
    closed(partition)
    assert not may_start(partition, LimitsSettings(), 120)


@pytest.mark.parametrize(("setting", "ledger", "allowed"), [(5, 120, 5), (120, 3, 3), (120, 0, 0)])
def test_in_flight_is_bounded_by_the_setting_and_by_what_the_ledger_holds(
    setting: int, ledger: int, allowed: int
) -> None:
    _, partition = owned()
    limits = LimitsSettings(in_flight_per_partition=setting)
    started = 0
    while True:
        partition.backlog.append(record(started))
        if not may_start(partition, limits, ledger):
            break
        take_up(partition, started)
        partition.backlog.clear()
        started += 1
    assert started == allowed


def test_the_span_of_unfinished_offsets_is_bounded() -> None:
    _, partition = owned()
    limits = LimitsSettings(offset_span=50)
    take_up(partition, *range(50))
    for offset in range(1, 50):
        partition.offsets.finished(offset)
    partition.backlog.append(record(50))
    assert not may_start(partition, limits, 120)
    partition.offsets.finished(0)
    assert may_start(partition, limits, 120)


def test_what_an_earlier_owner_had_taken_up_has_its_place_whatever_the_limits_are_now() -> None:
    _, partition = inherited(0, 1, 2, 3, end=4)
    take_up(partition, 0, 1, 2)
    partition.backlog.append(record(3))
    assert may_start(partition, LimitsSettings(in_flight_per_partition=1, offset_span=1), 0)
    partition.backlog[0] = record(4)
    assert not may_start(partition, LimitsSettings(in_flight_per_partition=1), 120)


def test_what_was_in_work_in_three_crashes_is_suspect() -> None:
    for unclean, suspect in ((2, False), (3, True)):
        _, partition = inherited(0, 1, 2, end=3, unclean=unclean - 1)  # this takeover is one more
        partition.backlog.append(record(2))
        assert partition.next_is_suspect is suspect


def test_a_partition_is_fetched_until_its_backlog_is_twice_its_limit_and_again_when_that_has_halved() -> None:
    partitions, partition = owned()
    limits = LimitsSettings(in_flight_per_partition=10)
    assert pauses(partitions, limits, 0, is_open=True) == ([], [WHERE])
    partition.backlog.extend(map(record, range(20)))
    assert pauses(partitions, limits, 0, is_open=True) == ([], [])
    partition.backlog.append(record(20))
    assert pauses(partitions, limits, 0, is_open=True) == ([WHERE], [])
    assert pauses(partitions, limits, 0, is_open=True) == ([], [])
    for _ in range(10):
        partition.backlog.popleft()
    assert pauses(partitions, limits, 0, is_open=True) == ([], [])
    partition.backlog.popleft()
    assert pauses(partitions, limits, 0, is_open=True) == ([], [WHERE])


def test_everything_is_paused_above_the_limit_of_bytes_and_resumed_below_half_of_it() -> None:
    partitions, _ = owned()
    limits = LimitsSettings(bytes=2_000_000)
    assert pauses(partitions, limits, 1_000_001, is_open=True) == ([], [])
    assert pauses(partitions, limits, 1_000_000, is_open=True) == ([], [WHERE])
    assert pauses(partitions, limits, 2_000_000, is_open=True) == ([], [])
    assert pauses(partitions, limits, 2_000_001, is_open=True) == ([WHERE], [])


def test_a_closed_worker_and_a_partition_that_goes_fetch_nothing_more() -> None:
    partitions, partition = owned()
    assert pauses(partitions, LimitsSettings(), 0, is_open=False) == ([], [])
    pauses(partitions, LimitsSettings(), 0, is_open=True)
    assert pauses(partitions, LimitsSettings(), 0, is_open=False) == ([WHERE], [])
    pauses(partitions, LimitsSettings(), 0, is_open=True)
    partition.closing = True
    assert pauses(partitions, LimitsSettings(), 0, is_open=True) == ([WHERE], [])
