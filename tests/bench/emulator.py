"""The emulated API as a process of its own, its statistics, and how much of a core it takes."""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import psutil

from tests.bench.processes import ROOT, RunFailedError, clean_environment

_START_SECONDS: Final = 20.0
_ANSWER_SECONDS: Final = 20.0
_WINDOW_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class CoreShare:
    """CPU seconds per second of the emulator, which uses one core at most: over the whole run, and in its busiest second."""

    mean: float
    busiest: float


class EmulatorProcess:
    """`python -m worker.emulator`. A context manager; `url` is its base URL."""

    def __init__(self, latency: str, running_result: int = 200) -> None:
        config = json.dumps({"latency": latency, "seed": 1, "credits": 1e6, "running_result": running_result})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.emulator", "--config", config],
            cwd=ROOT,
            env=clean_environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.url = self._first_line().removeprefix("url=")
            self._usage = psutil.Process(self._process.pid)
        except BaseException:
            self._end()
            raise
        self._marks: list[tuple[float, float]] = []

    def reset(self) -> None:
        """Forget jobs, bills and counts, and begin the random sequence of latencies again."""
        self._ask("reset", "POST")
        self._marks = [self._mark()]

    def watch(self) -> None:
        """Note the CPU time used until now, about once a second."""
        mark = self._mark()
        if mark[0] - self._marks[-1][0] >= _WINDOW_SECONDS:
            self._marks.append(mark)

    def core_share(self) -> CoreShare:
        """Since the last reset."""
        end, start = self._mark(), self._marks[0]
        windows = [_share(before, after) for before, after in zip(self._marks, self._marks[1:], strict=False)]
        mean = _share(start, end)
        return CoreShare(mean, max([mean, *windows]))

    def statistics(self) -> dict[str, Any]:
        """Counts since the last reset."""
        return self._ask("stats", "GET")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _mark(self) -> tuple[float, float]:
        used = self._usage.cpu_times()
        return time.monotonic(), used.user + used.system

    def _ask(self, what: str, method: str) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}/_emulator/{what}", method=method)
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def _first_line(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        # a read of a pipe has no time limit of its own; the process has
        timer = threading.Timer(_START_SECONDS, self._process.kill)
        timer.start()
        try:
            line = stdout.readline().strip()
        finally:
            timer.cancel()
        if not line:
            raise RunFailedError(f"the emulator did not start within {_START_SECONDS:.0f} s")
        return line

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _share(before: tuple[float, float], after: tuple[float, float]) -> float:
    return (after[1] - before[1]) / max(1e-9, after[0] - before[0])
