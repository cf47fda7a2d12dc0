"""Input and dead-letter topics for tests of replays, and what came of them."""

from collections import Counter
from typing import Any

from tests.core.letters import dead_record
from tests.fakes.replays import FakeBroker, Killed
from worker.core.dead_letters import Event, event_of
from worker.core.letter_filter import LetterFilter
from worker.core.replay_plan import FORCIBLE, Terms
from worker.errors import ReplayInterrupted, StartError
from worker.model import TopicPartition
from worker.replay import Order, Proposal, Summary

INPUT, DEAD = "texts", "dead"


def place(number: int, topic: str = INPUT) -> TopicPartition:
    """A partition."""
    return TopicPartition(topic, number)


def broker(partitions: int = 2) -> FakeBroker:
    """Empty topics."""
    made = FakeBroker()
    made.topic(INPUT, partitions)
    made.topic(DEAD, partitions)
    made.topic("staging", 1)
    return made


def fail(made: FakeBroker, key: bytes | None, value: bytes | None = b"v", *, partition: int = 0, **facts: Any) -> Event:
    """An event on the input, and its dead letter."""
    original = facts.pop("original", value)
    offset = made.append(place(partition), key, original, (("traceparent", b"00-1"),))
    letter = dead_record(
        offset, key=key, value=value, partition=partition, carried=(("traceparent", b"00-1"),), **facts
    )
    made.append(place(partition, DEAD), letter.key, letter.value, letter.headers)
    return Event(place(partition), offset)


def order(
    chosen: LetterFilter | None = None, *, force: bool = False, limit: int | None = None, to: str | None = None
) -> Order:
    """What is asked for."""
    kinds = FORCIBLE if force else frozenset()
    return Order(Terms((INPUT,), chosen or LetterFilter(), to, kinds), (DEAD,), limit)


def replayed(made: FakeBroker, topic: str = INPUT) -> Counter[Event]:
    """How often each event stands there as a replay."""
    found = [record for record in made.records(topic) if any(name == "dlq.replays" for name, _ in record.headers)]
    return Counter(event_of(record) for record in found)


def until_finished(made: FakeBroker, proposal: Proposal, tries: int = 60) -> Summary:
    """Run, and resume after every interruption, each time in a new process."""
    plan_id = proposal.plan.id
    for _ in range(tries):
        process = made.replay()
        try:
            return process.resume(plan_id) if plan_id in made.groups else process.run(proposal)
        except (Killed, ReplayInterrupted, StartError):
            continue
    raise AssertionError("never finished")
