"""`python -m tests.bench`: the worker beside the vendor's SDK, side by side in alternating runs. Exit codes: 0 measured, 1 a run
was not complete or failed, 2 a wrong option or no Kafka."""

import argparse
import json
import os
import platform
import signal
import sys
from dataclasses import asdict
from importlib.metadata import version
from types import FrameType
from typing import NoReturn

from confluent_kafka import KafkaException

from tests.bench.contenders import contenders
from tests.bench.emulator import EmulatorProcess
from tests.bench.figures import json_object
from tests.bench.processes import RunFailedError
from tests.bench.report import lines, restart_lines
from tests.bench.restart import measure_restart
from tests.bench.rounds import Bench, say
from tests.bench.workload import Workload
from tests.kafka.backend import BackendUnavailable, choose
from tests.kafka.candidates import candidates

LATENCY = "lognormal:mean=0.7,sigma=0.5"
"""Mean as the vendor publishes it for gemini-embedding-001."""


def main() -> int:
    """Measure and print; returns the exit code."""
    options = _options()
    workload = Workload(options.events, options.dimension, options.latency, options.running_result)
    signal.signal(signal.SIGTERM, _exit)
    try:
        choice = choose(candidates(os.environ), os.environ)
    except BackendUnavailable as error:
        say(str(error))
        return 2
    about = {
        "kafka": {"backend": choice.name, "real": choice.real},
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "segmind": version("segmind"),
        "workload": asdict(workload),
    }
    say(f"Kafka backend {choice.name}; {'; '.join(choice.passed_over) or 'the first choice'}")
    restart = None
    try:
        with EmulatorProcess(workload.latency, workload.running_result) as emulator:
            who = contenders(transactions=choice.real)
            runs, idle = Bench(choice.broker, emulator, workload, who).measure(options.rounds)
        if choice.real and not options.no_restart:
            restart = measure_restart(choice.broker, say)
    except (RunFailedError, TimeoutError, KafkaException, AssertionError) as error:
        say(str(error))
        return 1
    finally:
        choice.broker.close()
    print("\n".join(lines(about, runs, idle)), flush=True)
    if restart is not None:
        print("\n".join(restart_lines(restart)), flush=True)
    result = json_object(about, runs, idle) | {"restart": asdict(restart) if restart else None}
    if options.json:
        print(json.dumps(result), flush=True)
    return 0 if result["complete"] else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
    parser.add_argument("--events", type=_positive, default=4000, metavar="N", help="events of a run (4000)")
    parser.add_argument("--dimension", type=_positive, default=3072, metavar="N", help="floats of a vector (3072)")
    parser.add_argument("--rounds", type=_positive, default=2, metavar="N", help="runs of each contender (2)")
    parser.add_argument("--latency", default=LATENCY, metavar="LAW", help=f"of the emulated API ({LATENCY})")
    parser.add_argument("--no-restart", action="store_true", help="leave out the restart with full ledgers")
    parser.add_argument(
        "--running-result",
        type=int,
        choices=(200, 400, 404, 500),
        default=200,
        help="what the result endpoint answers for a job that still runs: 200 spares the worker the status calls (200)",
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
