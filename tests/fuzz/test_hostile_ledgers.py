"""Whatever is committed with an offset: it is taken for a ledger, or for none, or its partition stands and that is said."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.flow.harness import INPUT
from tests.fuzz.house import EXAMPLES, NOW, HostileHouse, in_hostile_house
from tests.integration.events import encoded
from worker.core.ledger import Entry, Finished, Ledger, Mark, Place, job_of
from worker.core.ledger_codec import decode, encode
from worker.model import Position, TopicPartition
from worker.settings import load

RECORDS = 12
JOB = job_of(load({}).api, load({}).input, "")
WHERE = TopicPartition(INPUT, 0)
IDS = st.none() | st.sampled_from(["00000000-0000-0000-0000-000000000001", "gone", "x" * 128])
MARKS = st.builds(
    Mark,
    IDS,
    st.floats(0, NOW + 1e6) | st.just(NOW),
    st.integers(0, 255),
    intent=st.booleans(),
    claims=st.integers(0, 2),
)
Made = Callable[[Place], tuple[int, str]]


@st.composite
def ledgers(draw: Any) -> Made:
    """A ledger that its own encoder has written, of this place or of another one, with any marks."""
    offsets = sorted(draw(st.sets(st.integers(0, RECORDS - 1), max_size=8)))
    marks = [draw(MARKS) for _ in offsets]
    start = offsets[0] if offsets else draw(st.integers(0, RECORDS))
    end = draw(st.integers(offsets[-1] + 1, RECORDS)) if offsets else start
    entries = tuple(Entry(*pair) for pair in zip(offsets, marks, strict=True))
    job = draw(st.sampled_from([JOB, bytes(6)]))
    unclean, clean, waiting = draw(st.integers(0, 63)), draw(st.booleans()), draw(st.booleans())
    elsewhere = draw(st.sampled_from([{}, {}, {}, {"cluster": "another"}, {"partition": 7}]))

    def made(place: Place) -> tuple[int, str]:
        found = Place(**({"cluster": place.cluster, "topic": place.topic, "partition": place.partition} | elsewhere))
        return start, encode(Ledger(found, start, job, entries, end, unclean, clean, waiting))

    return made


def written(offset: int, text: str) -> Made:
    """Any text."""
    return lambda place: (offset, text)


def damaged(make: Made, at: int, character: str) -> Made:
    """A ledger in which a character is another one."""

    def made(place: Place) -> tuple[int, str]:
        offset, text = make(place)
        at_most = min(at, len(text) - 1)
        return offset, text[:at_most] + character + text[at_most + 1 :]

    return made


OFFSETS = st.integers(0, RECORDS)
METADATA = (
    ledgers()
    | st.builds(written, OFFSETS, st.text(max_size=80) | st.text(max_size=80).map("ewl1{}".format) | st.just("ewl2abc"))
    | st.builds(damaged, ledgers(), st.integers(0, 200), st.sampled_from("Aa/+=\u00fc"))
)


async def taken_over(house: HostileHouse, make: Made, *, discarded: bool) -> None:
    """Start a worker on this and wait for its end, or for the sentence that says why there is none."""
    for number in range(RECORDS):
        house.broker.publish(INPUT, f"k{number}".encode(), encoded(f"text {number}"))
    place = Place(house.broker.cluster, house.broker.topic_id(INPUT), 0)
    offset, metadata = make(place)
    house.commit_by_hand(Position(offset, metadata))
    found = decode(metadata, place, offset)
    note(f"committed: {offset} with {found}")
    worker = house.start()
    await house.clock.sleep(30.0)
    house.sentences.update(worker.not_ready())
    if worker.not_ready() and not discarded:
        assert type(found).__name__ == "Refused"
        assert any("cannot be read" in sentence and sentence.isprintable() for sentence in worker.not_ready())
        assert not house.outcomes()
        assert house.committed() == Position(offset, metadata)
        return
    await house.until_all_is_done(worker, 7200.0)
    finished = (
        {number for number in range(RECORDS) if isinstance(found.recall(number), Finished)}
        if isinstance(found, Ledger)
        else set()
    )
    assert house.endings() == {(0, number): 1 for number in range(offset, RECORDS) if number not in finished}
    assert worker.in_flight == 0


@pytest.mark.parametrize("unknown", ["resubmit", "dead_letter"])
@settings(EXAMPLES, max_examples=60)
@given(make=METADATA)
def test_any_metadata_is_worked_from_or_stands_and_is_told(unknown: str, make: Made) -> None:
    in_hostile_house(
        lambda house: taken_over(house, make, discarded=False),
        partitions=1,
        environment={"WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT": unknown},
    )


@settings(EXAMPLES, max_examples=40)
@given(make=METADATA)
def test_any_metadata_is_worked_from_where_unreadable_ledgers_are_discarded(make: Made) -> None:
    in_hostile_house(
        lambda house: taken_over(house, make, discarded=True),
        partitions=1,
        environment={"WORKER_GUARANTEES__ON_UNREADABLE_LEDGER": "discard"},
    )
