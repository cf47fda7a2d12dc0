"""Commands as processes: streams that take nothing, signals at any time, words for mistakes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.cli import main

SECONDS = 60.0
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def environment(**more: str) -> dict[str, str]:
    plain = {name: text for name, text in os.environ.items() if not name.upper().startswith(("WORKER_", "SEGMIND_"))}
    plain.pop("PYTHONUNBUFFERED", None)  # with it, nothing is left to be written when the interpreter ends
    return plain | {"WORKER_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"} | more


@needs_full
@pytest.mark.parametrize("arguments", [["check"], ["emulator", "--port", "0"], ["demo", "--json", "--dimension", "8"]])
def test_a_full_stdout_is_one_line_and_exit_code_1(arguments: list[str]) -> None:
    with FULL.open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            env=environment(),
        )
    assert process.returncode == 1, process.stderr
    assert process.stderr.splitlines()[-1].startswith("error: cannot write to stdout: ")
    assert "Traceback" not in process.stderr


def test_a_reader_that_is_gone_ends_a_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "worker", "emulator", "--port", "0"],
        check=False,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        env=environment(),
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (1, "")


def without_stream(closed: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell starts it with a stream closed: `<&-`, `>&-` or `2>&-`."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "worker", *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(**more),
    )


needs_shell = pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")


@needs_shell
@pytest.mark.parametrize(
    ("arguments", "words"), [(["embed", "-"], "the text is empty"), (["demo", "--input", "-"], "error: ")]
)
def test_a_closed_stdin_is_an_empty_one(arguments: list[str], words: str) -> None:
    process = without_stream("<&-", *arguments)
    assert process.returncode != 0
    assert words in process.stderr
    assert "NoneType" not in process.stderr
    assert "Traceback" not in process.stderr


@needs_shell
@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_closed_stdout_takes_what_is_written_nowhere(closed: str) -> None:
    process = without_stream(closed, "demo", "--json", "--dimension", "8")
    assert process.returncode == 0, process.stderr


@needs_shell
def test_a_worker_without_stdout_ends_as_one_with_it() -> None:
    process = without_stream(
        ">&-",
        "run",
        SEGMIND_API_KEY="SG_0123456789",
        WORKER_STATUS__PORT="0",
        WORKER_KAFKA__PROPERTIES='{"session.timeout.ms": "x"}',
    )
    assert process.returncode == 2, process.stderr


@needs_shell
def test_a_wrong_setting_is_exit_code_2_where_nobody_can_read_why() -> None:
    assert without_stream("2>&-", "check", WORKER_STATUS__PORT="x").returncode == 2


@pytest.mark.parametrize("seconds", [0.15, 0.3])
def test_ctrl_c_while_the_program_loads_ends_it_without_a_word(seconds: float) -> None:
    script = "import threading, os, signal\nfrom worker.cli import main\n"  # before it no program could catch anything
    script += f"threading.Timer({seconds}, os.kill, (os.getpid(), signal.SIGINT)).start()\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(SEGMIND_API_KEY="SG_0123456789", WORKER_STATUS__PORT="0"),
    )
    began = time.monotonic()
    _, errors = process.communicate(timeout=SECONDS)
    assert time.monotonic() - began < SECONDS / 2
    assert "Traceback" not in errors
    assert process.returncode in {0, 130, -signal.SIGINT}


def test_an_interrupted_command_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.commands.application.application", interrupted)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["emulator", "--config", "[]"], "wants a JSON object"),
        (["embed", "\udcff"], "not UTF-8"),
        (["emulator", "--config", "{"], "--config is not JSON"),
        (["emulator", "--latency", "soon"], "emulator: latency: not understood; write lognormal:"),
        (["run", "--fail-on-dead-letters"], "--fail-on-dead-letters needs --until-end"),
        (["topics", "create", "--replication", "0"], "want 1 or more, or -1 for the broker's default"),
        (["check", "--set", "api_key=SG_0123456789"], "secrets go into SEGMIND_API_KEY_FILE or SEGMIND_API_KEY"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.argv", ["embedding-worker", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert "SG_0123456789" not in line


def test_a_worker_loads_neither_emulator_nor_demo() -> None:
    script = (
        "import sys\nfrom worker.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, "run", "--help"], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    loaded = set(told.stderr.split())
    assert "worker.commands.run" in loaded
    assert not loaded & {"worker.emulator", "worker.commands.demo", "worker.commands.application"}
    assert " run [OPTIONS]" in told.stdout
