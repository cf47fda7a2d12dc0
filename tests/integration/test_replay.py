"""Replay on a real Kafka: each selected letter once, none else, whatever happens to the process."""

import json
import signal
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.dead_letters import events, failures, newer, to_replay, write
from tests.integration.events import Event, Place, good
from tests.integration.processes import ROOT, WorkerProcess
from tests.integration.readers import Found
from tests.integration.setup import DIMENSIONS, Setup
from tests.integration.waiting import until

NOWHERE = "http://127.0.0.1:9"
LETTERS = 10_000
KILLS = 5
REASONS = ("TIMEOUT", "API_ERROR", "CONTENT_BLOCKED", "INFERENCE_FAILED")
RATE = "1500"


def replay(setup: Setup, *arguments: str) -> WorkerProcess:
    """The command, just started."""
    return setup.command(("replay", *arguments), setup.environment(NOWHERE))


def said(process: WorkerProcess) -> list[dict[str, Any]]:
    """The JSON lines of its output."""
    return [json.loads(line) for line in process.output.splitlines() if line.startswith("{")]


def confirmed(process: WorkerProcess) -> str:
    """The id of its plan, once it is printed."""
    until(lambda: said(process) or not process.running, 60, "a plan", lambda: process.tail)
    assert said(process), process.tail
    return str(said(process)[0]["plan"])


def replayed(setup: Setup) -> list[Found]:
    """The records on the input that are replays."""
    return [record for record in setup.reader.read(setup.input) if record.header("dlq.replays") is not None]


def wait_for_records(setup: Setup, count: int, process: WorkerProcess) -> None:
    """Wait until the input topic has so many, or the process has ended."""
    until(
        lambda: setup.reader.count(setup.input) >= count or not process.running,
        60,
        f"{count} records",
        lambda: process.tail,
    )


def filled(setup: Setup, count: int) -> tuple[dict[Place, Event], set[int]]:
    """Input and dead-letter topic full; the events, and the numbers of those to be replayed."""
    placed = setup.produce(events(count))
    setup.produce(newer(count))
    letters = failures(placed)
    write(setup.bootstrap_servers, setup.dead_letter, setup.input, placed, letters)
    return placed, to_replay(placed, letters, REASONS, count)


def check(setup: Setup, placed: dict[Place, Event], expected: set[int]) -> None:
    """Each expected event once, as it was, on its own partition; none else."""
    found = replayed(setup)
    numbers = Counter(int(record.header("number") or -1) for record in found)
    assert set(numbers) == expected
    assert set(numbers.values()) == {1}
    for record in found:
        topic, partition, offset = str(record.header("dlq.origin")).split(":")
        event = placed[Place(int(partition), int(offset))]
        assert (topic, record.partition) == (setup.input, int(partition))
        assert (record.key, record.value) == (event.key, event.value)
        carried = tuple(header for header in record.headers if not header[0].startswith("dlq."))
        assert carried == event.headers
        assert {name for name, _ in record.headers if name.startswith("dlq.")} == {"dlq.replays", "dlq.origin"}


@pytest.mark.real_kafka
@pytest.mark.timeout(300)
def test_ten_thousand_letters_are_replayed_once_each_though_the_replay_is_killed_five_times(
    setup: Setup, show: Callable[[str], None]
) -> None:
    placed, expected = filled(setup, LETTERS)
    before, began = setup.reader.count(setup.input), time.monotonic()
    selecting = ("--reason", ",".join(REASONS), "--yes", "--json", "--rate", RATE)
    process = replay(setup, *selecting)
    plan = confirmed(process)
    assert said(process)[0]["to_replay"] == len(expected)
    seen = []
    for kill in range(1, KILLS + 1):
        target = before + len(expected) * kill // (KILLS + 1)
        wait_for_records(setup, target, process)
        assert process.running, process.tail
        process.signal(signal.SIGKILL)
        process.wait()
        seen.append(len(replayed(setup)))
        process = replay(setup, "--resume", plan, "--json", "--rate", RATE)
    assert process.wait(60) == 0, process.tail
    assert said(process)[-1] == {
        "plan": plan,
        "finished": True,
        "to_replay": len(expected),
        "replayed": len(expected),
        "refused": [],
        "lost": 0,
    }
    assert all(0 < count < len(expected) for count in seen), seen
    check(setup, placed, expected)
    show(f"{len(expected):,} of {LETTERS:,} replayed, after kills at {seen}, in {time.monotonic() - began:.1f} s")
    again = replay(setup, "--reason", ",".join(REASONS), "--yes", "--json")
    assert again.wait(60) == 0, again.tail
    assert said(again)[0]["to_replay"] == 0
    assert len(replayed(setup)) == len(expected)


