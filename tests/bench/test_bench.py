"""The bench itself, with a handful of events: its JSON is whole, and both contenders bring every vector."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.contenders import contenders
from tests.bench.emulator import CoreShare
from tests.bench.figures import MEASURES, Run, json_object, warnings
from tests.bench.outcomes import Outcomes
from tests.bench.processes import ROOT, RunFailedError, Usage, clean_environment, run_measured
from tests.bench.report import lines, restart_lines
from tests.bench.restart import Restart, measure_restart
from tests.kafka.backend import ADDRESS_VARIABLE, FORCE_VARIABLE, Choice, TestKafka

EVENTS, DIMENSION, SECONDS = 24, 48, 60.0


def environment(kafka: TestKafka) -> dict[str, str]:
    """The tests' real broker is used, not a second one started; the embedded one makes topics for its own process only."""
    address = {ADDRESS_VARIABLE: kafka.bootstrap_servers} if kafka.real else {FORCE_VARIABLE: "mock"}
    return clean_environment(address)


def test_a_small_run_brings_every_vector_of_both_and_prints_one_json_object(kafka: TestKafka) -> None:
    command = [
        "-m",
        "tests.bench",
        "--json",
        f"--events={EVENTS}",
        f"--dimension={DIMENSION}",
        "--rounds=1",
        "--no-restart",
    ]
    done = subprocess.run(
        [sys.executable, *command, "--latency=constant:0.05"],
        cwd=ROOT,
        env=environment(kafka),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["complete"] is True
    assert result["kafka"]["real"] is kafka.real
    assert result["workload"]["events"] == EVENTS
    assert [run["contender"] for run in result["runs"]] == list(contenders(transactions=kafka.real))
    assert bool(result["exactly_once"]) is kafka.real
    for run in result["runs"]:
        assert run["outcomes"]["vectors"] == run["bills"] == EVENTS
        assert run["double_billed"] == run["outcomes"]["dead_letters"] == 0
        assert run["requests"] >= 2 * EVENTS
        assert run["usage"]["cpu_seconds"] > 0
        assert run["usage"]["peak_rss_mib"] > 10
    assert len({run["outcomes"]["digest"] for run in result["runs"]}) == 1
    assert result["measures"].keys() == {measure.name for measure in MEASURES}
    assert all(len(measure["ratios"]) == 1 for measure in result["measures"].values())
    assert "worker / SDK" in done.stdout


def run_of(contender: str, *, cpu: float = 2.0, vectors: int = 10, digest: str = "same", busiest: float = 0.1) -> Run:
    outcomes = Outcomes(vectors, duplicates=0, wrong=0, dead_letters=0, digest=digest)
    return Run(
        contender, 1, 10, Usage(cpu, 5.0, 50.0), outcomes, 30, {"submit": 10}, 10, 0, CoreShare(busiest / 2, busiest)
    )


ABOUT: Mapping[str, Any] = {
    "kafka": {"backend": "mock", "real": False},
    "workload": {"events": 10, "characters": 600, "dimension": 8, "latency": "constant:1", "running_result": 200},
    "cpus": 2,
    "python": "3.11",
}
IDLE: Mapping[str, Usage] = {name: Usage(1.0, 1.0, 40.0) for name in contenders(transactions=False)}


def test_ratios_are_the_worker_over_the_sdk_gross_and_net_of_start_up() -> None:
    measures = json_object({}, [run_of("worker", cpu=2.0), run_of("sdk", cpu=6.0)], IDLE)["measures"]
    assert measures["events_per_cpu_second"]["ratio"] == pytest.approx(3.0)
    assert measures["net_events_per_cpu_second"]["ratio"] == pytest.approx(5.0)
    assert measures["cpu_ms_per_event"]["ratio"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("cpu", "verdict"), [(3.49, "met (1.25)"), (4.0, "missed (1.50)")])
def test_the_cost_of_exactly_once_is_told_gross_and_net_of_start_up(cpu: float, verdict: str) -> None:
    runs = [run_of("worker", cpu=cpu), run_of("at_least_once", cpu=3.0), run_of("sdk", cpu=6.0)]
    idle = {**IDLE, "at_least_once": IDLE["worker"]}
    cost = json_object({}, runs, idle)["exactly_once"]
    assert cost["cpu_ms_per_event"]["ratio"] == pytest.approx(cpu / 3)
    assert cost["net_cpu_ms_per_event"]["ratio"] == pytest.approx((cpu - 1) / 2)
    assert [verdict in line for line in lines(ABOUT, runs, idle)][-1]


@pytest.mark.parametrize(
    ("flaw", "verdict"), [({}, "met"), ({"all_asked": 2.1}, "missed"), ({"repeated_posts": 1}, "missed")]
)
def test_a_restart_that_is_slow_or_pays_again_misses_its_goal(flaw: dict[str, Any], verdict: str) -> None:
    sound = Restart(12, 1440, 1.0, 1.0, 0.1, 0.9, 1440, 0, 2000, 2000)
    assert list(restart_lines(replace(sound, **flaw)))[-1].endswith(verdict)


@pytest.mark.real_kafka
def test_a_worker_that_starts_with_full_ledgers_asks_for_every_job_at_once_and_pays_for_none_again(
    request: pytest.FixtureRequest,
) -> None:
    choice: Choice = request.getfixturevalue("_kafka_choice")
    restart = measure_restart(choice.broker, lambda line: None, partitions=3, jobs=40, latency=5.0)
    assert (restart.asked, restart.repeated_posts) == (120, 0)
    assert restart.vectors == restart.bills
    assert restart.all_asked <= 2.0


@pytest.mark.parametrize(
    ("flaw", "sentence"),
    [
        ({"vectors": 9}, "worker, round 1 is not complete: of 10 events: vectors 9"),
        ({"digest": "other"}, "the runs did not bring the same vectors"),
        ({"busiest": 0.71}, "the emulator took 71% of a core"),
    ],
)
def test_what_makes_figures_doubtful_is_said(flaw: dict[str, Any], sentence: str) -> None:
    sound = [run_of("worker"), run_of("sdk")]
    assert warnings(sound) == []
    assert any(sentence in warning for warning in warnings([run_of("worker", **flaw), run_of("sdk")]))


def test_the_report_says_where_the_sdk_is_better() -> None:
    report = list(lines(ABOUT, [run_of("worker", cpu=6.0), run_of("sdk", cpu=2.0)], IDLE))
    told = next(line for line in report if line.startswith("events per CPU second"))
    assert told.endswith("0.33 (pairs: 0.33)  the SDK is better")
    assert any("missed (0.33)" in line for line in report)
    assert any("no real Kafka here" in line for line in report)


def test_a_child_that_hangs_is_killed_and_what_it_said_is_shown() -> None:
    program = "import time; print('stuck here', flush=True); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(RunFailedError, match=r"hanger did not end within 1 s and was killed\nstuck here"):
        run_measured("hanger", ["-c", program], {}, 1.0, lambda: None)
    assert time.monotonic() - started < 10


def test_a_child_that_fails_is_reported_with_its_last_words() -> None:
    with pytest.raises(RunFailedError, match=r"failing ended with exit code 3\nlast words"):
        run_measured("failing", ["-c", "print('last words'); raise SystemExit(3)"], {}, 10.0, lambda: None)


def test_a_childs_cpu_and_memory_are_its_own() -> None:
    program = "import time; data = b'x' * (64 << 20)\nwhile time.process_time() < 0.3: pass"
    usage = run_measured("busy", ["-c", program], {}, 10.0, lambda: None)
    assert 0.3 <= usage.cpu_seconds < 3
    if Path("/proc/self/status").exists():
        assert 64 <= usage.peak_rss_mib < 128
