"""A plan's decisions, and its form as metadata of offsets."""

import zlib
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.letters import DEAD, letter
from worker.core.letter_filter import LetterFilter, Place
from worker.core.newer_events import NewerEvents
from worker.core.replay_codec import UnreadablePlan, decode, encode
from worker.core.replay_fates import Judge
from worker.core.replay_plan import FORCIBLE, Fate, Plan, Share, Terms, can_be_fetched
from worker.model import Position, TopicPartition

TERMS = Terms(inputs=("texts",))
FORCED = replace(TERMS, force=FORCIBLE)


def plan(position: int = 0, *, terms: Terms = TERMS, end: int = 100, **given: Any) -> Plan:
    """A plan over one partition of 100 offsets."""
    share = Share(0, end, 100, position)
    made = Plan("0123abcd", 1.5, terms, 7, {TopicPartition("texts", 0): (3, 9)}, {"dead": "ab"}, (), {DEAD: share})
    return replace(made, **given)


@pytest.mark.parametrize(
    ("given_facts", "terms", "fate"),
    [
        ({}, TERMS, Fate.SENT),
        ({}, replace(TERMS, filter=LetterFilter(match="other")), Fate.UNSELECTED),
        ({"topic": "embeddings"}, TERMS, Fate.FOREIGN),
        ({"topic": "embeddings"}, FORCED, Fate.FOREIGN),
        ({"topic": "embeddings"}, replace(TERMS, to="texts"), Fate.SENT),
        ({"reason": "CONTENT_BLOCKED"}, TERMS, Fate.POINTLESS),
        ({"retryable": "false"}, TERMS, Fate.POINTLESS),
        ({"retryable": "false"}, FORCED, Fate.SENT),
        ({"replays": 2}, TERMS, Fate.SENT),
        ({"replays": 3}, TERMS, Fate.LOOPED),
        ({"replays": 3}, replace(TERMS, max_replays=4), Fate.SENT),
        ({"replays": 3}, FORCED, Fate.SENT),
    ],
)
def test_what_the_letter_alone_tells(given_facts: dict[str, Any], terms: Terms, fate: Fate) -> None:
    assert terms.by_itself(letter(5, **given_facts)) is fate


@pytest.mark.parametrize(
    ("earlier", "terms", "fate"),
    [
        (plan(6), TERMS, Fate.REPLAYED),
        (plan(5), TERMS, Fate.RESERVED),
        (plan(5, abandoned=True), TERMS, None),
        (plan(6, abandoned=True), TERMS, Fate.REPLAYED),
        (plan(6, terms=replace(TERMS, filter=LetterFilter(match="other"))), TERMS, None),
        (plan(6, terms=replace(TERMS, to="staging")), TERMS, None),
        (plan(6, terms=replace(TERMS, to="texts")), TERMS, Fate.REPLAYED),
        (plan(6), replace(TERMS, to="staging"), None),
        (plan(4, end=5), TERMS, None),
        (plan(9, shares={DEAD: Share(0, 100, 100, 9, refused=(5,))}), TERMS, None),
        (plan(9, shares={DEAD: Share(6, 100, 100, 9)}), TERMS, None),
        (plan(9, shares={TopicPartition("dead", 1): Share(0, 100, 100, 9)}), TERMS, None),
    ],
)
def test_an_earlier_plan_has_what_it_selected_below_its_end(earlier: Plan, terms: Terms, fate: Fate | None) -> None:
    assert earlier.had(letter(5), terms) is fate


def test_what_another_plan_has_is_left_out_unless_forced() -> None:
    mine, newer = letter(5), NewerEvents()
    newer.want(mine, b"key", 0)
    assert Judge(TERMS, newer, [plan(6)]).judge(mine, b"key", 0) == (Fate.REPLAYED, "0123abcd")
    assert Judge(TERMS, newer, [plan(5)]).judge(mine, b"key", 0) == (Fate.RESERVED, "0123abcd")
    assert Judge(FORCED, newer, [plan(6)]).judge(mine, b"key", 0) == (Fate.SENT, "")
    assert Judge(TERMS, newer, []).judge(mine, b"key", 0) == (Fate.SENT, "")


def test_the_same_letter_written_twice_is_replayed_once_even_by_force() -> None:
    one, two, newer = letter(5, at=1), letter(5, at=2), NewerEvents()
    newer.want(one, b"key", 1)
    newer.want(two, b"key", 2)
    assert [Judge(FORCED, newer).judge(one, b"key", 1)[0], Judge(FORCED, newer).judge(two, b"key", 2)[0]] == [
        Fate.SENT,
        Fate.REPEATED,
    ]


YOUNG: dict[str, Any] = {
    "request_id": "id-1",
    "submitted_at": "2026-01-01T23:30:00.000Z",
    "text_sha256": "ab" * 32,
    "job": "0011aabbccdd",
}
NOW = letter(**YOUNG).failed_at


