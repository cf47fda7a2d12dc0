"""What a plan takes and leaves out, and what it says of it."""

from collections import Counter
from typing import Any

import pytest

from tests.core.letters import dead_record
from tests.fakes.replays import FakeBroker
from tests.replay.harness import DEAD, INPUT, broker, fail, order, place, replayed, until_finished
from worker.core.letter_filter import LetterFilter, Place
from worker.core.replay_plan import Fate
from worker.errors import ConfigurationError, ReplayInterrupted, StartError
from worker.model import Position
from worker.replay import Proposal, survey


def fates(made: FakeBroker, **asked: Any) -> dict[str, int]:
    """What a proposal says, by fate."""
    return {fate.name: count for fate, count in made.replay().propose(order(**asked)).by_fate.items()}


def run(made: FakeBroker, proposal: Proposal) -> None:
    """To the end."""
    assert made.replay().run(proposal).finished


def test_what_is_pointless_looped_or_superseded_is_left_out_unless_forced() -> None:
    made = broker()
    fail(made, b"blocked", reason="CONTENT_BLOCKED", retryable="false")
    fail(made, b"bad", reason="INVALID_EVENT", retryable="false")
    fail(made, b"looped", replays=3)
    fail(made, b"old")
    made.append(place(0), b"old", b"newer")
    fail(made, b"good")
    assert fates(made) == {"POINTLESS": 2, "LOOPED": 1, "SUPERSEDED": 1, "SENT": 1}
    assert fates(made, force=True) == {"SENT": 5}
    assert not made.groups


def test_a_tombstone_supersedes_a_letter() -> None:
    made = broker()
    fail(made, b"deleted")
    made.append(place(0), b"deleted", None)
    assert fates(made) == {"SUPERSEDED": 1}


def test_garbage_on_the_topic_is_counted_and_nothing_else() -> None:
    made = broker()
    made.append(place(0, DEAD), b"k", b"\xff", (("dlq.reason", b"TIMEOUT"), ("dlq.topic", b"../etc")))
    made.append(place(1, DEAD), None, None)
    made.mark(place(1, DEAD))
    fail(made, b"good")
    proposal = made.replay().propose(order())
    assert (proposal.scanned, proposal.strange, proposal.selected) == (3, 2, 1)


@pytest.mark.parametrize("force", [False, True])
def test_a_letter_that_names_a_topic_which_is_no_input_is_not_produced_there(force: bool) -> None:
    made = broker()
    made.topic("embeddings", 1)
    fail(made, b"k", topic="embeddings")
    assert fates(made, force=force) == {"FOREIGN": 1}
    proposal = made.replay().propose(order(to="staging"))
    assert proposal.plan.letters == 1
    run(made, proposal)
    assert not made.records("embeddings")
    assert [record.key for record in made.records("staging")] == [b"k"]


@pytest.mark.parametrize(
    ("facts", "fate"),
    [
        ({}, "SENT"),
        ({"value": "omitted"}, "SENT"),
        ({"key": b"other"}, "GONE"),
        ({"timestamp": "2026-01-01T00:00:00.001Z"}, "GONE"),
        ({"timestamp": None}, "SENT"),
        ({"key": None}, "SENT"),
        ({"key": None, "timestamp": None}, "GONE"),
        ({"partition": 7}, "GONE"),
        ({"offset": 9}, "GONE"),
        ({"topic": "staging"}, "FOREIGN"),
    ],
)
def test_a_letter_without_its_value_gets_the_original_if_it_can_be_shown_to_be_it(
    facts: dict[str, Any], fate: str
) -> None:
    made = broker()
    made.now = 1_767_225_600.0
    said = {"timestamp": "2026-01-01T00:00:00.000Z", **facts}
    key = said.pop("key", b"k")
    partition, offset = said.pop("partition", 0), said.pop("offset", 0)
    made.append(place(0), b"k", b"original", (("h", b"1"), ("dlq.replays", b"1")))
    value = said.pop("value", None)
    letter = dead_record(offset, key=key, value=None, partition=partition, at=0, **said)
    made.append(place(0, DEAD), key, None, letter.headers + ((("dlq.value", value.encode()),) if value else ()))
    proposal = made.replay().propose(order())
    assert {found.name for found in proposal.by_fate} == {fate}
    if fate == "SENT":
        run(made, proposal)
        [record] = [one for one in made.records(INPUT) if ("dlq.replays", b"1") in one.headers and one.offset > 0]
        assert (record.key, record.value, record.headers[0]) == (b"k", b"original", ("h", b"1"))


