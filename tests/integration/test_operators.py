"""What operators do to the offsets and the configuration between two runs of a worker, and what the next run makes of it."""

import json
from collections import Counter
from dataclasses import replace
from typing import Final

import pytest

from tests.integration.conftest import SetupFactory
from tests.integration.events import VECTOR, sha256
from tests.integration.operator import (
    LONG,
    SETTINGS,
    WAIT,
    Operator,
    bills,
    problems,
    seconds_to_first_post,
    texts,
    wait_for_vectors,
    with_jobs,
)
from tests.integration.outcomes import MODEL, decoded
from tests.integration.processes import EmulatorProcess
from tests.integration.setup import DIMENSIONS, Setup
from tests.integration.test_start import NOWHERE, the_error
from worker.core.ledger import Ledger
from worker.core.ledger_codec import MAGIC, VERSION, encode
from worker.model import Position

FORBIDDEN: Final = {
    "enable.auto.offset.store": "true",
    "auto.offset.reset": "latest",
    "transactional.id": "mine",
    "enable.idempotence": "false",
    "acks": "1",
}


def stopped_with_jobs(setup: Setup, emulator: EmulatorProcess, count: int) -> Operator:
    """Run a worker until so many jobs are in flight, then stop it; they are in the ledgers."""
    worker = with_jobs(setup, emulator, count)
    assert worker.stop() == 0, worker.tail
    operator = Operator(setup)
    assert operator.recorded_jobs() == count
    return operator


@pytest.mark.real_kafka
def test_after_a_reset_everything_from_its_offset_on_is_done_again_once_and_not_before_the_takeover_wait(
    setup: Setup,
) -> None:
    emulator, operator = setup.emulator(), Operator(setup)
    placed = setup.produce(texts(60))
    first = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    assert first.stop() == 0
    reset = {number: Position(position.offset // 2) for number, position in operator.committed().items()}
    operator.commit(reset)
    second = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    again = {place: event for place, event in placed.items() if place.offset >= reset[place.partition].offset}
    rest = {place: event for place, event in placed.items() if place not in again}
    tally = setup.tally(placed)
    assert set(tally.twice) == again.keys()
    assert tally.duplicates == len(again) > 20
    assert bills(emulator, again.values()) == {2: len(again)}
    assert bills(emulator, rest.values()) == {1: len(rest)}
    assert all(seconds_to_first_post(second, f"{setup.input}-{number}") >= WAIT for number in range(3))
    assert set(problems(second).values()) == {"no metadata"}


@pytest.mark.real_kafka
def test_a_commit_by_a_foreign_tool_makes_the_jobs_in_flight_be_done_again_and_is_told(setup: Setup) -> None:
    emulator = setup.emulator(latency=LONG)
    placed = setup.produce(texts(40))
    operator = stopped_with_jobs(setup, emulator, 40)
    operator.commit({number: Position(position.offset) for number, position in operator.committed().items()})
    emulator.change(latency="constant:0.2")
    worker = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    tally = setup.tally(placed)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 40}, 0)
    assert bills(emulator, placed.values()) == {2: 40}
    assert set(problems(worker).values()) == {"no metadata"}
    assert all(seconds_to_first_post(worker, f"{setup.input}-{number}") >= WAIT for number in range(3))


@pytest.mark.real_kafka
def test_a_ledger_from_elsewhere_is_void_and_told_and_its_events_are_done(setups: SetupFactory) -> None:
    setup = setups(partitions=5)
    emulator = setup.emulator(latency=LONG)
    placed = setup.produce(texts(75))
    operator = stopped_with_jobs(setup, emulator, 75)
    ledgers = operator.ledgers()
    place = ledgers[0].place
    copied: dict[str, Ledger] = {
        "cluster": replace(ledgers[0], place=replace(place, cluster="another")),
        "topic": replace(ledgers[1], place=replace(ledgers[1].place, topic="another")),
        "partition": ledgers[0],
        "offset": Ledger(ledgers[3].place, 1, ledgers[3].job, (), 1),
    }
    emulator.change(latency="constant:0.2")
    operator.commit({number: Position(0, encode(ledger)) for number, ledger in enumerate(copied.values())})
    worker = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    tally = setup.tally(placed)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 75}, 0)
    # another topic's ledger means that this one was made anew: it is read from its beginning, its ledger is never looked at
    assert problems(worker) == {
        f"{setup.input}-{number}": f"it was written for another {name}"
        for number, name in enumerate(copied)
        if name != "topic"
    }
    assert f"topic {setup.input} was made anew" in worker.output
    intact = {where: event for where, event in placed.items() if where.partition == 4}
    others = {where: event for where, event in placed.items() if where.partition != 4}
    assert bills(emulator, intact.values()) == {1: len(intact)}
    assert bills(emulator, others.values()) == {2: len(others)}


