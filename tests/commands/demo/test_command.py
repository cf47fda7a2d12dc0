"""The demo as a person and as a script meet it: a process of its own, its streams, its exit code."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60.0
COMMAND = (sys.executable, "-m", "worker", "demo")
# what a demo must not look at: it would be refused, or lead to a real broker
HOSTILE = {
    "WORKER_NO_SUCH_SETTING": "1",
    "WORKER_KAFKA__BOOTSTRAP_SERVERS": "192.0.2.1:9092",
    "SEGMIND_API_KEY": "real",
}


def played(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        input=given,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | HOSTILE,
    )


def figures(process: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return found


@contextmanager
def playing(*arguments: str) -> "Iterator[tuple[subprocess.Popen[str], queue.SimpleQueue[str]]]":
    """The demo while it runs, and the lines of its stderr as they come."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | HOSTILE
    )
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    stderr = process.stderr
    assert stderr is not None

    def read() -> None:
        for line in stderr:
            lines.put(line)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield process, lines
    finally:
        process.kill()
        process.communicate()
        reader.join(SECONDS)


def line_with(words: str, lines: "queue.SimpleQueue[str]") -> str:
    while True:
        line = lines.get(timeout=SECONDS)
        if words in line:
            return line


def test_the_sample_ends_as_it_must_and_stdout_is_one_json_object() -> None:
    process = played("--json")
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("\n") == 1
    found = figures(process)
    assert found["dead_letters_by_reason"] == {"CONTENT_BLOCKED": 2, "INFERENCE_FAILED": 1, "INVALID_EVENT": 3}
    assert (found["dead_letters"], found["tombstones"]) == (6, 2)
    assert found["events"] == found["vectors"] + found["dead_letters"] + found["tombstones"] > 60
    assert found["billed"] == found["vectors"]
    assert (found["double_billed"], found["missing"], found["repeated"]) == (0, 0, 0)
    assert found["requests_per_event"] == round(found["requests"] / found["events"], 3)
    # a vector takes two at the least; the flaky texts take two submits, the failing one three
    assert found["requests"] > 2 * found["vectors"]
    assert "\x1b" not in process.stderr
    for words in ("Summary", "nearest neighbours", "a text that the emulator", "after 3 attempts"):
        assert words in process.stderr


def test_without_json_the_report_is_on_stdout_and_progress_on_stderr() -> None:
    process = played("--input", "-", given="a cat sat\n\na cat slept\n")
    assert process.returncode == 0, process.stderr
    assert "Summary" in process.stdout
    assert "2/2 events done: 2 vectors" in process.stderr


def test_json_lines_may_say_more_than_a_text_and_bad_wishes_become_dead_letters(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [
        {"text": "steer a \x1b[31m terminal", "id": 7, "metadata": {"n": 1, "none": None}},
        "a bare string",
        {"text": "twin"},
        {"text": "twin"},
        {"text": "short", "output_dimensionality": 8, "task_type": "CLUSTERING"},
        {"text": "the same key", "id": "7"},
        {"text": "  "},
        {"text": "no such task", "task_type": "NOPE"},
        {"text": "not a number in it [[badvector]]"},
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    process = played("--input", str(file), "--json", "--dimension", "16")
    assert process.returncode == 0, process.stderr
    found = figures(process)
    assert (found["events"], found["vectors"]) == (9, 6)
    assert found["dead_letters_by_reason"] == {"INVALID_EVENT": 2, "INVALID_RESULT": 1}
    # twins are two events, each billed once; a bad vector was paid for
    assert (found["billed"], found["double_billed"]) == (7, 0)
    assert "\x1b" not in process.stderr


def test_a_file_of_nothing_but_bad_lines_becomes_dead_letters_to_the_last_line() -> None:
    lines = "\n".join(json.dumps({"text": f"text {number}", "task_type": "clustering"}) for number in range(1000))
    process = played("--input", "-", "--json", given=lines)
    assert process.returncode == 0, process.stderr
    assert figures(process)["dead_letters_by_reason"] == {"INVALID_EVENT": 1000}
    assert "halted" not in process.stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.txt", None, "No such file"),
        ("empty.txt", b"\n  \n", "no line with a text"),
        ("latin.txt", b"fine\ncaf\xe9\n", "line 2 is not UTF-8"),
        ("bad.jsonl", b'{"text": "a"}\n{oops\n', "line 2: not JSON"),
    ],
)
def test_an_unusable_file_is_one_clear_line_before_anything_starts(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    process = played("--input", str(tmp_path / name), "--json")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.count("\n") == 1
    assert words in process.stderr


def test_ctrl_c_in_the_middle_leaves_with_130(tmp_path: Path) -> None:
    file = tmp_path / "many.txt"
    file.write_text("\n".join(f"text number {number}" for number in range(5000)))
    with playing("--input", str(file), "--json") as (process, lines):
        line_with("events done", lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert process.stdout is not None
        assert process.stdout.read() == ""


def test_keep_leaves_everything_up_until_ctrl_c() -> None:
    with playing("--keep", "--json", "--dimension", "8") as (process, lines):
        url = line_with("/_emulator/stats", lines).split()[-1]
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            assert json.load(answer)["bills"] > 50
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