def test_a_redacted_value_is_never_produced() -> None:
    made = broker()
    fail(made, b"k", b"hash", original=b"the text", timestamp="2026-01-02T00:00:00.000Z")
    log = made.topics[place(0, DEAD)]
    [letter] = [record for record in log if record]
    made.append(place(0, DEAD), b"k", b"hash", (*letter.headers, ("dlq.value", b"redacted")))
    log[0] = None
    run(made, made.replay().propose(order()))
    assert [record.value for record in made.records(INPUT)] == [b"the text", b"the text"]


def test_a_letter_that_lost_its_key_is_superseded_by_a_newer_event_all_the_same() -> None:
    made = broker()
    fail(made, None, None, timestamp="2026-01-02T00:00:00.000Z", original=b"text")
    made.topics[place(0)][0] = None
    made.topics[place(0)].clear()
    made.append(place(0), b"k", b"text")
    made.append(place(0), b"k", b"newer")
    assert fates(made) == {"SUPERSEDED": 1}


def test_a_limit_ends_the_plan_behind_the_last_letter_that_it_takes() -> None:
    made = broker()
    events = [fail(made, b"%d" % number, partition=number % 2) for number in range(10)]
    fail(made, b"pointless", reason="CONTENT_BLOCKED")
    first = made.replay().propose(order(limit=7))
    assert first.plan.letters == 7
    run(made, first)
    assert replayed(made).total() == 7
    assert fates(made) == {"REPLAYED": 7, "POINTLESS": 1, "SENT": 3}
    run(made, made.replay().propose(order()))
    assert replayed(made) == Counter(events)


def test_filters_of_different_plans_hide_nothing_from_one_another() -> None:
    made = broker()
    timeouts = [fail(made, b"t%d" % number) for number in range(4)]
    errors = [fail(made, b"e%d" % number, reason="API_ERROR") for number in range(4)]
    chosen = LetterFilter(reasons=frozenset({"TIMEOUT"}))
    run(made, made.replay().propose(order(chosen)))
    assert replayed(made) == Counter(timeouts)
    rest = made.replay().propose(order())
    assert rest.by_fate == {Fate.REPLAYED: 4, Fate.SENT: 4}
    assert "4 letters were replayed by plan 00000001" in rest.notes
    run(made, rest)
    assert replayed(made) == Counter(timeouts + errors)
    run(made, made.replay().propose(order(force=True)))
    assert replayed(made) == Counter([*timeouts, *errors] * 2)


def test_letters_of_an_unfinished_plan_are_left_to_it_until_it_is_given_up() -> None:
    made = broker()
    events = [fail(made, b"%d" % number) for number in range(5)]
    process = made.replay(stop=lambda: True)
    assert not process.run(process.propose(order())).finished
    other = made.replay().propose(order())
    assert other.by_fate == {Fate.RESERVED: 5}
    assert any("--resume 00000001" in note and "--abandon 00000001" in note for note in other.notes)
    made.replay().abandon("00000001")
    with pytest.raises(ConfigurationError, match="given up"):
        made.replay().resume("00000001")
    run(made, made.replay().propose(order()))
    assert replayed(made) == Counter(events)


def test_what_was_replayed_is_known_from_the_input_after_its_plan_has_expired() -> None:
    made = broker()
    events = [fail(made, b"%d" % number) for number in range(3)] + [fail(made, None)]
    run(made, made.replay().propose(order()))
    made.groups.clear()
    assert fates(made) == {"REPLAYED": 4}
    assert replayed(made) == Counter(events)


