"""`python -m tests.kafka`: runs a Kafka until standard input closes or SIGTERM comes; for benchmarks and by hand."""

import argparse
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from tests.kafka.backend import FORCE_VARIABLE, BackendUnavailable, choose
from tests.kafka.candidates import candidates


def main() -> int:
    """Prints `bootstrap_servers=...` as the only line on stdout; returns the exit code."""
    description = f"{__doc__} {FORCE_VARIABLE} forces a backend."
    parser = argparse.ArgumentParser(prog="python -m tests.kafka", description=description)
    parser.add_argument("--topic", action="append", default=[], metavar="NAME:PARTITIONS", type=_topic)
    topics = parser.parse_args().topic
    signal.signal(signal.SIGTERM, _exit)
    try:
        choice = choose(candidates(os.environ), os.environ)
    except BackendUnavailable as error:
        print(f"kafka: {error}", file=sys.stderr)
        return 1
    try:
        for name, partitions in topics:
            choice.broker.create_topic(name, partitions, {})
        print(f"kafka: backend {choice.name}; ends when standard input closes", file=sys.stderr)
        print(f"bootstrap_servers={choice.broker.bootstrap_servers}", flush=True)
        sys.stdin.buffer.read()
    except KeyboardInterrupt:
        return 0
    finally:
        choice.broker.close()
    return 0


def _topic(text: str) -> tuple[str, int]:
    name, separator, partitions = text.rpartition(":")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PARTITIONS")
    return name, int(partitions)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
