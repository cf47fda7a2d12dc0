"""Stopping: what is in flight ends here or with the next worker, who pays for nothing twice."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.integration.events import VECTOR, Event, encoded, good
from tests.integration.setup import DIMENSIONS, Setup
from tests.integration.waiting import until

pytestmark = pytest.mark.real_kafka


def texts(count: int, marker: str = "") -> list[Event]:
    """Events that become vectors."""
    return [good(f"text {number} {marker}", key=b"k%d" % number, dimensions=DIMENSIONS) for number in range(count)]


@pytest.mark.parametrize("drain", ["leave", "wait"])
def test_after_sigterm_jobs_end_here_or_with_the_next_worker_and_none_is_paid_again(
    setup: Setup, show: Callable[[str], None], drain: str
) -> None:
    emulator = setup.emulator(latency="lognormal:mean=0.5,sigma=0.5")
    placed = setup.produce(texts(400))
    first = setup.worker(emulator.wait_url(), WORKER_LIMITS__IN_FLIGHT="80", WORKER_GUARANTEES__DRAIN=drain)
    until(lambda: setup.reader.count(setup.output) > 100, 30, "100 vectors", setup.tails)
    began = time.monotonic()
    assert first.stop() == 0
    drained = time.monotonic() - began
    left = setup.lag()
    assert left > 0, "nothing was left for the next worker: the test shows nothing"
    setup.worker(emulator.wait_url())
    setup.wait_finished()
    tally, stats = setup.tally(placed), emulator.stats()
    show(
        f"drained in {drained:.1f} s, {left} left to the next, {tally.duplicates} twice, {stats['double_billed']} paid twice"
    )
    assert (first.dropped_in_flight == 0) == (drain == "wait")
    assert (tally.kinds[VECTOR], tally.duplicates) == (400, 0)
    assert (stats["bills"], stats["double_billed"]) == (400, 0)
    assert drained < 10


def test_a_stop_amid_vendor_errors_and_failing_jobs_pays_for_nothing_twice(
    setup: Setup, show: Callable[[str], None]
) -> None:
    emulator = setup.emulator(
        latency="lognormal:mean=0.5,sigma=0.5", error_rate=0.1, error_statuses=[502, 504], get_error_rate=0.05
    )
    events = texts(300) + [
        Event(b"f%d" % number, encoded(text), VECTOR, text, f"f{number}", DIMENSIONS, fewest_attempts=2)
        for number in range(100)
        for text in [f"flaky {number} [[flaky:1]]"]
    ]
    events = [events[(number * 7) % len(events)] for number in range(len(events))]
    placed = setup.produce(events)
    first = setup.worker(emulator.wait_url(), WORKER_LIMITS__IN_FLIGHT="80")
    until(lambda: setup.reader.count(setup.output) > 100, 30, "100 vectors", setup.tails)
    began = time.monotonic()
    assert first.stop() == 0
    drained = time.monotonic() - began
    left = setup.lag()
    setup.worker(emulator.wait_url())
    setup.wait_finished()
    tally, stats = setup.tally(placed), emulator.stats()
    show(
        f"drained in {drained:.1f} s, {left} left to the next, {tally.duplicates} twice, {stats['double_billed']} paid twice"
    )
    assert tally.kinds == {VECTOR: 400}
    assert tally.duplicates == 0
    assert stats["double_billed"] == 0


def test_a_drain_ends_at_its_limit_though_jobs_hang(setup: Setup, show: Callable[[str], None]) -> None:
    emulator = setup.emulator()
    setup.produce([*texts(20), *texts(5, "[[hang]]")])
    worker = setup.worker(emulator.wait_url(), WORKER_LIMITS__DRAIN="2", WORKER_GUARANTEES__DRAIN="wait")
    until(lambda: len(setup.reader.read(setup.output)) == 20, 30, "20 vectors", setup.tails)
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    worker.wait_not_ready("draining", 2)
    assert worker.live() == 200
    assert worker.wait() == 0
    seconds = time.monotonic() - began
    show(f"a drain limited to 2 s took {seconds:.1f} s")
    assert 2 <= seconds < 4


def test_a_second_signal_ends_the_process_at_once_and_loses_nothing(setup: Setup) -> None:
    emulator = setup.emulator(latency="constant:1.5")
    placed = setup.produce(texts(50))
    worker = setup.worker(emulator.wait_url(), WORKER_GUARANTEES__DRAIN="wait")
    until(lambda: emulator.stats()["in_flight"] == 50, 30, "50 jobs", setup.tails)
    worker.signal(signal.SIGTERM)
    until(lambda: worker.logged("draining: finishing what is in flight; a second signal ends at once"), 5, "draining")
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait(2) == 130
    assert time.monotonic() - began < 1
    assert setup.reader.count(setup.output) == 0
    setup.worker(emulator.wait_url())
    setup.wait_finished()
    assert setup.tally(placed).kinds == {VECTOR: 50}


def test_until_end_finishes_what_is_there_and_exits_0(setup: Setup) -> None:
    emulator = setup.emulator()
    placed = setup.produce([*texts(30), Event(b"bad", b"\xff", "INVALID_EVENT")])
    worker = setup.worker(emulator.wait_url(), "--until-end", WORKER_KAFKA__START_FROM=None)
    assert worker.wait(30) == 0, worker.tail
    assert setup.lag() == 0
    tally = setup.tally(placed)
    assert tally.kinds == {VECTOR: 30, "INVALID_EVENT": 1}
    assert tally.duplicates == 0


@pytest.mark.parametrize(("bad", "code"), [([], 0), ([Event(b"bad", b"\xff", "INVALID_EVENT")], 2)])
def test_until_end_with_fail_on_dead_letters_tells_by_its_exit_code(setup: Setup, bad: list[Event], code: int) -> None:
    emulator = setup.emulator()
    setup.produce([*texts(3), *bad])
    worker = setup.worker(emulator.wait_url(), "--until-end", "--fail-on-dead-letters")
    assert worker.wait(30) == code, worker.tail


def test_a_second_until_end_on_a_finished_topic_ends_without_a_request(setup: Setup) -> None:
    emulator = setup.emulator()
    setup.produce(texts(3))
    assert setup.worker(emulator.wait_url(), "--until-end").wait(30) == 0
    submits = emulator.stats()["submits_accepted"]
    assert setup.worker(emulator.wait_url(), "--until-end").wait(30) == 0
    assert emulator.stats()["submits_accepted"] == submits == 3
