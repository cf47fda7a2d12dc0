"""Causes that keep intake halted, and when to look whether they are gone."""

from hypothesis import given
from hypothesis import strategies as st

from worker.core.halting import FIRST_PROBE, LONGEST_PROBE, Cause, Halting, HealedBy

EMPTY = Cause("credits", "credits: top up")
KEY = Cause("api_key", "api_key: renew", polls_too=True)
SPENT = Cause("spend", "spend: wait", healed_by=HealedBy.TIME, until=100.0)
BUDGET = Cause("budget", "budget: look", healed_by=HealedBy.ELSEWHERE)


def test_the_interval_between_probes_grows_up_to_the_longest() -> None:
    halting = Halting()
    halting.halt(EMPTY, 0.0)
    waits, now = [halting.probe_in(0.0)], 0.0
    for _ in range(12):
        now += halting.probe_in(now)
        halting.probe_started()
        assert halting.probe_in(now) == float("inf")
        halting.probe_ended(now, 0.6)
        waits.append(halting.probe_in(now))
    waits = [round(wait, 3) for wait in waits]
    assert waits[:2] == [FIRST_PROBE, 11.0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_PROBE


def test_of_probed_causes_the_last_one_stands_since_the_first_and_others_stand_beside_it() -> None:
    halting = Halting()
    assert halting.halt(EMPTY, 1.0)
    assert not halting.halt(EMPTY, 2.0)
    assert halting.halt(KEY, 3.0)
    assert halting.halt(BUDGET, 4.0)
    assert [(one.cause.key, one.since) for one in halting.standing] == [("api_key", 1.0), ("budget", 4.0)]
    assert not halting.may_try_an_event
    assert halting.heal("credits") is None
    assert halting.heal("api_key")
    assert halting.closed_for(polls=False)
    assert not halting.closed_for(polls=True)
    assert halting.heal("budget")
    assert not halting.standing
    assert halting.may_try_an_event


def test_what_heals_by_time_is_never_probed() -> None:
    halting = Halting()
    halting.halt(SPENT, 0.0)
    assert halting.probe_in(1000.0) == float("inf")
    assert halting.timed() == [SPENT]


@given(st.lists(st.floats(0.0, 1.0, exclude_max=True), max_size=50))
def test_no_chance_makes_probes_a_crowd_or_later_than_the_longest_interval(units: list[float]) -> None:
    halting, now = Halting(), 0.0
    halting.halt(EMPTY, now)
    for unit in units:
        wait = halting.probe_in(now)
        assert FIRST_PROBE <= round(wait, 3) <= LONGEST_PROBE
        now += wait
        halting.probe_started()
        halting.probe_ended(now, unit)


def test_more_that_is_learned_of_a_cause_changes_its_sentence_and_nothing_else() -> None:
    halting = Halting()
    halting.halt(EMPTY, 1.0)
    (before,) = halting.standing
    halting.explain(KEY, "another")
    assert halting.standing == [before]
    halting.explain(EMPTY, "credits: balance 0.00: top up")
    (after,) = halting.standing
    assert after.cause.sentence == "credits: balance 0.00: top up"
    assert after.name == before.name
