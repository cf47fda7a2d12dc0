"""The worker processes: each place in the fleet is filled by one process after another."""

import json
import signal
import time
from dataclasses import dataclass, field
from typing import Final

from tests.integration.processes import EmulatorProcess, WorkerProcess
from tests.integration.setup import Setup

_TERM_SECONDS: Final = 40.0


@dataclass(slots=True)
class Member:
    """One process. `key`: its own API key, by which the emulator knows it; `stopped`: by SIGSTOP; `leaving`: told to end at that
    time of `time.monotonic`."""

    number: int
    key: str
    process: WorkerProcess
    stopped: bool = False
    killed: bool = False
    leaving: float | None = None

    @property
    def at_work(self) -> bool:
        """Whether it runs, and nobody has told it otherwise."""
        return not self.stopped and not self.killed and self.leaving is None and self.process.running


@dataclass(slots=True)
class Fleet:
    """`size` workers of one group. Whatever ends is started anew, as Kubernetes would; `unexpected` tells what ended unbidden,
    `everyone` holds all processes that there ever were."""

    setup: Setup
    emulator: EmulatorProcess
    size: int
    session_timeout: float
    settings: dict[str, str] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    everyone: list[Member] = field(default_factory=list)

    def start(self) -> None:
        """Fill all places."""
        self.members = [self._new() for _ in range(self.size)]

    def kill(self, member: Member) -> None:
        """SIGKILL; `look_after` starts its successor at once."""
        member.process.end()
        member.killed = True

    def stop(self, member: Member) -> None:
        """SIGSTOP."""
        member.process.signal(signal.SIGSTOP)
        member.stopped = True

    def wake(self, member: Member) -> None:
        """SIGCONT."""
        member.process.signal(signal.SIGCONT)
        member.stopped = False

    def dismiss(self, member: Member) -> None:
        """SIGTERM; `look_after` starts its successor as soon as it has ended."""
        member.leaving = time.monotonic()
        member.process.signal(signal.SIGTERM)

    def look_after(self) -> None:
        """Start successors of those that have ended, and note who should not have."""
        for member in list(self.members):
            if member.process.running:
                if member.leaving is not None and time.monotonic() - member.leaving > _TERM_SECONDS:
                    self.unexpected.append(
                        f"worker {member.number} did not end within {_TERM_SECONDS:.0f} s of SIGTERM"
                    )
                    self.kill(member)
                else:
                    continue
            code = member.process.wait()
            if not member.killed and (member.leaving is None or code):
                told = "" if member.leaving is None else " after SIGTERM"
                self.unexpected.append(
                    f"worker {member.number} ended{told} with exit code {code}\n{member.process.tail}"
                )
            self._replace(member)

    def restart_in_turn(self, member: Member) -> Member:
        """SIGTERM, wait, start the successor and wait until it is ready, as a rolling update does."""
        code = member.process.stop(_TERM_SECONDS)
        if code:
            self.unexpected.append(f"worker {member.number} ended after SIGTERM with exit code {code}")
        successor = self._replace(member)
        successor.process.wait_ready()
        return successor

    def end(self) -> None:
        """SIGTERM to all; each has to end with 0."""
        for member in self.members:
            if member.at_work:
                self.dismiss(member)
        for member in self.members:
            if code := member.process.wait(_TERM_SECONDS):
                tail = member.process.tail
                self.unexpected.append(f"worker {member.number} ended after SIGTERM with exit code {code}\n{tail}")

    def _replace(self, member: Member) -> Member:
        successor = self._new()
        self.members[self.members.index(member)] = successor
        return successor

    def _new(self) -> Member:
        number = len(self.everyone)
        key = f"SG_{number:016x}"
        session = round(self.session_timeout * 1000)
        properties = {"session.timeout.ms": session, "heartbeat.interval.ms": min(300, session // 5)}
        overrides = {
            "SEGMIND_API_KEY": key,
            "WORKER_KAFKA__PROPERTIES": json.dumps(properties),
            "WORKER_API__ATTEMPTS": "20",
            "WORKER_LOG__LEVEL": "debug",
            **self.settings,
        }
        self.everyone.append(Member(number, key, self.setup.worker(self.emulator.wait_url(), **overrides)))
        return self.everyone[-1]

    def leases(self) -> dict[int, float]:
        """The longest lease in seconds that each process has given itself, by its own log; without those that log none."""
        logged = {one.number: [line["seconds"] for line in one.process.logged("lease")] for one in self.everyone}
        return {number: max(seconds) for number, seconds in logged.items() if seconds}
