"""The checks themselves: each violation is found, each excuse holds only as far as it goes."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pytest

from tests.chaos.money import Account, Incident, Post, account
from tests.chaos.outcomes import Outcomes, compare
from tests.chaos.report import violations
from tests.chaos.run import Result
from tests.chaos.schedule import Kind, Plan, schedule
from tests.chaos.stalls import Stall, stall
from tests.chaos.workload import NUMBER, events
from tests.integration.events import TOMBSTONE, VECTOR, Event, Place, good, sha256, single_object_header
from tests.integration.outcomes import EMBEDDING
from tests.integration.readers import Found

CAP = 2.7
KILL = Incident(Kind.KILL, worker=1, began=100.0, ended=100.0)


def post(at: float, worker: int, text: str = "t", *, billed: bool = True, lost: bool = False) -> Post:
    return Post(at, worker, text, billed, lost)


def test_a_text_paid_once_is_no_repeat() -> None:
    found = account([post(99, 1, "a"), post(99.5, 1, "b"), post(120, 2, "c")], [KILL], CAP)
    assert (found.repeated, found.unowed) == (0, [])
    assert found.exposed[KILL] == 2


def test_a_bill_repeated_after_a_kill_is_owed_to_it_and_its_age_is_told() -> None:
    found = account([post(99.9, 1), post(110, 2)], [KILL], CAP)
    assert found.by_incident == {KILL: 1}
    assert found.ages == [pytest.approx(0.1)]
    assert found.bound == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (post(90, 1), post(110, 2)),  # long before the kill: its request_id was to be on record
        (post(99.9, 3), post(110, 2)),  # another worker's
        (post(99.9, 1), post(99.95, 2)),  # before anything had happened
        (post(103, 1), post(110, 2)),  # by the dead
    ],
)
def test_a_bill_that_no_fault_excuses_is_told(first: Post, second: Post) -> None:
    assert len(account([first, second], [KILL], CAP).unowed) == 1


def test_a_shorter_lease_makes_the_bound_tighter() -> None:
    pair = [post(98, 1), post(110, 2)]
    assert account(pair, [KILL], CAP).unowed == []
    assert len(account(pair, [KILL], CAP, {1: 1.0}).unowed) == 1
    assert account([post(99, 1), post(110, 2)], [KILL], CAP, {1: 1.0}).unowed == []


def test_a_zombie_that_pays_again_when_it_wakes_is_not_excused() -> None:
    zombie = Incident(Kind.ZOMBIE, worker=1, began=100.0, ended=109.0)
    found = account([post(99.9, 1, "a"), post(107.0, 2, "a"), post(109.8, 1, "a")], [zombie], CAP)
    assert found.by_incident == {zombie: 1}
    assert [repeat.second.worker for repeat in found.unowed] == [1]


def test_what_a_zombie_had_in_flight_is_told_as_its_cost() -> None:
    zombie = Incident(Kind.ZOMBIE, worker=1, began=100.0, ended=109.0)
    found = account([post(107.0, 2, "a"), post(109.1, 1, "a")], [zombie], CAP)
    assert (found.by_incident, found.unowed, found.exposed[zombie]) == ({zombie: 1}, [], 1)


@pytest.mark.parametrize("kind", [Kind.TERM, Kind.BROKER, Kind.RESETS, Kind.ERRORS, Kind.LIMIT])
def test_other_faults_excuse_no_bill(kind: Kind) -> None:
    assert len(account([post(99.9, 1), post(110, 2)], [replace(KILL, kind=kind)], CAP).unowed) == 1


def test_an_outage_that_outlasts_the_session_excuses_what_was_posted_under_the_last_lease() -> None:
    outage = Incident(Kind.BROKER, worker=-1, began=100.0, ended=106.0)
    pair = [post(100.7, 1), post(112, 2)]
    assert account(pair, [outage], CAP, session_timeout=5.0).by_incident == {outage: 1}
    assert len(account(pair, [outage], CAP, session_timeout=7.0).unowed) == 1
    assert len(account([post(90, 1), post(112, 2)], [outage], CAP, session_timeout=5.0).unowed) == 1


def test_an_answer_that_was_lost_excuses_one_more_bill() -> None:
    found = account([post(50, 1, lost=True), post(51, 1), post(52, 1)], [], CAP)
    assert (found.answers_lost, found.lost_repeated, len(found.unowed)) == (1, 1, 1)


def test_a_job_that_fails_costs_nothing_however_often() -> None:
    assert account([post(50, 1, billed=False), post(51, 1), post(60, 2, billed=False)], [], CAP).repeated == 0


def test_a_kill_while_no_broker_took_commits_reaches_back_to_before_that() -> None:
    outage = Incident(Kind.BROKER, worker=-1, began=95.0, ended=98.0)
    pair = [post(94.0, 1), post(110, 2)]
    assert account(pair, [outage, KILL], CAP).by_incident == {KILL: 1}
    assert len(account(pair, [KILL], CAP).unowed) == 1


def test_a_stall_lasts_until_the_last_of_the_victims_partitions_has_its_next_post() -> None:
    posts = [
        post(97, 1, "a"),
        post(98, 1, "b"),
        post(99, 2, "c"),
        post(101, 2, "c2"),
        post(107, 2, "a2"),
        post(109, 2, "b2"),
    ]
    partitions = {"a": 0, "a2": 0, "b": 1, "b2": 1, "c": 2, "c2": 2}
    assert stall(KILL, posts, partitions) == Stall(KILL, 1, 9.0)
    assert stall(replace(KILL, worker=3), posts, partitions) is None
    assert stall(replace(KILL, kind=Kind.RESETS), posts, partitions) is None


def vector_of(event: Event, place: Place, at: int, **changes: Any) -> Found:
    """The record that the worker would write for an event."""
    assert event.text is not None
    fields = {
        "id": event.id,
        "vector": [1.0] + [0.0] * (event.dimensions - 1),
        "dimensions": event.dimensions,
        "model": "gemini-embedding-001",
        "task_type": None,
        "request_id": "00000000-0000-0000-0000-000000000000",
        "source": {"topic": "in", "partition": place.partition, "offset": place.offset, "timestamp": 1},
        "text_sha256": sha256(event.text),
        "embedded_at": 1,
        "attempts": 1,
        "metrics": {"inference_time": 1.0, "queue_time": 0.0, "total_time": 1.0, "cost": 0.1, "remaining_credits": 1.0},
        "metadata": {},
        **changes,
    }
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, EMBEDDING, fields)
    value = single_object_header(EMBEDDING) + stream.getvalue()
    return Found(0, at, 1, event.key, value, event.headers)


def version(number: int) -> Event:
    return replace(good(f"version {number}", key=b"k", dimensions=4), headers=((NUMBER, b"%d" % number),))


PLACED = {Place(0, number): version(number) for number in range(3)} | {
    Place(0, 3): Event(b"k", None, TOMBSTONE, headers=((NUMBER, b"3"),))
}
GONE = Found(0, 9, 1, b"k", None, ((NUMBER, b"3"),))


def written(*offsets: int) -> list[Found]:
    """Vectors of these input records in this order, and the tombstone behind them."""
    return [vector_of(PLACED[Place(0, offset)], Place(0, offset), at) for at, offset in enumerate(offsets)] + [GONE]


def test_all_outcomes_in_their_order_are_no_violation() -> None:
    found = compare("in", PLACED, written(0, 1, 2), [])
    assert (found.lost, found.duplicates, found.out_of_order, found.wrong) == ([], [], [], [])
    assert found.kinds == {VECTOR: 3, TOMBSTONE: 1}


def test_a_lost_event_is_found() -> None:
    assert compare("in", PLACED, written(0, 2), []).lost == [Place(0, 1)]


def test_a_duplicate_is_found_and_is_not_disorder() -> None:
    found = compare("in", PLACED, written(0, 1, 2, 0), [])
    assert (found.duplicates, found.out_of_order) == ([Place(0, 0)], [])


def test_disorder_within_a_key_is_found() -> None:
    assert len(compare("in", PLACED, written(1, 0, 2), []).out_of_order) == 1


def test_a_tombstone_that_overtakes_a_vector_is_found() -> None:
    early = [GONE if found is GONE else replace(found, offset=10 + found.offset) for found in written(0, 1, 2)]
    assert len(compare("in", PLACED, early, []).out_of_order) == 3


def test_an_outcome_of_another_kind_or_content_is_found() -> None:
    wrong = vector_of(PLACED[Place(0, 0)], Place(0, 0), 0, text_sha256=sha256("another"))
    assert len(compare("in", PLACED, [wrong, *written(0, 1, 2)[1:]], []).wrong) == 1


def result_of(**changes: Any) -> Result:
    sound = Result("r", PLACED, Outcomes(), Account(), [], [], {}, 0, [], 0, 1.0, Path("logs"))
    return replace(sound, **({"placed": {}} | changes))


def one_unowed() -> Account:
    return account([post(1, 1), post(2, 1)], [], CAP)


@pytest.mark.parametrize(
    ("flaw", "sentence"),
    [
        ({"outcomes": Outcomes(lost=[Place(1, 2)])}, "1 lost: 1@2"),
        ({"outcomes": Outcomes(duplicates=[Place(1, 2)])}, "1 duplicates: 1@2"),
        ({"outcomes": Outcomes(out_of_order=["x"])}, "1 out of order: x"),
        ({"outcomes": Outcomes(wrong=["x"])}, "1 wrong outcomes: x"),
        ({"account": one_unowed(), "bills": {"t": 2}}, "1 repeated bills that no fault excuses"),
        ({"bills": {"t": 2}}, "1 repeated bills by the emulator's count, 0 by its POSTs"),
        ({"account": Account(by_incident=Counter({KILL: 2}), exposed={KILL: 1})}, "above the bound of 1"),
        ({"placed": PLACED}, "3 vectors that were never paid"),
        ({"left": 4}, "4 records were not committed"),
        ({"unexpected": ["worker 3 ended with exit code 1"]}, "worker 3 ended with exit code 1"),
    ],
)
def test_each_broken_promise_is_a_violation(flaw: dict[str, Any], sentence: str) -> None:
    assert violations(result_of(), unclean=True) == []
    assert any(sentence in told for told in violations(result_of(**flaw), unclean=True))


@pytest.mark.parametrize(("resumed", "broken"), [(144.0, 0), (146.0, 1)])
def test_a_partition_that_stands_still_for_long_is_a_violation(resumed: float, broken: int) -> None:
    texts = [sha256(f"version {number}") for number in range(3)]
    posts = [post(99, 1, texts[0]), post(resumed, 2, texts[1])]
    told = violations(
        result_of(placed=PLACED, bills=dict.fromkeys(texts, 1), incidents=[KILL], posts=posts), unclean=True
    )
    assert len(told) == broken
    assert all("partition 0 had no POST for 46.0 s" in sentence for sentence in told)


def test_without_a_fault_even_an_excused_bill_is_a_violation() -> None:
    paid = {"account": account([post(99.9, 1), post(110, 2)], [KILL], CAP), "bills": {"t": 2}}
    assert violations(result_of(**paid), unclean=True) == []
    assert violations(result_of(**paid), unclean=False) == ["1 repeated bills without a fault"]


def test_the_same_seed_gives_the_same_events_and_faults() -> None:
    plan = Plan(events=500, seed=4)
    assert schedule(plan) == schedule(plan)
    assert schedule(plan) != schedule(replace(plan, seed=5))
    assert events(500, 4) == events(500, 4)
    kinds = Counter(one.kind for one in schedule(plan))
    assert (kinds[Kind.KILL], kinds[Kind.ZOMBIE]) == (20, 5)
    assert all(one.lasts > plan.session_timeout for one in schedule(plan) if one.kind is Kind.ZOMBIE)
    texts = [event.text for event in events(500, 4) if event.text]
    assert len(texts) == len(set(texts))
