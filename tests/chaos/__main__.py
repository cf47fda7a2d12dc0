"""`python -m tests.chaos`: chaos on a real Kafka, then a rolling restart. Exit codes: 0 every promise held, 1 one was broken, 2 a
wrong option or no Kafka of our own to restart."""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.chaos.report import json_object, lines, violations
from tests.chaos.run import chaos, rolling
from tests.chaos.schedule import Plan
from tests.kafka.backend import BackendUnavailable, Choice, choose
from tests.kafka.candidates import candidates


def main() -> int:
    """Run, print, return the exit code."""
    options = _options()
    signal.signal(signal.SIGTERM, _exit)
    try:
        choice = choose(candidates(os.environ), os.environ)
    except BackendUnavailable as error:
        say(str(error))
        return 2
    try:
        if not choice.real or not choice.broker.can_restart:
            say(
                f"the Kafka backend {choice.name} is no real broker that may be restarted: Docker, or Java and Maven, needed"
            )
            return 2
        return _run(options, choice)
    finally:
        choice.broker.close()


def say(line: str) -> None:
    """Progress."""
    print(f"chaos: {line}", file=sys.stderr, flush=True)


def _run(options: argparse.Namespace, choice: Choice) -> int:
    plan = Plan(
        options.events, options.seed, options.kills, options.zombies, gap=options.gap, session_timeout=options.session
    )
    gentle = Plan(max(60, min(600, options.events // 8)), options.seed, session_timeout=options.session)
    settings = {"WORKER_GUARANTEES__DELIVERY": options.delivery}
    directory = Path(tempfile.mkdtemp(prefix="embedding-worker-chaos-"))
    say(f"seed {plan.seed}, Kafka backend {choice.name}, delivery {options.delivery}")
    broken, figures = False, []
    if "chaos" in options.phase:
        result = chaos(choice.broker, directory / "chaos", plan, say, settings)
        print("\n".join(lines(result, unclean=True)), flush=True)
        figures.append(json_object(result, plan, unclean=True))
        broken |= bool(violations(result, unclean=True))
    if "rolling" in options.phase:
        result = rolling(choice.broker, directory / "rolling", gentle, say, settings, turns=2)
        print("\n".join(lines(result, unclean=False)), flush=True)
        figures.append(json_object(result, gentle, unclean=False))
        broken |= bool(violations(result, unclean=False))
    if broken:
        print(f"again with the same events and faults: python -m tests.chaos --seed {plan.seed}", flush=True)
    if options.keep:
        print(f"logs: {directory}", flush=True)
    elif not broken:
        shutil.rmtree(directory)
    if options.json:
        print(json.dumps({"kafka": choice.name, "delivery": options.delivery, "runs": figures}), flush=True)
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--events", type=int, default=5000, metavar="N", help="events to feed (5000)")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="kill -9 of a worker (20)")
    parser.add_argument("--zombies", type=int, default=5, metavar="N", help="SIGSTOP beyond the session timeout (5)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1_000_000), metavar="N", help="of events and faults"
    )
    parser.add_argument("--gap", type=float, default=8.0, metavar="S", help="mean seconds between two faults (8)")
    parser.add_argument("--session", type=float, default=6.0, metavar="S", help="the group's session timeout (6)")
    parser.add_argument("--phase", nargs="+", choices=("chaos", "rolling"), default=("chaos", "rolling"))
    parser.add_argument("--delivery", choices=("exactly_once", "at_least_once"), default="exactly_once")
    parser.add_argument("--keep", action="store_true", help="keep the logs of all processes though every promise held")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
    return parser.parse_args()


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
