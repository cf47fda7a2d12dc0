"""`pending` beside a running worker, and committed offsets that travel with their ledgers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.events import VECTOR
from tests.integration.operator import LONG, SETTINGS, Operator, bills, texts, with_jobs
from tests.integration.processes import EmulatorProcess, WorkerProcess
from tests.integration.setup import KEY, Setup
from worker.model import Position


def pending(setup: Setup, emulator: EmulatorProcess, *arguments: str, code: int = 0) -> WorkerProcess:
    """Run the command to its end."""
    process = setup.command(("pending", *arguments), setup.environment(emulator.wait_url()))
    assert process.wait(30) == code, process.output
    assert KEY not in process.output
    return process


def listed(setup: Setup, emulator: EmulatorProcess, *arguments: str) -> Any:
    """The JSON object."""
    output = pending(setup, emulator, "--json", *arguments).output
    return json.loads(next(line for line in output.splitlines() if line.startswith("{")))


@pytest.mark.real_kafka
def test_the_jobs_of_a_running_worker_are_shown_with_their_states_and_nothing_is_disturbed(setup: Setup) -> None:
    emulator = setup.emulator(latency="constant:15")
    placed = setup.produce(texts(30))
    worker = with_jobs(setup, emulator, 30)
    found = listed(setup, emulator, "--fetch", "--rate", "100")
    jobs = [entry for state in found["partitions"] for entry in state["pending"]]
    assert (found["group"], found["totals"]["jobs"], found["totals"]["problems"]) == (setup.group, 30, 0)
    assert {(state["partition"], entry["offset"]) for state in found["partitions"] for entry in state["pending"]} == {
        (place.partition, place.offset) for place in placed
    }
    assert {entry["state"] for entry in jobs} <= {"QUEUED", "PROCESSING"}
    assert all(entry["attempt"] == 1 and 3500 < entry["expires_in"] < 3600 for entry in jobs)
    lines = pending(setup, emulator).output.splitlines()
    assert len(lines) == 32
    assert f"30 jobs in 3 of 3 partitions of {setup.group}" in lines[-1]
    setup.wait_finished()
    tally = setup.tally(placed)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 30}, 0)
    assert bills(emulator, placed.values()) == {1: 30}
    assert len(worker.logged("partitions assigned")) == 1
    assert listed(setup, emulator)["totals"]["jobs"] == 0


@pytest.mark.real_kafka
def test_after_a_reset_exported_offsets_bring_the_jobs_back_and_nothing_is_paid_again(
    setup: Setup, tmp_path: Path
) -> None:
    emulator = setup.emulator(latency=LONG)
    placed = setup.produce(texts(40))
    worker = with_jobs(setup, emulator, 40)
    path = str(tmp_path / "offsets.json")
    assert worker.stop() == 0
    assert "3 offsets with 40 jobs" in pending(setup, emulator, "--export", path).output
    operator = Operator(setup)
    before = operator.committed()
    operator.commit({number: Position(position.offset) for number, position in before.items()})
    assert listed(setup, emulator)["totals"] | {"jobs": 0, "problems": 3} == listed(setup, emulator)["totals"]
    output = pending(setup, emulator, "--import", path, "--yes").output
    assert "40 jobs in all would be polled on" in output
    assert operator.committed() == before
    emulator.change(latency="constant:0.2")
    worker = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    tally = setup.tally(placed)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 40}, 0)
    assert bills(emulator, placed.values()) == {1: 40}


@pytest.mark.real_kafka
def test_brokers_refuse_an_import_while_a_worker_runs(setup: Setup, tmp_path: Path) -> None:
    emulator = setup.emulator()
    placed = setup.produce(texts(12))
    setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    path = str(tmp_path / "offsets.json")
    pending(setup, emulator, "--export", path)
    before = Operator(setup).committed()
    output = pending(setup, emulator, "--import", path, "--yes", code=3).output
    assert "while it has members" in output.splitlines()[-1]
    assert Operator(setup).committed() == before
    placed |= setup.produce(texts(6, "more"))
    setup.wait_finished()
    assert bills(emulator, placed.values()) == {1: 18}
