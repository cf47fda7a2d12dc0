"""How many records a partition may have in work, so that its ledger fits."""

from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.core.ledger import Entry, Ledger, Mark, Place, job_fingerprint, ledger_of
from worker.core.ledger_capacity import DEFAULT_BUDGET, MOST_RECORDS, in_flight_limit, smaller, stored_length
from worker.core.ledger_codec import encode
from worker.core.offset_runs import WIDEST_SPAN, OffsetRuns
from worker.core.spending import MOST, Spent
from worker.model import Reason

PLACE = Place("MkU3OEVBNTcwNTJENDM2Qk", "xTPH5yZnQ0CGTBuW1eJ8VA", 3)
JOB = job_fingerprint("gemini-embedding-001", "https://api.example", 768, None)
UUIDS = st.uuids().map(str)
NEWEST = 1_800_000_000


@pytest.mark.parametrize(
    ("budget", "longest", "limit"),
    [
        (4096, 16, 120),
        (4096, None, 22),
        (512, 16, 13),
        (256, 16, 5),
        (256, None, 1),
        (255, None, 1),
        (128, None, 0),
        (4096, 129, 22),
        (10**9, 16, 120),
        (10**9, 129, 120),
        (0, 16, 0),
    ],
)
def test_how_many_records_may_be_in_flight(budget: int, longest: int | None, limit: int) -> None:
    assert in_flight_limit(budget, longest) == limit


def test_a_broker_with_less_room_is_met_by_halving() -> None:
    assert smaller(DEFAULT_BUDGET) == 2048
    assert smaller(smaller(smaller(DEFAULT_BUDGET))) == 512


def worst(count: int, longest: int, run: int) -> Ledger:
    """Every record with an id of the greatest length, an intent, a claim, and the widest runs between them."""
    request_id = "ffffffff-ffff-ffff-ffff-ffffffffffff" if longest == 16 else "x" * (longest - 1)
    start = 2**63 - 1 - count * (run + 1)
    entries = tuple(
        Entry(start + i * (run + 1), Mark(request_id, float(i), 255, intent=True, claims=2)) for i in range(count)
    )
    spent = Spent(2**24 - 1, MOST, MOST)
    return Ledger(PLACE, start, JOB, entries, 2**63 - 1, 63, True, True, spent, Reason.UNKNOWN_SUBMIT)


@given(st.integers(0, 6000), st.one_of(st.just(16), st.integers(2, 129)))
@example(4096, 16)
@example(512, 16)
@example(4096, 129)
def test_the_worst_ledger_within_the_limit_fits(budget: int, longest: int) -> None:
    count = in_flight_limit(budget, longest)
    assert count == 0 or len(encode(worst(count, longest, WIDEST_SPAN - 1))) <= budget
    if 0 < count < MOST_RECORDS:
        assert len(encode(worst(count + 1, longest, WIDEST_SPAN - 1))) > budget, "the limit is lower than it need be"


@settings(max_examples=40)
@given(
    budget=st.sampled_from([256, 300, 512, 1024, 4096]),
    start=st.one_of(st.just(0), st.integers(0, 2**62)),
    gaps=st.lists(st.one_of(st.just(0), st.integers(0, 20_000), st.integers(0, 2**30)), min_size=130, max_size=200),
    ids=st.lists(UUIDS, min_size=1, max_size=3),
    data=st.data(),
)
def test_whatever_is_admitted_fits(
    budget: int, start: int, gaps: list[int], ids: list[str], data: st.DataObject
) -> None:
    offsets = OffsetRuns(start)
    pending: dict[int, Mark] = {}
    position = start
    limit = in_flight_limit(budget, 16)
    for index, gap in enumerate(gaps):
        position += gap
        while not offsets.admits(position, limit):
            lowest, *_, highest = [*offsets.unfinished, *offsets.unfinished]
            offsets.finished(data.draw(st.sampled_from([lowest, highest])))
        offsets.started(position)
        pending[position] = Mark(ids[index % len(ids)], NEWEST + index, 3, intent=True, claims=2)
        position += 1
        assert len(encode(ledger_of(PLACE, JOB, offsets, pending))) <= budget


def test_the_stored_length_of_an_id_is_what_the_codec_writes() -> None:
    assert stored_length(str(UUID(int=7))) == 16
    assert stored_length(str(UUID(int=0xABCDEF << 96)).upper()) == 37
    assert stored_length("x") == 2