def test_what_failed_again_was_replayed_though_neither_plan_nor_input_tell_it_any_more() -> None:
    made = broker()
    first = fail(made, b"a")
    made.append(place(0), b"b", b"v")
    again = made.append(place(0), b"a", b"v")
    failed = dead_record(again, key=b"a", reason="API_ERROR", replays=1, origin=str(first))
    made.append(place(0, DEAD), b"a", b"v", failed.headers)
    made.first[place(0)] = 3
    assert fates(made, chosen=LetterFilter(reasons=frozenset({"TIMEOUT"}))) == {"REPLAYED": 1}
    assert fates(made) == {"REPLAYED": 1, "SENT": 1}


def test_a_letter_that_was_written_twice_is_replayed_once() -> None:
    made = broker()
    event = fail(made, None)
    [letter] = made.records(DEAD)
    made.append(place(1, DEAD), None, b"v", letter.headers)
    proposal = made.replay().propose(order(force=True))
    assert proposal.by_fate == {Fate.SENT: 1, Fate.REPEATED: 1}
    run(made, proposal)
    assert replayed(made) == Counter([event])


def test_a_replay_to_another_topic_does_not_count_as_one_to_the_input() -> None:
    made = broker()
    events = [fail(made, b"%d" % number) for number in range(3)]
    run(made, made.replay().propose(order(to="staging")))
    assert replayed(made, "staging") == Counter(events)
    assert fates(made, to="staging") == {"REPLAYED": 3}
    assert fates(made) == {"SENT": 3}


def test_places_select_single_letters() -> None:
    made = broker()
    fail(made, b"a")
    wanted = fail(made, b"b")
    chosen = LetterFilter(places=frozenset({Place(place(0, DEAD), 1), Place(place(1, DEAD), 99)}))
    run(made, made.replay().propose(order(chosen)))
    assert replayed(made) == Counter([wanted])


def test_letters_older_than_the_input_are_replayed_and_said_to_be_unsure() -> None:
    made = broker()
    fail(made, b"a")
    fail(made, b"b")
    made.append(place(0), b"c", b"v")
    made.first[place(0)] = 2
    proposal = made.replay().propose(order())
    assert (proposal.plan.letters, proposal.unsure) == (2, 1)
    assert any("may be gone unseen" in note for note in proposal.notes)


def interrupted(made: FakeBroker) -> str:
    """A plan of which nothing is done yet."""
    process = made.replay(stop=lambda: True)
    return process.run(process.propose(order())).plan.id


def test_a_plan_whose_input_was_deleted_meanwhile_is_not_decided_anew() -> None:
    made = broker()
    fail(made, b"a")
    made.append(place(0), b"a", b"newer")
    fail(made, b"b")
    plan = interrupted(made)
    made.first[place(0)] = 2
    with pytest.raises(ReplayInterrupted, match=r"retention has deleted records of texts-0.*--abandon"):
        made.replay().resume(plan)
    assert not replayed(made)


def test_a_plan_whose_topic_was_made_anew_is_refused() -> None:
    made = broker()
    fail(made, b"a")
    plan = interrupted(made)
    made.marks[DEAD] = "another"
    with pytest.raises(ReplayInterrupted, match="topic dead was made anew"):
        made.replay().resume(plan)


def test_letters_that_retention_deleted_before_their_turn_are_told() -> None:
    made = broker()
    fail(made, b"a")
    kept = fail(made, b"b")
    plan = interrupted(made)
    made.first[place(0, DEAD)] = 1
    summary = made.replay().resume(plan)
    assert (summary.finished, summary.sent, summary.lost) == (True, 1, 1)
    assert replayed(made) == Counter([kept])


def test_a_plan_that_depends_on_one_that_has_expired_is_refused() -> None:
    made = broker()
    fail(made, b"a")
    run(made, made.replay().propose(order()))
    fail(made, b"b")
    plan = interrupted(made)
    del made.groups["00000001"]
    with pytest.raises(ReplayInterrupted, match="not known any more"):
        made.replay().resume(plan)


def test_two_plans_made_at_once_over_the_same_letters_do_not_both_run() -> None:
    made = broker()
    fail(made, b"a")
    one, two = made.replay().propose(order()), made.replay(now=lambda: 1.0)
    other = two.propose(order())
    run(made, one)
    made.groups["0000000f"] = made.groups.pop("00000001")
    with pytest.raises(StartError, match="was made meanwhile"):
        two.run(other)
    assert replayed(made).total() == 1


