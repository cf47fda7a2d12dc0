"""A worker or a broker goes amid running jobs: they are polled on, none is submitted twice, none is published twice."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.integration.events import VECTOR
from tests.integration.operator import SESSION, SETTINGS, WAIT, bills, texts, wait_for_vectors, with_jobs
from tests.integration.setup import Setup
from tests.kafka.fixtures import KafkaController

pytestmark = pytest.mark.real_kafka

JOBS = 60


def test_after_sigkill_the_next_worker_polls_the_recorded_jobs_on_and_submits_none_of_them_again(
    setup: Setup, show: Callable[[str], None]
) -> None:
    emulator = setup.emulator(latency="constant:2")
    placed = setup.produce([*texts(JOBS), *texts(40, keys="later")])
    first = with_jobs(setup, emulator, JOBS, WORKER_LIMITS__IN_FLIGHT=str(JOBS))
    first.signal(signal.SIGKILL)
    first.wait()
    killed = time.monotonic()
    second = setup.worker(emulator.wait_url(), **SETTINGS)
    wait_for_vectors(setup, JOBS, SESSION + WAIT + 10)
    polled_on = time.monotonic() - killed
    assert emulator.stats()["submits_accepted"] <= JOBS + 40
    setup.wait_finished(20)
    tally = setup.tally(placed)
    show(f"{JOBS} recorded jobs were published {polled_on:.1f} s after SIGKILL (session timeout {SESSION:g} s)")
    assert (tally.kinds, tally.duplicates) == ({VECTOR: JOBS + 40}, 0)
    assert bills(emulator, placed.values()) == {1: JOBS + 40}
    assert emulator.stats()["submits_accepted"] == JOBS + 40
    read = second.logged("ledger read")
    assert sum(line["jobs"] for line in read) == JOBS
    assert {line["unclean_takeovers"] for line in read} == {1}


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_broker_restart_amid_running_jobs_costs_nothing(
    setup: Setup, kafka_broker: KafkaController, kill: bool
) -> None:
    if not kafka_broker.can_restart:
        pytest.skip("the given broker is not the tests' own to stop")
    emulator = setup.emulator(latency="constant:2")
    placed = setup.produce([*texts(JOBS), *texts(60, keys="later")])
    worker = with_jobs(setup, emulator, JOBS, WORKER_LIMITS__IN_FLIGHT=str(JOBS))
    kafka_broker.restart(kill=kill)
    setup.wait_finished(40)
    tally = setup.tally(placed)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: JOBS + 60}, 0)
    assert bills(emulator, placed.values()) == {1: JOBS + 60}
    assert worker.running
    worker.wait_ready(5)


def test_sigterm_does_not_wait_for_running_jobs_and_the_next_worker_publishes_them(
    setup: Setup, show: Callable[[str], None]
) -> None:
    emulator = setup.emulator(latency="constant:7")
    placed = setup.produce(texts(JOBS))
    first = with_jobs(setup, emulator, JOBS)
    began = time.monotonic()
    assert first.stop() == 0, first.tail
    stopped = time.monotonic() - began
    assert emulator.stats()["in_flight"] == JOBS, "no job is left: the test shows nothing"
    second = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished(15)
    tally = setup.tally(placed)
    show(f"SIGTERM with {JOBS} jobs in flight: ended in {stopped:.1f} s")
    assert stopped < 2
    assert (tally.kinds, tally.duplicates) == ({VECTOR: JOBS}, 0)
    assert emulator.stats()["submits_accepted"] == JOBS
    assert all(line["clean"] for line in second.logged("ledger read"))
