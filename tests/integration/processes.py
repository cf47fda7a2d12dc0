"""Worker and emulator as child processes; each is ended by its own id."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from tests.integration.waiting import until

ROOT: Final = Path(__file__).resolve().parents[2]
_STARTED_SECONDS: Final = 30.0
_END_SECONDS: Final = 20.0
_LOG_TAIL_LINES: Final = 40
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


class ChildProcess:
    """A Python module as a process, its output in a file."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env={**inherited, "COLUMNS": "200", **environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.started_at = time.monotonic()

    @property
    def output(self) -> str:
        """All that it has written until now."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def tail(self) -> str:
        """The last lines that it has written."""
        return "\n".join(self.output.splitlines()[-_LOG_TAIL_LINES:])

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = _END_SECONDS) -> int:
        """Its exit code. Raises AssertionError where it does not end in time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:g} s\n{self.tail}") from None

    def stop(self, seconds: float = _END_SECONDS) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.running:
            self._process.kill()
        self._process.wait()


class WorkerProcess(ChildProcess):
    """`embedding-worker run`, its log as JSON lines."""

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        return [line for line in self._all_logged() if line["event"] == event]

    def _all_logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{") and line.endswith("}")]

    def wait_started(self) -> None:
        """Wait until the status port is open. Raises AssertionError."""
        until(lambda: self.logged("started") or not self.running, _STARTED_SECONDS, "started", lambda: self.tail)
        assert self.running, self.tail

    def ready(self) -> tuple[int, str]:
        """Status and body of /readyz."""
        [started] = self.logged("started")
        answer = httpx.get(f"http://127.0.0.1:{started['status_port']}/readyz", timeout=5.0, trust_env=False)
        return answer.status_code, answer.text

    def page(self, name: str) -> str:
        """What a page of the status port says."""
        [started] = self.logged("started")
        answer = httpx.get(f"http://127.0.0.1:{started['status_port']}/{name}", timeout=5.0, trust_env=False)
        assert answer.status_code == 200
        return answer.text

    def live(self) -> int:
        """Status of /livez."""
        [started] = self.logged("started")
        return httpx.get(f"http://127.0.0.1:{started['status_port']}/livez", timeout=5.0, trust_env=False).status_code

    def wait_ready(self, seconds: float = _STARTED_SECONDS) -> None:
        """Wait until it takes events."""
        self.wait_started()
        until(lambda: self.ready()[0] == 200, seconds, "ready", lambda: f"{self.ready()}\n{self.tail}")

    def wait_not_ready(self, reason: str, seconds: float = _STARTED_SECONDS) -> str:
        """Wait until /readyz answers 503 with a line that holds `reason`; returns the body."""

        def look() -> str:
            status, body = self.ready()
            return body if status == 503 and reason in body else ""

        return until(look, seconds, f"not ready: {reason}", lambda: f"{self.ready()}\n{self.tail}")

    @property
    def dropped_in_flight(self) -> int:
        """How many records in flight it has dropped, by its own account."""
        return sum(line["in_flight"] for line in self.logged("partitions dropped"))

    @property
    def handed_over(self) -> set[str]:
        """The partitions that it gave away before it was told to stop."""
        lines = [line for line in self.logged("partitions dropped") if line["timestamp"] < self._told_to_stop]
        return {name for line in lines for name in line["partitions"]}

    @property
    def _told_to_stop(self) -> str:
        lines = [line["timestamp"] for line in self._all_logged() if line["event"].startswith("draining")]
        return min(lines, default="9999")


class EmulatorProcess(ChildProcess):
    """`python -m worker.emulator`."""

    def wait_url(self) -> str:
        """Its base URL, once it listens."""
        until(
            lambda: self.output.startswith("url=") or not self.running, _STARTED_SECONDS, "emulator", lambda: self.tail
        )
        assert self.running, self.tail
        return self.output.partition("\n")[0].removeprefix("url=")

    def stats(self) -> dict[str, Any]:
        """Its statistics."""
        stats: dict[str, Any] = self._call("GET", "stats")
        return stats

    def bills(self) -> dict[str, int]:
        """Bills by the hex SHA-256 of the text."""
        bills: dict[str, int] = self._call("GET", "bills")
        return bills

    def posts(self, after: int) -> list[tuple[float, str, str, bool, bool]]:
        """Only of `tests.chaos.emulator`: the accepted POSTs from number `after` on, as it records them."""
        return [tuple(post) for post in self._call("GET", f"posts/{after}")]

    def polls(self, after: int) -> list[tuple[float, str]]:
        """Only of `tests.chaos.emulator`: Unix time and request_id of every question for a job, from number `after` on."""
        return [tuple(poll) for poll in self._call("GET", f"polls/{after}")]

    def change(self, **changes: object) -> None:
        """Change its configuration."""
        self._call("PATCH", "config", changes)

    def _call(self, method: str, name: str, body: Mapping[str, object] | None = None) -> Any:
        url = f"{self.wait_url()}/_emulator/{name}"
        answer = httpx.request(method, url, json=body, timeout=10.0, trust_env=False)
        answer.raise_for_status()
        return answer.json()
