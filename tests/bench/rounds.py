"""The measuring itself: the contenders one after the other, again and again, on the same events, broker and emulator."""

import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.contenders import Contenders, Places
from tests.bench.emulator import EmulatorProcess
from tests.bench.figures import Run
from tests.bench.outcomes import read_outcomes
from tests.bench.processes import Usage, run_measured
from tests.bench.workload import PARTITIONS, Workload, produce
from tests.kafka.backend import Broker


def say(line: str) -> None:
    """Progress."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs contenders. Every run has a group and topics of its own; all read the same input topic."""

    broker: Broker
    emulator: EmulatorProcess
    workload: Workload
    contenders: Contenders

    def measure(self, rounds: int) -> tuple[list[Run], dict[str, Usage]]:
        """All runs, and each contender's run on an empty topic: what starting, joining and leaving cost.

        Raises RunFailedError, TimeoutError and KafkaException.
        """
        filled, empty = self._topic("input", PARTITIONS), self._topic("empty", PARTITIONS)
        say(f"producing {self.workload.events} events")
        produce(self.broker.bootstrap_servers, filled, self.workload)
        # Twice, and the first is forgotten: it compiles what was never compiled and fills the page cache, and counted in
        # it would make the figures net of start-up look better than they are.
        for _ in range(2):
            idle = {name: self._idle(name, empty) for name in self.contenders}
        runs = []
        for number in range(1, rounds + 1):
            # there and back, so that none profits from its place in the order
            order = list(self.contenders)[:: 1 if number % 2 else -1]
            runs += [self._run(name, number, filled) for name in order]
        return runs, idle

    def _idle(self, contender: str, empty: str) -> Usage:
        usage = self._used(contender, self._places(empty))
        say(f"{contender} on an empty topic: {usage.cpu_seconds:.2f} CPU s, {usage.wall_seconds:.1f} s")
        return usage

    def _run(self, contender: str, number: int, filled: str) -> Run:
        places = self._places(filled)
        usage = self._used(contender, places)
        share = self.emulator.core_share()
        statistics = self.emulator.statistics()
        outcomes = read_outcomes(
            self.broker.bootstrap_servers, places.output, places.dead_letter, self.workload.dimension
        )
        run = Run(
            contender,
            number,
            self.workload.events,
            usage,
            outcomes,
            statistics["requests"],
            _by_route(statistics["requests_by_route"]),
            statistics["bills"],
            statistics["double_billed"],
            share,
        )
        say(
            f"{contender}, round {number}: {outcomes.vectors} vectors, {usage.cpu_seconds:.2f} CPU s, "
            f"{usage.wall_seconds:.1f} s, {run.requests} requests, {usage.peak_rss_mib:.0f} MiB"
        )
        return run

    def _used(self, contender: str, places: Places) -> Usage:
        command = self.contenders[contender](places, self.workload)
        self.emulator.reset()
        limit = 60.0 + self.workload.events / 10
        return run_measured(contender, command.arguments, command.environment, limit, self.emulator.watch)

    def _places(self, input_topic: str) -> Places:
        return Places(
            self.broker.bootstrap_servers,
            self.emulator.url,
            f"bench-{uuid.uuid4().hex[:12]}",
            input_topic,
            self._topic("output", self.workload.output_partitions),
            self._topic("dead-letter", 1),
        )

    def _topic(self, label: str, partitions: int) -> str:
        name = f"bench-{label}-{uuid.uuid4().hex[:12]}"
        self.broker.create_topic(name, partitions, {})
        return name


def _by_route(statistics: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {route: sum(by_status.values()) for route, by_status in statistics.items()}