@pytest.mark.parametrize(
    ("facts", "seconds", "fetched"),
    [
        ({}, 0, True),
        ({}, 25 * 60 - 0.1, True),
        ({}, 25 * 60, False),
        ({}, -31 * 60, False),
        ({"reason": "INVALID_RESULT"}, 0, True),
        ({"reason": "INVALID_RESULT", "retryable": "false"}, 0, False),
        ({"reason": "EXPIRED"}, 0, False),
        ({"reason": "INFERENCE_FAILED"}, 0, False),
        ({"request_id": "a/b"}, 0, False),
        ({"text_sha256": None}, 0, False),
        ({"job": None}, 0, False),
        ({"submitted_at": None}, 0, False),
    ],
)
def test_a_job_is_polled_where_it_may_have_ended_well_and_can_be_trusted(
    facts: dict[str, Any], seconds: float, fetched: bool
) -> None:
    assert can_be_fetched(letter(**{**YOUNG, **facts}), NOW + seconds) is fetched


offsets = st.integers(0, 2**62)
names = st.text("Az09._-", min_size=1, max_size=12)
ids = st.text("09af", min_size=8, max_size=8)
partitions = st.builds(TopicPartition, names, st.integers(0, 2**31 - 1))
times = st.none() | st.floats(0, 2**33)
filters = st.builds(
    LetterFilter,
    reasons=st.frozensets(names, max_size=3),
    since=times,
    until=times,
    keys=st.frozensets(st.binary(max_size=12), max_size=3),
    places=st.frozensets(st.builds(Place, partitions, offsets), max_size=3),
    match=st.text(max_size=12),
)
terms = st.builds(
    Terms,
    inputs=st.lists(names, max_size=3).map(tuple),
    filter=filters,
    to=st.none() | names,
    force=st.frozensets(st.sampled_from(sorted(FORCIBLE))),
    max_replays=st.integers(0, 1000),
)


@st.composite
def shares(draw: st.DrawFn) -> Share:
    begin, end, horizon = sorted(draw(st.lists(offsets, min_size=3, max_size=3)))
    position = draw(st.integers(begin, horizon))
    return Share(begin, end, horizon, position, draw(offsets), tuple(draw(st.lists(offsets, max_size=5))))


plans = st.builds(
    Plan,
    id=ids,
    created_at=st.floats(0, 2**33),
    terms=terms,
    letters=offsets,
    ranges=st.dictionaries(partitions, st.tuples(offsets, offsets), max_size=4),
    topics=st.dictionaries(names, ids, max_size=3),
    earlier=st.lists(ids, max_size=3).map(tuple),
    shares=st.dictionaries(partitions, shares(), min_size=1, max_size=4),
    abandoned=st.booleans(),
)


def pieces(given: Plan) -> dict[TopicPartition, Position]:
    """What stands under a plan's group."""
    return {source: Position(share.position, encode(given, source)) for source, share in given.shares.items()}


@settings(max_examples=60, deadline=None)
@given(plans)
def test_a_plan_comes_back_as_it_was_written(given: Plan) -> None:
    written = pieces(given)
    assert all(position.metadata.isascii() for position in written.values())
    assert decode(written) == given


@settings(max_examples=60, deadline=None)
@given(plans, st.data())
def test_a_damaged_plan_is_refused_or_the_same(given: Plan, data: st.DataObject) -> None:
    written = pieces(given)
    source = data.draw(st.sampled_from(sorted(written)))
    text = list(written[source].metadata)
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from("AZaz09+/=\x00ü"))
    damaged = {**written, source: Position(written[source].offset, "".join(text))}
    try:
        assert decode(damaged) == given
    except UnreadablePlan:
        return


def packed(raw: bytes) -> str:
    return "ewr1" + b64encode(zlib.compress(raw)).decode()


@given(st.text(max_size=200) | st.binary(max_size=300).map(packed), st.integers(-1, 2**63))
def test_whatever_a_group_holds_is_a_plan_or_refused(metadata: str, offset: int) -> None:
    with pytest.raises(UnreadablePlan):
        decode({DEAD: Position(offset, metadata)})


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("", "holds no plan"),
        ("ewl1AAAA", "holds no plan"),
        ("ewr2AAAA", "newer embedding-worker"),
        (packed(b"[" * 100_000), "damaged"),
        (packed(b" " * 50_000_000), "damaged"),
        ("ewr1" + "A" * 100_000, "holds no plan"),
    ],
)
def test_what_is_no_plan_is_told_apart(metadata: str, words: str) -> None:
    with pytest.raises(UnreadablePlan, match=words):
        decode({DEAD: Position(0, metadata)})


def test_pieces_of_two_plans_make_none() -> None:
    other = TopicPartition("dead", 1)
    mixed = pieces(plan()) | {other: Position(0, encode(plan(id="ffffffff", shares={other: Share(0, 1, 1, 0)}), other))}
    with pytest.raises(UnreadablePlan, match="another plan"):
        decode(mixed)
    with pytest.raises(UnreadablePlan, match="no committed offsets"):
        decode({})


def test_a_plan_of_usual_size_fits_into_a_quarter_of_what_brokers_take() -> None:
    many = {
        TopicPartition("embeddings.dead-letter", number): Share(number, 9**6 + number * 977, 9**7, number)
        for number in range(64)
    }
    ranges = {
        TopicPartition("texts", number): (10**6 + number * 7919, 10**8 + number * 104_729) for number in range(64)
    }
    big = plan(shares=many, ranges=ranges)
    assert max(len(encode(big, source)) for source in many) < 2048
