"""A restart with the ledgers full: how soon after its assignment a worker asks again for every job that was running."""

import random
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.integration.events import good
from tests.integration.outcomes import Tally
from tests.integration.processes import EmulatorProcess, WorkerProcess
from tests.integration.setup import DIMENSIONS, Setup
from tests.integration.waiting import until
from tests.kafka.backend import Broker

PARTITIONS: Final = 12
JOBS: Final = 120
"""Per partition: the most that a worker takes in work of one, and so the most that a ledger holds."""
LATENCY: Final = 25.0
"""Seconds that every job runs: longer than it takes to submit them all, stop and start."""

_SECONDS: Final = 60.0
_BEYOND: Final = 1.5
"""Records on the topic, in times what fits into the ledgers: there is something left that could be submitted too early."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Seconds: `stop` from SIGTERM to the end; `assigned` from the start of the process to its assignment; `first_asked`,
    `all_asked` from the assignment to the first question for any, and for the last, of the `jobs` that ran. `asked`: how many of
    them were asked for. `bills`, `vectors`: of all records in the end."""

    partitions: int
    jobs: int
    stop: float
    assigned: float
    first_asked: float
    all_asked: float
    asked: int
    repeated_posts: int
    vectors: int
    bills: int


def measure_restart(
    broker: Broker,
    say: Callable[[str], None],
    *,
    partitions: int = PARTITIONS,
    jobs: int = JOBS,
    latency: float = LATENCY,
) -> Restart:
    """Fill the ledgers, stop in order, start again. Raises AssertionError where a step does not come to pass."""
    mark = uuid.uuid4().hex[:8]
    names = (f"restart-input-{mark}", f"restart-output-{mark}", f"restart-dead-letter-{mark}")
    for name in names:
        broker.create_topic(name, partitions, {})
    with tempfile.TemporaryDirectory(prefix="embedding-worker-restart-") as directory:
        setup = Setup(broker.bootstrap_servers, Path(directory), names)
        try:
            return _measured(setup, say, partitions, jobs, latency)
        finally:
            setup.close()


def _measured(setup: Setup, say: Callable[[str], None], partitions: int, jobs: int, latency: float) -> Restart:
    emulator = setup.emulator(module="tests.chaos.emulator", latency=f"constant:{latency}")
    chance, total = random.Random(1), partitions * jobs
    texts = [f"restart {number}: {chance.randbytes(8).hex()}" for number in range(round(total * _BEYOND))]
    placed = setup.produce([good(text, key=text.encode(), dimensions=DIMENSIONS) for text in texts])
    limits = {
        "WORKER_LIMITS__IN_FLIGHT": str(2 * total),
        "WORKER_LIMITS__IN_FLIGHT_PER_PARTITION": str(jobs),
        "WORKER_PACE__REQUESTS_PER_MINUTE": "1000000",
    }
    first = setup.worker(emulator.wait_url(), **limits)
    until(lambda: emulator.stats()["submits_accepted"] >= total, _SECONDS, f"{total} jobs", setup.tails)
    assert emulator.stats()["in_flight"] == total, "jobs ended before all were submitted: a longer latency is needed"
    say(f"{total} jobs are running; stopping")
    began = time.monotonic()
    assert first.stop() == 0, first.tail
    stopped = time.monotonic() - began
    asked_before = len(emulator.polls(0))

    started = time.time()
    second = setup.worker(emulator.wait_url(), **limits)
    assigned = _assigned_at(second)
    running, asked = {text for _, _, text, _, _ in emulator.posts(0)}, _asked(emulator, asked_before, total)
    assert emulator.stats()["in_flight"] == total, "jobs ended before the new worker had asked for all: no measure"
    posts = len(emulator.posts(0))
    setup.wait_finished(3 * latency + _SECONDS)
    assert second.stop() == 0, second.tail
    tally: Tally = setup.tally(placed)
    stats = emulator.stats()
    assert len(running) == total
    assert tally.duplicates == 0
    return Restart(
        partitions,
        total,
        stopped,
        assigned - started,
        min(asked.values(), default=assigned) - assigned,
        max(asked.values(), default=assigned) - assigned,
        len(asked),
        posts - total + stats["double_billed"],
        tally.kinds["vector"],
        stats["bills"],
    )


def _assigned_at(worker: WorkerProcess) -> float:
    """Unix time of its first assignment, by its own log."""
    [line, *_] = until(lambda: worker.logged("partitions assigned"), _SECONDS, "assigned", lambda: worker.tail)
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _asked(emulator: EmulatorProcess, after: int, total: int) -> dict[str, float]:
    """Unix time of the first question for each job, from question number `after` on."""
    asked: dict[str, float] = {}

    def all_asked() -> bool:
        for at, request_id in emulator.polls(after):
            asked.setdefault(request_id, at)
        return len(asked) >= total

    until(all_asked, _SECONDS, f"all {total} jobs asked for", lambda: f"{len(asked)} were")
    return asked
