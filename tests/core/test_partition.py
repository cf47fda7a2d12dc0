"""What an owner says of a partition when it hands it over."""

import pytest

from worker.core.ledger import INTENT, Ledger, Mark, Place
from worker.core.ledger_codec import decode
from worker.core.partition import Partition
from worker.core.takeover import take_over
from worker.model import Assignment, Position, TopicPartition

WHERE = TopicPartition("topic", 3)


def partition(*, strict: bool = False) -> Partition:
    """Just taken over, its first POST allowed from 10 s on."""
    assignment = Assignment(1, Position(0, ""), "cluster", "topic")
    return Partition(assignment, take_over(WHERE, assignment, bytes(6), discard=False), 10.0, strict=strict)


def last_word(of: Partition) -> Ledger:
    position = of.position_after((), 4096)
    assert position
    found = decode(position.metadata, Place("cluster", "topic", 3), position.offset)
    assert isinstance(found, Ledger)
    return found


@pytest.mark.parametrize(("now", "posting", "waiting"), [(9.0, False, True), (11.0, False, False), (11.0, True, True)])
def test_the_next_owner_has_to_wait_where_this_one_had_to_or_where_a_post_is_still_under_way(
    now: float, posting: bool, waiting: bool
) -> None:
    handed = partition()
    handed.offsets.started(0)
    if posting:
        handed.posting.add(0)
    handed.hand_over(now, crashed=False)
    assert (last_word(handed).clean, last_word(handed).waiting) == (True, waiting)


def test_as_many_intents_are_let_in_as_the_ledger_has_room_for_and_more_when_one_has_gone() -> None:
    tight = partition(strict=True)
    for offset in range(100):
        tight.offsets.started(offset)
    let_in = [offset for offset in range(100) if tight.has_room(offset, 400)]
    assert 0 < len(let_in) < 100
    for offset in let_in:
        tight.set_mark(offset, INTENT)
    assert tight.position_after((), 400)
    tight.set_mark(let_in[-1] + 1, INTENT)
    assert tight.position_after((), 400) is None, "there was room for one more"
    tight.set_mark(let_in[-1] + 1, Mark())
    tight.set_mark(let_in[0], Mark())
    tight.intending.discard(let_in[0])
    assert tight.has_room(99, 400)
    assert not tight.has_room(98, 400)