def test_a_user_who_cannot_see_plans_is_told_which_right_is_missing() -> None:
    made = broker()
    fail(made, b"a")
    made.hidden.add("00000001")
    with pytest.raises(StartError, match="grant DESCRIBE"):
        made.replay().run(made.replay().propose(order()))
    assert not replayed(made)


def test_a_plan_that_does_not_fit_is_refused_before_anything_is_written() -> None:
    made = broker()
    fail(made, b"a")
    made.limit = 100
    with pytest.raises(ConfigurationError, match=r"takes \d+ characters and the brokers take 100"):
        made.replay().run(made.replay().propose(order()))
    assert not made.groups


def test_too_many_letters_are_refused_with_the_flags_that_help(monkeypatch: pytest.MonkeyPatch) -> None:
    made = broker()
    for number in range(5):
        fail(made, b"%d" % number)
    monkeypatch.setattr(survey, "MOST_LETTERS", 3)
    with pytest.raises(ConfigurationError, match="more than 3 dead letters"):
        made.replay().propose(order())


def test_a_group_that_holds_no_plan_is_noted() -> None:
    made = broker()
    fail(made, b"a")
    made.groups["deadbeef"] = {place(0, DEAD): Position(3, "something")}
    proposal = made.replay().propose(order())
    assert proposal.plan.letters == 1
    assert any("deadbeef" in note for note in proposal.notes)


@pytest.mark.parametrize("plan_id", ["0123abcd", "", "../x", "0123ABCD"])
def test_a_plan_that_is_not_there_is_a_wrong_flag(plan_id: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no plan"):
        broker().replay().resume(plan_id)


def test_a_finished_plan_is_finished_when_it_is_resumed() -> None:
    made = broker()
    fail(made, b"a")
    proposal = made.replay().propose(order())
    run(made, proposal)
    summary = until_finished(made, proposal)
    assert (summary.finished, summary.sent) == (True, 1)
    assert replayed(made).total() == 1


def test_the_replay_goes_to_the_letters_partition_or_by_key_where_there_is_none() -> None:
    made = broker()
    fail(made, b"a", partition=1)
    run(made, made.replay().propose(order()))
    assert [record.source.partition for record in made.records(INPUT)] == [1, 1]


def test_a_young_job_travels_with_the_letter_and_an_old_one_does_not() -> None:
    made = broker()
    made.now = 1_767_312_000.0
    young: dict[str, Any] = {"request_id": "id-1", "text_sha256": "ab" * 32, "job": "0011aabbccdd"}
    fail(made, b"young", submitted_at="2026-01-01T23:30:00.000Z", **young)
    fail(made, b"old", submitted_at="2026-01-01T23:00:00.000Z", **young)
    proposal = made.replay().propose(order())
    assert (proposal.fetchable, proposal.to_pay) == (1, 1)
    run(made, proposal)
    headers = {
        record.key: {name for name, _ in record.headers if name.startswith("dlq.")}
        for record in made.records(INPUT)
        if record.offset > 1
    }
    assert headers[b"old"] == {"dlq.replays", "dlq.origin"}
    assert headers[b"young"] - headers[b"old"] == {
        "dlq.request_id",
        "dlq.submitted_at",
        "dlq.text_sha256",
        "dlq.job",
    }


@pytest.mark.parametrize("asked", [order(to=DEAD), order(to="nowhere")])
def test_a_target_that_cannot_be_is_refused(asked: Any) -> None:
    made = broker()
    fail(made, b"a")
    with pytest.raises((ConfigurationError, StartError), match=r"--to dead|missing topics: nowhere"):
        made.replay().propose(asked)


def test_a_proposal_is_run_once() -> None:
    made = broker()
    fail(made, b"a")
    process = made.replay()
    proposal = process.propose(order())
    run(made, proposal)
    with pytest.raises(StartError, match=r"--resume 00000001"):
        process.run(proposal)
    assert replayed(made).total() == 1