@pytest.mark.real_kafka
def test_a_ledger_that_cannot_be_read_halts_its_partition_alone_until_it_is_discarded(setup: Setup) -> None:
    emulator = setup.emulator(latency=LONG)
    placed = setup.produce(texts(45))
    operator = stopped_with_jobs(setup, emulator, 45)
    found = operator.committed()
    newer = Position(found[0].offset, found[0].metadata.replace(MAGIC + VERSION, MAGIC + "2", 1))
    damaged = Position(found[1].offset, found[1].metadata[:-9] + "AAAAAAAAA")
    operator.commit({0: newer, 1: damaged})
    worker = setup.worker(emulator.wait_url(), **SETTINGS)
    worker.wait_started()
    body = worker.wait_not_ready("cannot be read")
    assert f"{setup.input}-0" in body
    assert f"{setup.input}-1" in body
    assert f"{setup.input}-2" not in body
    assert "WORKER_GUARANTEES__ON_UNREADABLE_LEDGER=discard" in body
    others = sum(place.partition == 2 for place in placed)
    wait_for_vectors(setup, others, 20)
    assert worker.stop() == 0, worker.tail
    left = operator.committed()
    assert (left[0], left[1]) == (newer, damaged)
    assert bills(emulator, placed.values()) == {1: 45}
    worker = setup.worker(emulator.wait_url(), WORKER_GUARANTEES__ON_UNREADABLE_LEDGER="discard", **SETTINGS)
    worker.wait_ready()
    emulator.change(latency="constant:0.2")
    setup.wait_finished()
    tally = setup.tally(placed)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 45}, 0)
    assert bills(emulator, placed.values()) == {1: others, 2: 45 - others}
    assert len(problems(worker)) == 2


@pytest.mark.real_kafka
@pytest.mark.parametrize(
    ("changed", "model", "dimensions"),
    [
        ({"WORKER_API__OUTPUT_DIMENSIONALITY": "128"}, MODEL, 128),
        ({"WORKER_API__MODEL": "gemini-embedding-002"}, "gemini-embedding-002", DIMENSIONS),
    ],
    ids=["dimension", "model"],
)
def test_a_deploy_that_changes_the_vectors_submits_what_was_in_flight_anew_and_nothing_else(
    setup: Setup, changed: dict[str, str], model: str, dimensions: int
) -> None:
    emulator = setup.emulator(models=[MODEL, "gemini-embedding-002"], latency=LONG)
    slow, quick = texts(30), texts(30, keys="quick")
    setup.produce(slow)
    first = with_jobs(setup, emulator, 30)
    # these end above the committed offset
    emulator.change(latency="constant:0.2")
    setup.produce(quick)
    wait_for_vectors(setup, 30, 10)
    assert first.stop() == 0
    assert emulator.stats()["in_flight"] == 30
    second = setup.worker(emulator.wait_url(), **(SETTINGS | changed))
    setup.wait_finished()
    vectors = [decoded(found.value) for found in setup.reader.read(setup.output)]
    made = Counter((one["text_sha256"], one["model"], one["dimensions"], len(one["vector"])) for one in vectors)
    expected = [(event, MODEL, DIMENSIONS) for event in quick] + [(event, model, dimensions) for event in slow]
    assert made == Counter((sha256(event.text or ""), name, size, size) for event, name, size in expected)
    assert bills(emulator, quick) == {1: 30}
    assert bills(emulator, slow) == {2: 30}
    assert sum(line["voided"] for line in second.logged("ledger read")) == 30
    assert not problems(second)


@pytest.mark.real_kafka
def test_a_new_group_id_is_refused_on_a_filled_topic_and_goes_on_from_the_end_if_told_to(setup: Setup) -> None:
    emulator = setup.emulator()
    old = setup.produce(texts(12))
    first = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    assert first.stop() == 0
    setup.group += "-new"
    line = the_error(setup.worker(emulator.wait_url(), WORKER_KAFKA__START_FROM=None, **SETTINGS), 3)
    assert f"consumer group {setup.group} has no committed offset" in line
    assert "already holds 12 records" in line
    worker = setup.worker(emulator.wait_url(), WORKER_KAFKA__START_FROM="latest", **SETTINGS)
    worker.wait_ready()
    new = setup.produce(texts(7, "new"))
    wait_for_vectors(setup, 19, 20)
    setup.wait_finished()
    tally = setup.tally(old | new)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 19}, 0)
    assert bills(emulator, (old | new).values()) == {1: 19}


def test_every_client_property_that_the_guarantees_rest_on_is_refused_in_one_line_that_names_it(setup: Setup) -> None:
    started = {
        name: setup.worker(NOWHERE, WORKER_KAFKA__PROPERTIES=json.dumps({name: value}))
        for name, value in FORBIDDEN.items()
    }
    for name, worker in started.items():
        line = the_error(worker, 2)
        assert f"{name} cannot be set" in line
        assert [line] == [said for said in worker.output.splitlines() if not said.startswith("{")]
