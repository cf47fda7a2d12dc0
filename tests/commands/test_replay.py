"""`replay`: what it prints, asks and answers, over a broker of fakes."""

import json
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.fakes.replays import FakeBroker
from tests.replay.harness import broker, fail, place, replayed
from worker.adapters.kafka import Topics
from worker.cli import main
from worker.replay import Replay


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict[str, object]]:
        """The JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Call = Callable[..., Said]


@pytest.fixture
def made() -> FakeBroker:
    """Five letters, of which three can be replayed."""
    filled = broker()
    fail(filled, b"blocked", reason="CONTENT_BLOCKED", retryable="false", detail="\x1b[2Jblocked")
    fail(filled, b"old")
    filled.append(place(0), b"old", b"newer")
    for number in range(3):
        fail(filled, b"%d" % number)
    return filled


@pytest.fixture
def call(made: FakeBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command; its processes see the broker `made`."""

    @contextmanager
    def open_fake(*_: object) -> Iterator[Replay]:
        yield made.replay()

    async def answers(*_: object) -> int:
        return 1

    monkeypatch.setattr("worker.commands.replay.command.open_replay", open_fake)
    monkeypatch.setattr(Topics, "wait_reachable", answers)
    monkeypatch.setenv("WORKER_TOPICS__DEAD_LETTER", "dead")

    def run(*arguments: str) -> Said:
        monkeypatch.setattr("sys.argv", ["embedding-worker", "replay", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        code = left.value.code
        return Said(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


def test_the_plan_is_printed_and_without_a_terminal_nothing_happens_unless_yes_is_said(
    made: FakeBroker, call: Call
) -> None:
    said = call()
    assert said.code == 2
    assert "5 dead letters read on dead, 5 selected" in said.out
    assert "3 to replay to their own topics: 3 to be paid, about 0.000099 USD" in said.out
    assert "--force tries it all the same" in said.out
    assert "confirm with --yes" in said.err
    assert not made.groups
    said = call("--yes")
    assert said.code == 0
    assert said.out.endswith("replayed 3 of 3 dead letters\n")
    assert replayed(made).total() == 3


def test_a_dry_run_writes_nothing(made: FakeBroker, call: Call) -> None:
    said = call("--dry-run", "--yes")
    assert said.code == 0
    assert not made.groups
    assert not replayed(made)


def test_as_json_plan_and_end_are_a_line_each(made: FakeBroker, call: Call) -> None:
    plan, end = call("--yes", "--json").documents
    assert plan["reasons"] == {"CONTENT_BLOCKED": {"pointless": 1}, "TIMEOUT": {"superseded": 1, "sent": 3}}
    assert (plan["to_replay"], plan["to_pay"], plan["estimated_cost_usd"]) == (3, 3, 0.000099)
    assert end == {
        "plan": plan["plan"],
        "finished": True,
        "to_replay": 3,
        "replayed": 3,
        "refused": [],
        "lost": 0,
    }


def test_with_nothing_to_replay_it_is_done(made: FakeBroker, call: Call) -> None:
    said = call("--reason", "EXPIRED", "--yes")
    assert said.code == 0
    assert "there is nothing to replay" in said.err
    assert not made.groups


def test_an_estimate_above_the_limit_is_refused(made: FakeBroker, call: Call) -> None:
    said = call("--yes", "--max-cost", "0.00009")
    assert said.code == 2
    assert "above --max-cost" in said.err
    assert not made.groups
    assert call("--yes", "--max-cost", "0.0001").code == 0


@pytest.mark.parametrize("limit", ["nan", "-1"])
def test_a_limit_that_no_estimate_is_above_is_no_limit(made: FakeBroker, call: Call, limit: str) -> None:
    said = call("--yes", "--max-cost", limit)
    assert said.code == 2
    assert "--max-cost" in said.err
    assert not replayed(made)


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 2)])
def test_on_a_terminal_it_asks(
    made: FakeBroker, call: Call, monkeypatch: pytest.MonkeyPatch, answer: bool, code: int
) -> None:
    questions: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", confirm)
    assert call().code == code
    assert questions == ["Replay 3 dead letters?"]
    assert bool(replayed(made)) is answer


def test_a_signal_stops_it_with_a_line_that_says_how_to_go_on(made: FakeBroker, call: Call) -> None:
    def interrupted() -> str:
        signal.raise_signal(signal.SIGINT)
        return "abort"

    made.faults = deque(["", interrupted])
    said = call("--yes")
    assert said.code == 4
    assert "--resume 00000001" in said.err
    made.faults = deque()
    assert call("--resume", "00000001").code == 0
    assert replayed(made).total() == 3


def test_letters_that_were_refused_are_named_and_the_exit_code_tells(made: FakeBroker, call: Call) -> None:
    fail(made, b"large", b"x" * 2000)
    said = call("--yes")
    assert said.code == 1
    assert "refused for their size by the topic: dead:0:5: raise its max.message.bytes" in said.out
    assert replayed(made).total() == 3


def test_a_plan_that_is_given_up_frees_its_letters(made: FakeBroker, call: Call) -> None:
    made.faults = deque(["", "lost"])
    assert call("--yes").code == 4
    said = call("--dry-run")
    assert "3 letters belong to plan 00000001" in said.out
    said = call("--abandon", "00000001")
    assert said.out == "plan 00000001 is given up: 0 of 3 dead letters were replayed\n"
    assert call("--resume", "00000001").code == 2
    assert call("--yes").code == 0
    assert replayed(made).total() == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reason", "timeouts"], "--reason TIMEOUTS: there are"),
        (["--since", "soon"], "--since soon: want a time"),
        (["--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["--key", "hex:0"], "hex digits"),
        (["--offset", "7"], "PARTITION:OFFSET"),
        (["--topic", "a/b"], "--topic a/b"),
        (["--topic", "texts"], "that is an input topic"),
        (["--to", "dead"], "that is a dead-letter topic"),
        (["--to", "embeddings"], "that is the output topic"),
        (["--to", "a b"], "--to a b"),
        (["--resume", "0123abcd"], "there is no plan 0123abcd"),
        (["--resume", "x"], "is no plan's id"),
        (["--resume", "0123abcd", "--reason", "TIMEOUT"], "take a plan as it is"),
        (["--resume", "0123abcd", "--abandon", "0123abcd"], "take a plan as it is"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(
    made: FakeBroker, call: Call, arguments: list[str], words: str
) -> None:
    said = call(*arguments)
    assert said.code == 2
    assert words in said.err
    assert len([line for line in said.err.splitlines() if line.startswith("error:")]) == 1
    assert not made.groups
