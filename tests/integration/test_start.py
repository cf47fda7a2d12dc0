"""Bad surroundings: one clear line and an exit code, or a worker that is up, says what is wrong and heals by itself."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import SetupFactory
from tests.integration.events import VECTOR, Event, good
from tests.integration.processes import ChildProcess
from tests.integration.setup import DIMENSIONS, KEY, Setup
from tests.integration.waiting import until
from tests.kafka.ports import free_port
from worker.adapters.kafka import Topics
from worker.errors import StartError
from worker.settings.sections import KafkaSettings

NOWHERE = "http://127.0.0.1:9"
HEALS = 20.0
"""Seconds: the first probe comes 5 s after the halt, the second 10 s after that."""


def texts(count: int) -> list[Event]:
    """Events that become vectors."""
    return [good(f"text {number}", key=b"k%d" % number, dimensions=DIMENSIONS) for number in range(count)]


def the_error(process: ChildProcess, code: int, seconds: float = 20.0) -> str:
    """The one error line of a process that ends with this code."""
    assert process.wait(seconds) == code, process.tail
    assert "Traceback" not in process.output
    [line] = [line for line in process.output.splitlines() if line.startswith("error: ")]
    assert KEY not in process.output
    return line


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Setup]:
    """A setup where no broker answers."""
    setup = Setup("127.0.0.1:9", tmp_path, ("input", "output", "dead-letter"))
    yield setup
    setup.close()


def test_a_missing_api_key_is_named_and_exits_2(offline: Setup) -> None:
    line = the_error(offline.worker(NOWHERE, SEGMIND_API_KEY=None), 2)
    assert "SEGMIND_API_KEY or SEGMIND_API_KEY_FILE must be set" in line


def test_an_unknown_variable_exits_2_and_names_the_nearest_one(offline: Setup) -> None:
    line = the_error(offline.worker(NOWHERE, WORKER_KAFKA__GROUPID="mine"), 2)
    assert "WORKER_KAFKA__GROUPID" in line
    assert "WORKER_KAFKA__GROUP_ID" in line


@pytest.mark.parametrize("name", ["enable.auto.commit", "isolation.level", "group.id"])
def test_a_client_property_that_the_guarantees_rest_on_exits_2(offline: Setup, name: str) -> None:
    line = the_error(offline.worker(NOWHERE, WORKER_KAFKA__PROPERTIES=json.dumps({name: "x"})), 2)
    assert f"{name} cannot be set" in line


async def test_an_unreachable_broker_is_waited_for_and_then_told(tmp_path: Path) -> None:
    heard: list[str] = []
    topics = Topics(KafkaSettings(bootstrap_servers="127.0.0.1:9"), lambda level, line: None)
    began = time.monotonic()
    with pytest.raises(
        StartError, match=r"no Kafka broker answers at 127\.0\.0\.1:9 .*WORKER_KAFKA__BOOTSTRAP_SERVERS"
    ):
        await topics.wait_reachable(heard.append, patience=2.5)
    assert time.monotonic() - began < 10
    assert "trying for" in heard[0]


def test_a_worker_that_waits_for_its_broker_ends_when_it_is_told_to(offline: Setup) -> None:
    worker = offline.worker(NOWHERE)
    until(lambda: worker.logged("waiting"), 15, "waiting", lambda: worker.tail)
    worker.signal(signal.SIGTERM)
    assert worker.wait(4) == 0


@pytest.mark.real_kafka
def test_missing_topics_are_listed_with_the_command_that_makes_them(setup: Setup) -> None:
    emulator = setup.emulator()
    missing = {"WORKER_TOPICS__OUTPUT": f"{setup.output}-no", "WORKER_TOPICS__DEAD_LETTER": f"{setup.dead_letter}-no"}
    line = the_error(setup.worker(emulator.wait_url(), **missing), 3)
    assert all(name in line for name in missing.values())
    assert f"{setup.input}," not in line
    assert "embedding-worker topics create" in line
    made = setup.command(("topics", "create", "--partitions", "2"), setup.environment(emulator.wait_url(), **missing))
    assert made.wait() == 0, made.tail
    setup.produce(texts(1))
    assert setup.worker(emulator.wait_url(), "--until-end", **missing).wait(30) == 0


@pytest.mark.real_kafka
def test_a_filled_topic_without_start_from_is_refused_and_its_records_counted(setup: Setup) -> None:
    setup.produce(texts(7))
    line = the_error(setup.worker(setup.emulator().wait_url(), WORKER_KAFKA__START_FROM=None), 3)
    assert "already holds 7 records" in line
    assert "WORKER_KAFKA__START_FROM=earliest" in line


@pytest.mark.real_kafka
def test_an_empty_topic_without_start_from_is_taken_from_its_beginning(setup: Setup) -> None:
    worker = setup.worker(setup.emulator().wait_url(), WORKER_KAFKA__START_FROM=None)
    worker.wait_ready()
    placed = setup.produce(texts(3))
    setup.wait_until_counted(setup.output, 3, 20)
    setup.wait_finished()
    assert setup.tally(placed).kinds == {VECTOR: 3}


@pytest.mark.real_kafka
def test_a_taken_status_port_exits_3(setup: Setup) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = the_error(setup.worker(setup.emulator().wait_url(), WORKER_STATUS__PORT=str(port)), 3)
    assert f"127.0.0.1:{port}" in line
    assert "WORKER_STATUS__PORT" in line


@pytest.mark.real_kafka
def test_a_wrong_key_halts_and_heals_when_the_key_file_is_rotated(setups: SetupFactory, tmp_path: Path) -> None:
    setup = setups()
    key = tmp_path / "key"
    key.write_text("SG_ffffffffffffffff\n")
    emulator = setup.emulator(api_keys=[KEY])
    placed = setup.produce(texts(30))
    worker = setup.worker(emulator.wait_url(), SEGMIND_API_KEY=None, SEGMIND_API_KEY_FILE=str(key))
    worker.wait_started()
    body = worker.wait_not_ready("api_key")
    assert "halted" in body
    assert "ffffffffffffffff" not in body + worker.output
    assert worker.live() == 200
    assert setup.reader.count(setup.dead_letter) == setup.reader.count(setup.output) == 0
    key.write_text(f"{KEY}\n")
    worker.wait_ready(HEALS)
    setup.wait_finished()
    assert setup.tally(placed).kinds == {VECTOR: 30}
    assert emulator.stats()["double_billed"] == 0


@pytest.mark.real_kafka
def test_a_key_that_expires_amid_the_work_halts_and_heals_when_the_key_file_is_rotated(
    setups: SetupFactory, tmp_path: Path
) -> None:
    setup = setups()
    key = tmp_path / "key"
    key.write_text(KEY)
    emulator = setup.emulator(api_keys=[KEY])
    placed = setup.produce(texts(300))
    limits = {"WORKER_LIMITS__IN_FLIGHT": "20"}
    worker = setup.worker(emulator.wait_url(), SEGMIND_API_KEY=None, SEGMIND_API_KEY_FILE=str(key), **limits)
    setup.wait_until_counted(setup.output, 50, 30)
    emulator.change(api_keys=["SG_1111111111111111"])
    worker.wait_started()
    worker.wait_not_ready("api_key")
    assert setup.reader.count(setup.output) < 300
    key.write_text("SG_1111111111111111")
    worker.wait_ready(HEALS)
    setup.wait_finished()
    tally = setup.tally(placed)
    assert tally.kinds == {VECTOR: 300}
    assert emulator.stats()["double_billed"] == 0


@pytest.mark.real_kafka
def test_an_api_that_is_not_there_at_start_halts_and_heals_when_it_comes(setup: Setup) -> None:
    port = free_port()
    placed = setup.produce(texts(30))
    worker = setup.worker(f"http://127.0.0.1:{port}")
    worker.wait_started()
    worker.wait_not_ready("unreachable")
    assert setup.reader.count(setup.dead_letter) == 0
    emulator = setup.emulator(port=port)
    worker.wait_ready(HEALS)
    setup.wait_finished()
    assert setup.tally(placed).kinds == {VECTOR: 30}
    assert emulator.stats()["double_billed"] == 0


@pytest.mark.real_kafka
def test_credits_that_run_out_amid_the_work_halt_and_heal_when_they_are_topped_up(setup: Setup) -> None:
    emulator = setup.emulator()
    placed = setup.produce(texts(300))
    worker = setup.worker(emulator.wait_url(), WORKER_LIMITS__IN_FLIGHT="20")
    setup.wait_until_counted(setup.output, 50, 30)
    emulator.change(credits=0)
    worker.wait_started()
    body = worker.wait_not_ready("credits")
    assert "halted" in body
    left = setup.lag()
    assert left > 0
    emulator.change(credits=10)
    worker.wait_ready(HEALS)
    setup.wait_finished()
    tally, stats = setup.tally(placed), emulator.stats()
    assert tally.kinds == {VECTOR: 300}
    assert tally.duplicates == 0
    assert (stats["bills"], stats["double_billed"]) == (300, 0)
    assert len(worker.logged("halted")) == 1
