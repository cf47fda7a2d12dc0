"""A child process, bounded in time, and what it used of the machine from its first to its last instruction."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parents[2]

_TICK: Final = 0.05
_TAIL_CHARACTERS: Final = 3000
_KIB: Final = 1024


class RunFailedError(Exception):
    """A child hung or failed; says which and shows the end of its output."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU is user + system time of the process and the children it waited for; RSS is the peak of the process itself."""

    cpu_seconds: float
    wall_seconds: float
    peak_rss_mib: float


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of the worker, the SDK and the test Kafka, plus `extra`."""
    foreign = ("WORKER_", "SEGMIND_", "KAFKA_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | dict(extra)


def run_measured(
    name: str, command: Sequence[str], extra: Mapping[str, str], limit: float, watch: Callable[[], None]
) -> Usage:
    """Run `python` with these arguments to its end. `watch` is called about every 50 ms meanwhile.

    Raises RunFailedError if it does not exit with 0 within `limit` seconds; then it has been killed.
    """
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=clean_environment(extra),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        peak = 0.0
        try:
            while True:
                peak = max(peak, _peak_rss_mib(process.pid))
                # not Popen.wait: only wait4 tells what this one child has used
                ended, status, resources = os.wait4(process.pid, os.WNOHANG)
                wall = time.monotonic() - started
                if ended:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    break
                if wall > limit:
                    raise RunFailedError(f"{name} did not end within {limit:.0f} s and was killed\n{_tail(output)}")
                watch()
                time.sleep(_TICK)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        if process.returncode:
            raise RunFailedError(f"{name} ended with exit code {process.returncode}\n{_tail(output)}")
    return Usage(resources.ru_utime + resources.ru_stime, wall, peak or _rusage_mib(resources.ru_maxrss))


def _peak_rss_mib(pid: int) -> float:
    """The high-water mark of the memory map. Linux's ru_maxrss is no use: it begins with that of the parent at the fork."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / _KIB for line in lines if line.startswith("VmHWM:")), 0.0)


def _rusage_mib(maxrss: int) -> float:
    """Kibibytes, but bytes on macOS: getrusage(2) of both."""
    return maxrss / _KIB / (_KIB if sys.platform == "darwin" else 1)


def _tail(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode("utf-8", "replace")[-_TAIL_CHARACTERS:]
