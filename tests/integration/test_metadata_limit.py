"""A broker that takes less metadata with an offset than the 4096 characters that are its default."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.integration.events import VECTOR, Event, Place
from tests.integration.operator import SETTINGS, bills, texts, wait_for_vectors, with_jobs
from tests.integration.processes import EmulatorProcess, WorkerProcess
from tests.integration.setup import Setup
from tests.integration.test_start import the_error
from tests.integration.waiting import until
from tests.kafka import maven
from tests.kafka.backend import BackendUnavailable
from tests.kafka.kraft import KraftBroker
from worker.core.ledger_capacity import in_flight_limit

pytestmark = pytest.mark.real_kafka

PARTITIONS: Final = 2
LIMIT: Final = "offset.metadata.max.bytes"
FITS: Final = PARTITIONS * in_flight_limit(511, 16)
"""Records in flight of which the ledgers fit into 512 bytes, one of them the client's own."""
NO_FLOOD: Final = 40
"""Lines: those of a broker's restart are some 20; one for every refused commit would be hundreds."""
QUIET: Final = SETTINGS | {"WORKER_LOG__LEVEL": "info"}


@pytest.fixture(scope="module")
def broker() -> Iterator[KraftBroker]:
    """A broker of these tests' own, not yet started."""
    try:
        installation = maven.install(os.environ)
    except BackendUnavailable as missing:
        pytest.skip(f"needs a broker with a configuration of its own: {missing}")
    broker = KraftBroker(installation)
    yield broker
    broker.close()


@pytest.fixture
def limited(broker: KraftBroker, tmp_path: Path) -> Iterator[Callable[[int], Setup]]:
    """Setups on that broker, its limit as asked for."""
    made: list[Setup] = []

    def make(characters: int) -> Setup:
        restart(broker, characters)
        names = tuple(f"{label}-{uuid.uuid4().hex[:12]}" for label in ("input", "output", "dead-letter"))
        for name in names:
            broker.create_topic(name, PARTITIONS, {})
        made.append(Setup(broker.bootstrap_servers, tmp_path, (names[0], names[1], names[2])))
        return made[-1]

    yield make
    for setup in made:
        setup.close()


def restart(broker: KraftBroker, characters: int) -> None:
    """Start the broker (again) with this limit."""
    broker.stop()
    broker.configure({LIMIT: str(characters)})
    broker.start()


def most_in_flight(setup: Setup, emulator: EmulatorProcess, above: int) -> int:
    """The most jobs in flight at once from when the output holds `above` offsets until all is finished."""
    most = 0

    def finished() -> bool:
        nonlocal most
        in_flight, out = emulator.stats()["in_flight"], setup.reader.count(setup.output)
        most = max(most, in_flight if out >= above else 0)
        return setup.lag() == 0

    until(finished, 40, "lag 0", setup.tails)
    return most


def check_all_once(
    setup: Setup, emulator: EmulatorProcess, worker: WorkerProcess, placed: Mapping[Place, Event]
) -> None:
    """Every event has one vector and one bill, and the log is no flood."""
    tally = setup.tally(placed)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: len(placed)}, 0)
    assert bills(emulator, placed.values()) == {1: len(placed)}
    complaints = [line for line in worker.output.splitlines() if '"warning"' in line or '"error"' in line]
    assert len(complaints) < NO_FLOOD, "\n".join(complaints)
    worker.wait_ready(10)


def test_a_limit_of_512_characters_bounds_what_is_in_flight_and_costs_nothing_else(
    limited: Callable[[int], Setup], show: Callable[[str], None]
) -> None:
    setup = limited(512)
    emulator = setup.emulator(latency="constant:0.5")
    placed = setup.produce(texts(300))
    worker = setup.worker(emulator.wait_url(), **QUIET)
    most = most_in_flight(setup, emulator, 150)
    show(f"512 characters: at most {most} jobs in flight, {FITS} fit")
    check_all_once(setup, emulator, worker, placed)
    assert 0.8 * FITS < most <= FITS


def test_a_limit_lowered_to_512_characters_under_full_ledgers_loses_and_repeats_nothing(
    limited: Callable[[int], Setup], broker: KraftBroker, show: Callable[[str], None]
) -> None:
    setup = limited(4096)
    emulator = setup.emulator(latency="constant:3")
    # 120 in flight at the restart, at most 120 more before a commit shows the limit, and 80 under it
    placed = setup.produce([*texts(120), *texts(200, keys="later")])
    worker = with_jobs(setup, emulator, 120, WORKER_LIMITS__IN_FLIGHT="120", WORKER_LOG__LEVEL="info")
    restart(broker, 512)
    emulator.change(latency="constant:0.5")
    most = most_in_flight(setup, emulator, 245)
    show(f"lowered to 512 characters: at most {most} jobs in flight then, {FITS} fit")
    check_all_once(setup, emulator, worker, placed)
    assert most <= FITS


def test_a_limit_that_no_job_fits_into_is_told_and_nothing_more_is_taken_up_until_it_is_raised(
    limited: Callable[[int], Setup], broker: KraftBroker, show: Callable[[str], None]
) -> None:
    setup = limited(80)
    emulator = setup.emulator()
    placed = setup.produce(texts(300))
    worker = setup.worker(emulator.wait_url(), **QUIET)
    worker.wait_started()
    body = worker.wait_not_ready(LIMIT)
    assert "raise" in body
    assert worker.live() == 200
    # what was in flight before the first refusal showed the limit
    until(lambda: emulator.stats()["in_flight"] == 0, 10, "the jobs in flight end", setup.tails)
    begun = emulator.stats()["submits_accepted"]
    wait_for_vectors(setup, begun, 10)
    show(f"80 characters: {begun} of 300 submitted before it was known")
    assert begun < 100
    assert worker.stop() == 0
    assert emulator.stats()["submits_accepted"] == begun
    restart(broker, 4096)
    worker = setup.worker(emulator.wait_url(), **QUIET)
    setup.wait_finished()
    check_all_once(setup, emulator, worker, placed)


def test_a_limit_below_an_empty_ledger_is_refused_at_the_start_in_a_line_that_names_it(
    limited: Callable[[int], Setup],
) -> None:
    setup = limited(32)
    setup.produce(texts(3))
    line = the_error(setup.worker(setup.emulator().wait_url(), **QUIET), 3, 30)
    assert LIMIT in line
