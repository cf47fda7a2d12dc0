"""The input topic changes under the worker: made anew under its name, or given more partitions."""

from collections import Counter

import pytest

from tests.integration.events import VECTOR, Event, sha256
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
from tests.integration.outcomes import decoded
from tests.integration.setup import Setup
from tests.integration.test_start import the_error
from tests.integration.waiting import until

pytestmark = pytest.mark.real_kafka


def outcomes(setup: Setup, events: list[Event]) -> Counter[int]:
    """How many of these events have how many vectors, wherever they stood."""
    found = Counter(decoded(one.value)["text_sha256"] for one in setup.reader.read(setup.output))
    return Counter(found[sha256(event.text or "")] for event in events)


def test_a_topic_made_anew_while_no_worker_runs_is_a_new_start_that_uses_no_old_ledger(setup: Setup) -> None:
    emulator, operator = setup.emulator(latency=LONG), Operator(setup)
    setup.produce(texts(30, "old"))
    assert with_jobs(setup, emulator, 30).stop() == 0
    operator.delete_topic()
    operator.make_topic(3)
    emulator.change(latency="constant:0.2")
    new = setup.produce(texts(45, "new"))
    line = the_error(setup.worker(emulator.wait_url(), WORKER_KAFKA__START_FROM=None, **SETTINGS), 3)
    assert "already holds 45 records" in line
    worker = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    tally = setup.tally(new)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 45}, 0)
    assert bills(emulator, new.values()) == {1: 45}
    assert not problems(worker)


def test_an_old_ledger_put_back_on_a_topic_made_anew_is_void(setup: Setup) -> None:
    emulator, operator = setup.emulator(latency=LONG), Operator(setup)
    setup.produce(texts(30, "old"))
    assert with_jobs(setup, emulator, 30).stop() == 0
    kept = operator.committed()
    operator.delete_topic()
    operator.make_topic(3)
    emulator.change(latency="constant:0.2")
    new = setup.produce(texts(45, "new"))
    operator.commit(kept)
    worker = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    tally = setup.tally(new)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 45}, 0)
    assert bills(emulator, new.values()) == {1: 45}
    assert "was made anew: read from its beginning" in worker.output


def test_a_topic_that_is_gone_for_a_while_under_jobs_in_flight_is_taken_from_its_beginning_when_it_is_back(
    setup: Setup,
) -> None:
    emulator, operator = setup.emulator(latency=LONG), Operator(setup)
    setup.produce(texts(9, "old"))
    worker = with_jobs(setup, emulator, 9)
    operator.delete_topic()
    worker.wait_not_ready("no partitions")
    assert worker.live() == 200
    assert "topic not available" in worker.output
    operator.make_topic(3)
    emulator.change(latency="constant:0.2")
    new = setup.produce(texts(45, "new"))
    worker.wait_ready()
    setup.wait_finished()
    tally = setup.tally(new)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 45}, 0)
    assert bills(emulator, new.values()) == {1: 45}
    assert worker.stop() == 0
    assert not problems(worker)


@pytest.mark.parametrize("old", [9, 60], ids=["longer", "shorter"])
def test_a_topic_made_anew_under_a_worker_loses_none_of_its_new_records(setup: Setup, old: int) -> None:
    emulator, operator = setup.emulator(), Operator(setup)
    setup.produce(texts(old, "old"))
    workers = [setup.worker(emulator.wait_url(), **SETTINGS)]
    setup.wait_finished()
    operator.delete_topic()
    operator.make_topic(3)
    new = texts(36, "new")
    setup.produce(new)

    def done() -> bool:
        """As under a supervisor that starts it again."""
        if not workers[-1].running and len(workers) < 4:
            workers.append(setup.worker(emulator.wait_url(), **SETTINGS))
        return outcomes(setup, new)[0] == 0

    until(done, 15, "a vector of each", lambda: f"{outcomes(setup, new)} {len(workers)} starts\n{setup.tails()}")
    assert len(workers) <= 2, "it crashes again and again"
    assert outcomes(setup, new) == {1: 36}
    assert bills(emulator, new) == {1: 36}
    assert any("made anew" in worker.output for worker in workers)


def test_partitions_added_while_it_runs_are_read_from_their_beginning_without_a_takeover_wait(setup: Setup) -> None:
    emulator, operator = setup.emulator(), Operator(setup)
    old = setup.produce(texts(30, "old"))
    worker = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    operator.add_partitions(6)
    new = setup.produce(texts(60, "new"))
    added = [place for place in new if place.partition >= 3]
    assert {place.offset for place in added} >= {0, 1, 2}
    wait_for_vectors(setup, 90, 20)
    setup.wait_finished()
    tally = setup.tally(old | new)
    assert (tally.kinds, tally.duplicates) == ({VECTOR: 90}, 0)
    assert bills(emulator, (old | new).values()) == {1: 90}
    for number in range(3, 6):
        assert seconds_to_first_post(worker, f"{setup.input}-{number}") < WAIT / 2
    read = [line for line in worker.logged("ledger read") if line["partition"][-1] in "345"]
    assert [line["clean"] for line in read] == [True] * 3
