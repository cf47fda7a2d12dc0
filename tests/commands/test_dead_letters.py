"""`dead-letters`: hostile topics are shown without doing anything to the terminal; over the embedded broker."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.core.letters import dead_record
from tests.integration.events import encoded
from worker.cli import main
from worker.commands.dead_letters.printable import printable, printable_bytes
from worker.emulator.broker import EmbeddedBroker
from worker.model import Record

TOPIC = "dead"
CLEAR = "\x1b[2J"


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    """A broker with ten letters of mixed reasons and days, a hostile one, and two records that are none."""
    with EmbeddedBroker() as running:
        bootstrap = running.start()
        running.create_topic(TOPIC, 1)
        running.create_topic("empty", 1)
        producer = Producer({"bootstrap.servers": bootstrap})
        for number in range(10):
            put(
                producer,
                dead_record(
                    number,
                    key=b"key-%d" % number,
                    value=encoded(f"text {number}"),
                    reason="TIMEOUT" if number % 3 else "API_ERROR",
                    failed_at=f"2026-01-{10 + number % 2}T00:00:{number:02}Z",
                ),
            )
        hostile: dict[str, Any] = {"detail": f"{CLEAR}\u202eowned\r\n", "model": CLEAR, "reason": "CONTENT_BLOCKED"}
        put(producer, dead_record(10, key=b"\x1b[31m", value=encoded(f"{CLEAR}bell\x07{'x' * 5000}"), **hostile))
        put(producer, Record(dead_record().source, 0, 0, b"\xff", b"\x00\xff", (("dlq.reason", b"\xff"),), 0))
        put(producer, Record(dead_record().source, 0, 0, None, None, (), 0))
        assert producer.flush(20) == 0
        yield bootstrap


def put(producer: Producer, record: Record) -> None:
    """Produce it."""
    producer.produce(TOPIC, key=record.key, value=record.value, headers=[*record.headers])


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(servers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls a command: exit code, stdout, stderr."""
    monkeypatch.setenv("WORKER_KAFKA__BOOTSTRAP_SERVERS", servers)
    monkeypatch.setenv("WORKER_TOPICS__DEAD_LETTER", TOPIC)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["embedding-worker", "dead-letters", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return left.value.code if isinstance(left.value.code, int) else 0, captured.out, captured.err

    return run


def is_harmless(text: str) -> bool:
    """Whether nothing in it moves a cursor or turns the writing."""
    return all(letter.isprintable() or letter == "\n" for letter in text)


def test_stats_count_by_reason_day_and_model(call: Call) -> None:
    code, out, _ = call("stats")
    assert code == 0
    assert out.startswith(f"11 dead letters on {TOPIC}; 2 records are none\n")
    assert is_harmless(out)
    code, out, _ = call("stats", "--json", "--match", "not done")
    found = json.loads(out)
    assert (found["dead_letters"], found["not_dead_letters"]) == (10, 2)
    assert found["by_reason"] == {"API_ERROR": 4, "TIMEOUT": 6}
    assert found["by_day"] == {"2026-01-10": 5, "2026-01-11": 5}
    assert sum(one["count"] for one in found["counts"]) == 10


def test_stats_of_nothing_are_a_line(call: Call) -> None:
    assert call("stats", "--topic", "empty")[:2] == (0, "0 dead letters on empty\n")


def test_the_list_has_the_newest_first_and_as_many_as_asked_for(call: Call) -> None:
    code, out, _ = call("list", "--limit", "3", "--reason", "TIMEOUT,API_ERROR")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["0:9", "0:7", "0:5"]
    _, out, _ = call("list", "--limit", "3", "--oldest")
    assert [line.split()[0] for line in out.splitlines()] == ["0:10", "0:0", "0:2"]
    _, out, _ = call("list", "--json", "--key", "key-4")
    [line] = out.splitlines()
    found = json.loads(line)
    assert (found["offset"], found["key"], found["source"]) == (
        4,
        "key-4",
        {"topic": "texts", "partition": 0, "offset": 4},
    )


def test_a_hostile_letter_is_listed_and_shown_without_its_control_characters(call: Call) -> None:
    for arguments in (["list", "--reason", "CONTENT_BLOCKED"], ["show", "0:10"], ["show", "0:10", "--full"]):
        code, out, _ = call(*arguments)
        assert code == 0
        assert is_harmless(out), arguments
        assert "\\x1b" in out


def test_texts_are_cut_unless_all_are_asked_for(call: Call) -> None:
    _, short, _ = call("show", "0:10")
    _, whole, _ = call("show", "0:10", "--full")
    assert "--full shows all" in short
    assert "x" * 501 not in short
    assert "x" * 5000 in whole


def test_a_letter_is_shown_with_headers_and_decoded_value(call: Call) -> None:
    _, out, _ = call("show", "0:3")
    assert "dlq.reason     API_ERROR" in out
    assert '"text": "text 3"' in out
    _, out, _ = call("show", "0:3", "--json")
    found = json.loads(out)
    assert found["value"]["text"] == "text 3"
    assert ["dlq.offset", "3"] in found["headers"]


@pytest.mark.parametrize("place", ["0:11", "0:12"])
def test_a_record_that_is_no_letter_is_shown_as_what_it_is(call: Call, place: str) -> None:
    code, out, _ = call("show", place)
    assert code == 0
    assert "no dead letter" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "0:99"], 3, "no record at dead:0:99"),
        (["show", "7:0"], 3, "no record at dead:7:0"),
        (["show", "7"], 2, "PARTITION:OFFSET"),
        (["stats", "--topic", "missing"], 3, "missing topics: missing"),
        (["list", "--reason", "x"], 2, "--reason X"),
        (["list", "--until", "x"], 2, "--until x"),
    ],
)
def test_what_cannot_be_shown_is_one_line(call: Call, arguments: list[str], code: int, words: str) -> None:
    found, _, err = call(*arguments)
    assert found == code
    [line] = [line for line in err.splitlines() if line.startswith("error:")]
    assert words in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("käse 東京 🙂", "käse 東京 🙂"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\r\nb\tc\x00", "a\\r\\nb\\tc\\x00"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\ud800", "\\ud800"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_what_is_no_glyph_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_bytes_are_text_or_hex() -> None:
    assert printable_bytes(None) == "-"
    assert printable_bytes(b"key") == "key"
    assert printable_bytes(b"\xff\x00") == "hex:ff00"
    assert printable_bytes(b"k" * 100, 10) == "k" * 9 + "…"
