"""One test's own topics, group and processes."""

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.integration.events import Event, Place, produce
from tests.integration.outcomes import Tally, tally
from tests.integration.processes import ChildProcess, EmulatorProcess, WorkerProcess
from tests.integration.readers import TopicReader
from tests.integration.waiting import until

KEY: Final = "SG_0123456789abcdef"
DIMENSIONS: Final = 64
"""Of the vectors asked for: what these tests are about does not depend on it."""

_GROUP_PROPERTIES: Final = {"heartbeat.interval.ms": 300, "session.timeout.ms": 6000}


class Setup:
    """Topics (made by the test), a group, and what was started with them. `close` ends all processes."""

    def __init__(self, bootstrap_servers: str, directory: Path, topics: tuple[str, str, str]) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.input, self.output, self.dead_letter = topics
        self.group = f"group-{uuid.uuid4().hex[:12]}"
        self.directory = directory
        self.reader = TopicReader(bootstrap_servers)
        self._started: list[ChildProcess] = []
        self._logs: Counter[str] = Counter()

    def emulator(self, *, port: int = 0, module: str = "worker.emulator", **config: object) -> EmulatorProcess:
        """An emulator that listens. Its jobs take 0.2 s unless `latency` says otherwise."""
        given = {"latency": "constant:0.2", **config}
        arguments = [module, "--port", str(port), "--config", json.dumps(given)]
        emulator = EmulatorProcess(arguments, {}, self._log("emulator"))
        self._started.append(emulator)
        emulator.wait_url()
        return emulator

    def environment(self, api: str, **overrides: str | None) -> dict[str, str]:
        """The worker's whole configuration; an override of None takes a variable away."""
        given: dict[str, str | None] = {
            "SEGMIND_API_KEY": KEY,
            "WORKER_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "WORKER_KAFKA__GROUP_ID": self.group,
            "WORKER_KAFKA__START_FROM": "earliest",
            "WORKER_KAFKA__PROPERTIES": json.dumps(_GROUP_PROPERTIES),
            "WORKER_TOPICS__INPUT": self.input,
            "WORKER_TOPICS__OUTPUT": self.output,
            "WORKER_TOPICS__DEAD_LETTER": self.dead_letter,
            "WORKER_API__BASE_URL": api,
            "WORKER_API__OUTPUT_DIMENSIONALITY": str(DIMENSIONS),
            "WORKER_PACE__REQUESTS_PER_MINUTE": "60000",
            "WORKER_STATUS__HOST": "127.0.0.1",
            "WORKER_STATUS__PORT": "0",
            "WORKER_LOG__JSON_LINES": "true",
            **overrides,
        }
        return {name: value for name, value in given.items() if value is not None}

    def worker(self, api: str, *arguments: str, **overrides: str | None) -> WorkerProcess:
        """A worker, just started."""
        return self.command(("run", *arguments), self.environment(api, **overrides))

    def command(self, arguments: Sequence[str], environment: Mapping[str, str]) -> WorkerProcess:
        """Any command of the worker, just started."""
        process = WorkerProcess(["worker", *arguments], environment, self._log("worker"))
        self._started.append(process)
        return process

    def produce(self, events: Sequence[Event]) -> dict[Place, Event]:
        """Produce to the input topic; where each event stands."""
        return produce(self.bootstrap_servers, self.input, events)

    def wait_finished(self, seconds: float = 60.0, detail: str = "") -> None:
        """Wait until the group has committed the end of the input topic."""
        until(lambda: self.lag() == 0, seconds, f"lag 0 {detail}", lambda: f"lag {self.lag()}\n{self.tails()}")

    def wait_until_counted(self, topic: str, count: int, seconds: float) -> None:
        """Wait until the topic holds so many records."""
        until(lambda: self.reader.count(topic) >= count, seconds, f"{count} records in {topic}", self.tails)

    def lag(self) -> int:
        """Records of the input topic that are not committed."""
        return self.reader.lag(self.group, self.input)

    def tally(self, placed: Mapping[Place, Event]) -> Tally:
        """Read both topics and match them with what was produced."""
        return tally(self.input, placed, self.reader.read(self.output), self.reader.read(self.dead_letter))

    def tails(self) -> str:
        """The end of every process's output."""
        return "\n".join(f"--- {number}:\n{process.tail}" for number, process in enumerate(self._started))

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            process.end()
        self.reader.close()

    def _log(self, name: str) -> Path:
        self._logs[name] += 1
        return self.directory / f"{name}-{self._logs[name] - 1}.log"
