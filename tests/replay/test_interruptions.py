"""Each selected letter once and none else, whatever happens between two transactions or amid one."""

from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.replay.harness import DEAD, broker, fail, order, place, replayed, until_finished
from worker.core.dead_letters import Event
from worker.core.letter_filter import LetterFilter
from worker.core.replay_plan import Fate
from worker.errors import ReplayInterrupted, StartError
from worker.replay import running

FAULTS = ["", "kill before", "kill after", "abort", "lost", "stands", "fenced"]
REASONS = ["TIMEOUT", "API_ERROR", "CONTENT_BLOCKED", "EXPIRED"]

letters = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c", b"d", None]),
        st.integers(0, 1),
        st.sampled_from(REASONS),
        st.integers(0, 4),
        st.booleans(),
    ),
    max_size=25,
)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "CHUNK_LETTERS", 3)
    monkeypatch.setattr(running, "CHUNK_SCANNED", 5)


@settings(max_examples=120, deadline=None)
@given(letters, st.lists(st.sampled_from(FAULTS), max_size=25), st.none() | st.integers(1, 9), st.booleans())
def test_a_replay_that_is_hurt_at_any_moment_ends_as_if_it_had_not_been(
    given_letters: list[tuple[Any, ...]], faults: list[str], limit: int | None, force: bool
) -> None:
    made, expected, latest = broker(), set(), {}
    chosen = LetterFilter(reasons=frozenset({"TIMEOUT", "CONTENT_BLOCKED", "EXPIRED"}))
    events: list[tuple[Event, tuple[Any, ...]]] = []
    for key, partition, reason, replays, gap in given_letters:
        event = fail(made, key, partition=partition, reason=reason, replays=replays)
        events.append((event, (key, partition, reason, replays)))
        latest[key, partition] = event
        if gap:
            made.mark(place(partition, DEAD))
            made.mark(place(partition))
    for event, (key, partition, reason, replays) in events:
        newest = key is None or latest[key, partition] == event
        good = reason != "CONTENT_BLOCKED" and replays < 3 and newest
        if reason in chosen.reasons and (good or force):
            expected.add(event)
    proposal = made.replay().propose(order(chosen, force=force, limit=limit))
    planned = min(len(expected), limit or len(expected))
    assert proposal.plan.letters == planned
    made.faults = deque(faults)
    summary = until_finished(made, proposal)
    made.faults.clear()
    assert (summary.finished, summary.sent) == (True, planned)
    found = replayed(made)
    assert set(found) <= expected
    assert found.total() == len(found) == planned
    if limit is None:
        assert set(found) == expected
        again = made.replay().propose(order(chosen))
        assert again.plan.letters == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 4), st.integers(0, 9), st.sampled_from(["", "abort"]))
@example(6, 1, 9, "abort")
def test_a_process_that_takes_over_amid_a_transaction_fences_the_other(
    count: int, when: int, stops: int, fault: str
) -> None:
    made = broker()
    events = [fail(made, b"%d" % number) for number in range(count)]
    proposal = made.replay().propose(order())
    looks = iter([False] * stops + [True] * 1000)

    def take_over() -> str:
        made.faults.clear()
        made.replay(stop=lambda: next(looks)).resume(proposal.plan.id)
        return fault

    made.faults = deque([""] * (when + 1) + [take_over])
    told = ""
    try:
        made.replay().run(proposal)
    except ReplayInterrupted as problem:
        told = str(problem)
    assert not told or ("another process" in told and f"--resume {proposal.plan.id}" in told)
    until_finished(made, proposal)
    assert replayed(made) == Counter(events)


def test_a_plan_with_nothing_to_replay_writes_nothing() -> None:
    made = broker()
    fail(made, b"k", reason="CONTENT_BLOCKED")
    summary = made.replay().run(made.replay().propose(order()))
    assert (summary.finished, summary.sent) == (True, 0)
    assert not made.groups


def test_an_error_of_the_brokers_amid_the_replay_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = broker()
    events = [fail(made, b"%d" % number) for number in range(7)]
    proposal = made.replay().propose(order())

    def gone() -> str:
        raise StartError("no broker answers")

    made.faults = deque(["", "", gone])
    with pytest.raises(ReplayInterrupted, match=r"no broker answers.*--resume 00000001"):
        made.replay().run(proposal)
    assert replayed(made).total() == 3
    until_finished(made, proposal)
    assert replayed(made) == Counter(events)


def test_a_transaction_that_is_aborted_again_and_again_is_given_up_after_some_tries() -> None:
    made = broker()
    fail(made, b"k")
    proposal = made.replay().propose(order())
    made.faults = deque(["", *["abort"] * 50])
    with pytest.raises(ReplayInterrupted, match=r"aborted.*--resume"):
        made.replay().run(proposal)
    assert len(made.faults) > 40
    made.faults.clear()
    assert until_finished(made, proposal).sent == 1


def test_a_letter_that_the_topic_refuses_is_told_and_the_others_are_replayed() -> None:
    made = broker()
    large = fail(made, b"large", b"x" * 2000)
    small = [fail(made, b"%d" % number) for number in range(5)]
    proposal = made.replay().propose(order())
    made.faults = deque(["", "", "kill after"])
    summary = until_finished(made, proposal)
    assert (summary.sent, summary.refused) == (5, 1)
    assert summary.plan.shares[place(0, DEAD)].refused == (0,)
    assert replayed(made) == Counter(small)
    made.largest = 5000
    again = made.replay().propose(order())
    assert again.by_fate == {Fate.REPLAYED: 5, Fate.SENT: 1}
    until_finished(made, again)
    assert replayed(made) == Counter([*small, large])


def test_a_rate_is_kept_and_a_stop_is_heard_while_it_is_waited_for() -> None:
    made = broker()
    events = [fail(made, b"%d" % number) for number in range(10)]
    proposal, began = made.replay().propose(order()), made.now
    made.replay(rate=2.0).run(proposal)
    assert replayed(made) == Counter(events)
    assert made.now - began >= 10 / 2.0
    other = broker()
    for number in range(10):
        fail(other, b"%d" % number)
    process = other.replay(rate=0.5, stop=lambda: other.now >= began + 3)
    summary = process.run(process.propose(order()))
    assert not summary.finished
    assert 0 < summary.sent < 10
    assert other.now < began + 4
