"""What a person can select, and how a mistake is answered."""

from datetime import UTC, datetime

import pytest

from tests.core.letters import DEAD, letter
from worker.core.letter_filter import LetterFilter, Place, key_from, place_from, reasons_from, time_from
from worker.errors import ConfigurationError
from worker.model import TopicPartition

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()
FAILED = letter().failed_at


@pytest.mark.parametrize(
    ("chosen", "takes"),
    [
        (LetterFilter(), True),
        (LetterFilter(reasons=frozenset({"TIMEOUT", "EXPIRED"})), True),
        (LetterFilter(reasons=frozenset({"EXPIRED"})), False),
        (LetterFilter(since=FAILED), True),
        (LetterFilter(since=FAILED + 0.001), False),
        (LetterFilter(until=FAILED), False),
        (LetterFilter(until=FAILED + 0.001), True),
        (LetterFilter(keys=frozenset({b"key"})), True),
        (LetterFilter(keys=frozenset({b"KEY"})), False),
        (LetterFilter(places=frozenset({Place(DEAD, 5)})), True),
        (LetterFilter(places=frozenset({Place(DEAD, 6)})), False),
        (LetterFilter(places=frozenset({Place(TopicPartition("dead", 1), 5)})), False),
        (LetterFilter(match="DONE in"), True),
        (LetterFilter(match="done.in"), False),
        (LetterFilter(reasons=frozenset({"TIMEOUT"}), match="never"), False),
    ],
)
def test_all_that_is_given_must_hold(chosen: LetterFilter, takes: bool) -> None:
    assert chosen.takes(letter(5)) is takes


def test_reasons_are_named_again_or_with_commas_in_any_case() -> None:
    assert reasons_from(["timeout, EXPIRED", "API_ERROR"]) == {"TIMEOUT", "EXPIRED", "API_ERROR"}
    with pytest.raises(ConfigurationError, match=r"--reason TIMEOUTS: there are .*TIMEOUT, EXPIRED"):
        reasons_from(["TIMEOUTS"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-04T10:00:00Z", NOW - 7200),
        ("2026-03-04T11:00:00+01:00", NOW - 7200),
        ("2026-03-04T10:00:00", NOW - 7200),
        ("2026-03-04", NOW - 43_200),
        ("30m", NOW - 1800),
        ("2h", NOW - 7200),
        ("3d", NOW - 259_200),
        ("1w", NOW - 604_800),
    ],
)
def test_times_are_rfc_3339_a_date_or_a_time_ago(text: str, seconds: float) -> None:
    assert time_from(text, NOW, "--since") == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2 h", "-2h", "2026-13-01", "99999999999d"])
def test_another_time_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--until .*: want a time as"):
        time_from(text, NOW, "--until")


def test_keys_are_text_or_hex() -> None:
    assert key_from("käse") == "käse".encode()
    assert key_from("hex:00FF") == b"\x00\xff"
    assert key_from("hex:") == b""
    with pytest.raises(ConfigurationError, match="hex digits"):
        key_from("hex:0")


def test_places_name_the_topic_where_there_are_several() -> None:
    assert place_from("3:17", ["dead"]) == Place(TopicPartition("dead", 3), 17)
    assert place_from("blocked:3:17", ["dead", "blocked"]) == Place(TopicPartition("blocked", 3), 17)
    for text, topics, words in (
        ("3:17", ["dead", "blocked"], "say which topic"),
        ("other:3:17", ["dead"], "not one of dead"),
        ("17", ["dead"], "PARTITION:OFFSET"),
        ("3:-1", ["dead"], "PARTITION:OFFSET"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            place_from(text, topics)
