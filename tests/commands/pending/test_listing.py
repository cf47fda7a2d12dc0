"""The list of pending jobs, for people, for pipes and for programs."""

import io
import json

import pytest
from rich.console import Console

from worker.commands.pending.listing import Listing, kinds, span
from worker.commands.pending.states import Answers, Seen
from worker.core.ledger import Entry, Mark
from worker.core.pending import PartitionState, Standing
from worker.model import TopicPartition

NOW = 1_800_000_000.0
ID, OLD = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"
STATES = (
    PartitionState(
        TopicPartition("texts", 0),
        Standing.LEDGER,
        7,
        unfinished=4,
        entries=(
            Entry(7, Mark(ID, NOW - 725.0, 2)),
            Entry(9, Mark(OLD, NOW - 12_000.0, 1)),
            Entry(10, Mark(None, NOW - 1.0, 1, intent=True)),
            Entry(11, Mark(claims=1)),
        ),
    ),
    PartitionState(TopicPartition("texts", 1), Standing.NONE, 5, "it has no ledger [bold]"),
    PartitionState(TopicPartition("texts", 2), Standing.NOTHING),
)
ANSWERS = Answers({ID: Seen("FAILED", "an [error] of the API")}, "the limit is reached")


def shown(listing: Listing, *, terminal: bool) -> list[str]:
    stream = io.StringIO()
    listing.show(Console(file=stream, force_terminal=terminal, width=200, highlight=False, color_system=None))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_without_a_terminal_there_is_a_line_for_each_job_that_programs_can_split() -> None:
    lines = shown(Listing("g", "c", NOW, STATES), terminal=False)
    assert [line.split() for line in lines[:5]] == [
        ["topic", "partition", "offset", "request_id", "age", "attempt", "expires_in", "mark"],
        ["texts", "0", "7", ID, "12m05s", "2", "47m55s", "-"],
        ["texts", "0", "9", OLD, "3h20m", "1", "expired", "-"],
        ["texts", "0", "10", "-", "1s", "1", "-", "intent"],
        ["texts", "0", "11", "-", "-", "-", "-", "claimed"],
    ]
    summary = (
        "2 jobs in 1 of 3 partitions of g, the oldest 3h20m old, the next result expires in 47m55s, 1 expired, 1 intents, "
        "1 claimed, 1 partition without a committed offset"
    )
    assert lines[5:] == ["texts-1@5: it has no ledger [bold]", summary]


def test_a_line_is_never_cut_however_narrow_the_output_is() -> None:
    stream = io.StringIO()
    Listing("g", "c", NOW, STATES).show(Console(file=stream, width=20, highlight=False))
    assert any(ID in line and "47m55s" in line for line in stream.getvalue().splitlines())


def test_on_a_terminal_it_is_a_table() -> None:
    lines = shown(Listing("g", "c", NOW, STATES, ANSWERS), terminal=True)
    assert "request_id" in lines[1]
    assert any(ID in line and "FAILED: an [error] of the API" in line for line in lines)
    assert lines[-1] == "the limit is reached"


def test_nothing_pending_is_one_line() -> None:
    states = [PartitionState(TopicPartition("texts", 0), Standing.LEDGER, 0)]
    assert shown(Listing("g", "c", NOW, states), terminal=False) == ["0 jobs in 0 of 1 partition of g"]


def test_the_object_says_the_same() -> None:
    found = json.loads(json.dumps(Listing("g", "c", NOW, STATES, ANSWERS).as_object()))
    assert {name: found[name] for name in ("group", "cluster", "at", "fetch_stopped")} == {
        "group": "g",
        "cluster": "c",
        "at": "2027-01-15T08:00:00.000Z",
        "fetch_stopped": "the limit is reached",
    }
    first, second, third = found["partitions"]
    assert first["pending"][0] == {
        "offset": 7,
        "request_id": ID,
        "submitted_at": "2027-01-15T07:47:55.000Z",
        "age": 725.0,
        "attempt": 2,
        "expires_in": 2875.0,
        "intent": False,
        "claims": 0,
        "state": "FAILED",
        "detail": "an [error] of the API",
    }
    assert first["pending"][1]["expires_in"] == -8400.0
    assert first["pending"][3] | {"claims": 1} == dict.fromkeys(first["pending"][3]) | {
        "offset": 11,
        "intent": False,
        "claims": 1,
    }
    assert (second["ledger"], second["problem"]) == ("no ledger", "it has no ledger [bold]")
    assert (third["ledger"], third["offset"]) == ("no offset", None)
    assert found["totals"]["jobs"] == 2
    assert "state" not in Listing("g", "c", NOW, STATES).as_object()["partitions"][0]["pending"][0]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5.0, "0s"),
        (0.9, "0s"),
        (59.0, "59s"),
        (60.0, "1m00s"),
        (3599.9, "59m59s"),
        (3600.0, "1h00m"),
        (360_000.0, "100h00m"),
    ],
)
def test_spans_of_time_are_short_and_without_spaces(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_mark_can_be_two_things() -> None:
    assert kinds(Mark(ID, 1.0, 1, intent=True, claims=1)) == "intent+claimed"
