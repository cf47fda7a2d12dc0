"""What the input says of letters, against a brute-force reading of everything at once."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.core.letters import headers_of, letter
from worker.core.dead_letters import Letter
from worker.core.newer_events import NewerEvents
from worker.model import Record, TopicPartition

SOURCE = TopicPartition("texts", 0)


def event(offset: int, key: bytes | None, *, origin: int | None = None, replays: int = 1) -> Record:
    """An input record; with an origin: a replay."""
    facts = {} if origin is None else {"origin": f"texts:0:{origin}", "replays": replays}
    return Record(SOURCE, offset, 0, key, b"v", headers_of(facts), 0)


def asked(letters: Sequence[Letter], records: Sequence[Record]) -> NewerEvents:
    """Everything that there is, known."""
    newer = NewerEvents()
    for order, one in enumerate(letters):
        newer.want(one, one.record.key, order)
    for record in records:
        newer.see(record)
    return newer


def test_a_later_event_of_the_key_supersedes_and_an_earlier_one_does_not() -> None:
    old, new = letter(10, key=b"k"), letter(20, key=b"k")
    newer = asked([old, new], [event(10, b"k"), event(15, b"other"), event(20, b"k")])
    assert newer.superseded(old, b"k")
    assert not newer.superseded(new, b"k")


def test_a_key_counts_on_its_own_partition_only() -> None:
    mine = letter(10, key=b"k", partition=1)
    assert not asked([mine], [event(20, b"k")]).superseded(mine, b"k")


def test_without_a_key_nothing_is_newer() -> None:
    mine = letter(10, key=None)
    assert not asked([mine], [event(11, None), event(12, b"")]).superseded(mine, None)


def test_a_replay_of_the_letter_itself_is_no_newer_event_but_shows_that_it_was_replayed() -> None:
    mine = letter(10, key=b"k")
    newer = asked([mine], [event(30, b"k", origin=10)])
    assert not newer.superseded(mine, b"k")
    assert newer.replayed(mine)


def test_a_replay_of_an_older_event_does_not_supersede_a_newer_letter() -> None:
    newer_letter = letter(20, key=b"k")
    assert not asked([newer_letter], [event(30, b"k", origin=10)]).superseded(newer_letter, b"k")


def test_a_letter_of_a_replay_is_as_old_as_its_event() -> None:
    again = letter(30, key=b"k", origin="texts:0:10", replays=1)
    newer = asked([again], [event(20, b"k"), event(30, b"k", origin=10)])
    assert newer.superseded(again, b"k")
    assert not newer.replayed(again)
    assert newer.starts == {SOURCE: 11}


def test_a_letter_whose_event_failed_again_was_replayed_whatever_is_selected() -> None:
    first, again = letter(10), letter(30, origin="texts:0:10", replays=1)
    newer = asked([first], [])
    newer.heed(again)
    assert newer.replayed(first)
    newer = asked([first, again], [])
    assert newer.replayed(first)
    assert not newer.replayed(again)


def test_of_a_letter_that_was_written_twice_the_first_counts() -> None:
    one, two = letter(10, at=3), letter(10, at=9)
    newer = asked([one, two], [])
    assert [newer.repeated(one, 0), newer.repeated(two, 1)] == [False, True]


keys = st.sampled_from([b"a", b"b", None])


@given(
    st.lists(st.tuples(keys, st.none() | st.integers(0, 30), st.integers(1, 3)), max_size=30),
    st.lists(st.tuples(st.integers(0, 29), keys), max_size=8, unique_by=lambda pair: pair[0]),
)
def test_the_answers_are_those_of_a_reading_of_everything(
    stream: list[tuple[bytes | None, int | None, int]], wanted: list[tuple[int, bytes | None]]
) -> None:
    records = [
        event(offset, key, origin=origin, replays=replays) for offset, (key, origin, replays) in enumerate(stream)
    ]
    letters = [letter(offset, key=key) for offset, key in wanted]
    newer = asked(letters, [record for record in records if record.offset >= min(newer_start(letters), 31)])
    ages = [
        origin if origin is not None and origin < offset else offset for offset, (_, origin, _) in enumerate(stream)
    ]
    for one in letters:
        later = [
            age for age, record in zip(ages, records, strict=True) if record.key == one.record.key and age > one.offset
        ]
        assert newer.superseded(one, one.record.key) == (one.record.key is not None and bool(later))
        replays = [origin for offset, (_, origin, _) in enumerate(stream) if origin == one.offset and origin < offset]
        assert newer.replayed(one) == bool(replays)


def newer_start(letters: Sequence[Letter]) -> int:
    """From where the input has to be read for these."""
    return min((one.offset + 1 for one in letters), default=31)
