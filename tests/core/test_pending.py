"""What committed offsets say of pending jobs."""

from dataclasses import replace

import pytest

from worker.core.ledger import BLANK, Entry, Ledger, Mark, Place
from worker.core.ledger_codec import encode
from worker.core.pending import PartitionState, Standing, Totals, expires_in, state_of, totals
from worker.model import Position, TopicPartition

NOW = 1_800_000_000.0
WHERE = TopicPartition("texts", 3)
PLACE = Place("cluster", "topic-id", 3)
JOB = b"worker"
A_JOB = Mark("0f8fad5b-d9cb-469f-a165-70867728950e", NOW - 100.0, 2)
OLD_JOB = Mark("7c9e6679-7425-40de-944b-e07fc1f90ae7", NOW - 3700.0, 1)
INTENT = Mark(None, NOW - 1.0, 1, intent=True)
REPLACING = Mark("16fd2706-8baf-433b-82eb-8c7fada847da", NOW - 2.0, 2, intent=True)
CLAIM = Mark(claims=1)


def ledger(*marks: Mark, **changed: object) -> Ledger:
    entries = tuple(Entry(40 + 2 * n, mark) for n, mark in enumerate(marks))
    made = Ledger(PLACE, 40, JOB, entries, 40 + 2 * len(entries))
    return replace(made, **changed)  # type: ignore[arg-type]


def state(found: Ledger | str, offset: int = 40) -> PartitionState:
    metadata = found if isinstance(found, str) else encode(found)
    return state_of(WHERE, Position(offset, metadata), "cluster", "topic-id", JOB)


def test_jobs_intents_and_claims_are_told_and_records_of_which_nothing_is_known_are_counted() -> None:
    found = state(ledger(A_JOB, BLANK, INTENT, REPLACING, CLAIM, unclean=2))
    assert [entry.mark for entry in found.entries] == [A_JOB, INTENT, REPLACING, CLAIM]
    assert [entry.offset for entry in found.entries] == [40, 44, 46, 48]
    assert (found.standing, found.problem, found.unfinished) == (Standing.LEDGER, None, 5)
    assert found.jobs == [A_JOB]
    assert (found.handed_over, found.unclean_takeovers) == (False, 2)
    assert state(ledger(clean=True)).handed_over


def test_a_partition_without_a_committed_offset_has_nothing() -> None:
    assert state_of(WHERE, None, "cluster", "topic-id", JOB) == PartitionState(WHERE, Standing.NOTHING)


@pytest.mark.parametrize(
    ("metadata", "standing", "words"),
    [
        ("", Standing.NONE, "no ledger (no metadata): everything from its offset on is done again"),
        ("mirrored", Standing.NONE, "no ledger (another program's metadata)"),
        ("ewl9abc", Standing.UNREADABLE, "a newer worker wrote it"),
        ("ewl1abc", Standing.UNREADABLE, "it is damaged"),
        ("ewl1" + "A" * 70_000, Standing.UNREADABLE, "more than any ledger has"),
    ],
)
def test_what_is_no_usable_ledger_is_told_with_what_follows(metadata: str, standing: Standing, words: str) -> None:
    found = state(metadata)
    assert (found.standing, found.offset, found.entries) == (standing, 40, ())
    assert found.problem is not None
    assert words in found.problem


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (replace(PLACE, cluster="another"), "another cluster: everything from its offset on is done again"),
        (
            replace(PLACE, topic="another"),
            "another topic: its topic was made anew, a worker begins at the first record",
        ),
        (replace(PLACE, partition=4), "another partition: everything"),
    ],
)
def test_a_ledger_that_belongs_elsewhere_is_void(place: Place, words: str) -> None:
    found = state(ledger(A_JOB, place=place))
    assert (found.standing, found.jobs) == (Standing.VOID, [])
    assert found.problem is not None
    assert words in found.problem


def test_jobs_made_under_other_settings_are_shown_and_told() -> None:
    found = state(ledger(A_JOB, job=b"others"))
    assert found.jobs == [A_JOB]
    assert found.problem is not None
    assert "under other settings" in found.problem
    assert state(ledger(BLANK, CLAIM, job=b"others")).problem is None


def test_totals_name_the_oldest_the_next_expiry_and_what_is_expired() -> None:
    states = [state(ledger(A_JOB, OLD_JOB, INTENT)), state(ledger(CLAIM)), state(""), state(ledger())]
    assert totals(states, NOW) == Totals(4, 1, 2, 3700.0, 3500.0, 1, 1, 1, 1)
    assert totals([], NOW) == Totals(0, 0, 0, None, None, 0, 0, 0, 0)
    assert expires_in(OLD_JOB, NOW) == -100.0