@pytest.mark.real_kafka
def test_of_processes_that_run_one_plan_at_once_only_the_last_goes_on(setup: Setup) -> None:
    placed, expected = filled(setup, 1500)
    first = replay(setup, "--reason", ",".join(REASONS), "--yes", "--json", "--rate", "40")
    plan = confirmed(first)
    until(lambda: replayed(setup), 60, "a first chunk", lambda: first.tail)
    second = replay(setup, "--resume", plan, "--json", "--rate", "40")
    assert first.wait(60) == 4, first.tail
    assert f"--resume {plan}" in first.output
    assert "another process" in first.output
    until(lambda: "replaying" in second.output or not second.running, 60, "its own work", lambda: second.tail)
    third = replay(setup, "--resume", plan, "--json", "--rate", "1000")
    assert (second.wait(60), third.wait(60)) == (4, 0), [second.tail, third.tail]
    check(setup, placed, expected)


@pytest.mark.real_kafka
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_replay_between_two_transactions_and_says_how_to_go_on(
    setup: Setup, number: signal.Signals, code: int
) -> None:
    placed, expected = filled(setup, 600)
    process = replay(setup, "--reason", ",".join(REASONS), "--yes", "--rate", "100")
    until(lambda: replayed(setup) or not process.running, 60, "a first chunk", lambda: process.tail)
    process.signal(number)
    assert process.wait(10) == code, process.tail
    [line] = [line for line in process.output.splitlines() if "--resume" in line]
    done = len(replayed(setup))
    assert 0 < done < len(expected)
    assert f"replayed {done} of {len(expected)} dead letters" in process.output
    resumed = replay(setup, "--resume", line.rsplit(" ", 1)[-1])
    assert resumed.wait(60) == 0, resumed.tail
    check(setup, placed, expected)


@pytest.mark.real_kafka
def test_a_replayed_event_that_fails_again_keeps_its_origin_and_one_that_succeeds_becomes_a_vector(
    setup: Setup,
) -> None:
    emulator = setup.emulator()
    # three attempts each: the first run and the first replay fail, the second replay succeeds
    texts = [f"text {number} [[flaky:7]]" for number in range(6)]
    placed = setup.produce([good(text, key=text.encode(), dimensions=DIMENSIONS) for text in texts])
    worker = setup.worker(emulator.wait_url(), "--until-end")
    assert worker.wait(60) == 0, worker.tail
    assert len(setup.reader.read(setup.dead_letter)) == 6
    for _ in range(2):
        process = replay(setup, "--yes", "--json")
        assert process.wait(60) == 0, process.tail
        assert said(process)[0]["to_replay"] == 6, said(process)
        worker = setup.worker(emulator.wait_url(), "--until-end")
        assert worker.wait(60) == 0, worker.tail
    letters = setup.reader.read(setup.dead_letter)
    assert Counter(letter.header("dlq.replays") for letter in letters) == {None: 6, "1": 6}
    origins = {letter.header("dlq.origin") for letter in letters if letter.header("dlq.replays")}
    assert origins == {f"{setup.input}:{place.partition}:{place.offset}" for place in placed}
    vectors = setup.reader.read(setup.output)
    assert len(vectors) == 6
    assert not [name for vector in vectors for name, _ in vector.headers if name.startswith("dlq.")]
    process = replay(setup, "--yes", "--json")
    assert process.wait(60) == 0
    assert said(process)[0]["to_replay"] == 0, said(process)


@pytest.mark.real_kafka
def test_the_example_of_the_readme_replays(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines = (ROOT / "README.md").read_text().split("The same from Python:\n\n", 1)
    example = textwrap.dedent(lines.split("\n\n", 1)[0])
    filled(setup, 60)
    for name, value in setup.environment(NOWHERE).items():
        monkeypatch.setenv(name, value)
    exec(compile(example, "README.md", "exec"), {})
    timeouts = [record for record in replayed(setup) if int(record.header("number") or 0) % 6 == 0]
    assert len(replayed(setup)) == len(timeouts) > 0
    assert capsys.readouterr().out.endswith(f" {len(timeouts)}\n")
