"""`python -m worker.emulator --port 0 --config '{"requests_per_minute": 60}'`: the emulator as a process of its own."""

import argparse
import asyncio
import gc
import json
import signal
import sys

import uvloop

from worker.core.listening import in_url, refusal
from worker.emulator.config import EmulatorConfig, InvalidConfigError, reconfigured
from worker.emulator.server import Emulator


async def _run(host: str, port: int, config: EmulatorConfig) -> None:
    emulator = Emulator(config)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    sys.stdout.write(f"url={await emulator.start(host, port)}\n")
    sys.stdout.flush()
    await ended.wait()
    await emulator.close()


def main() -> int:
    """Run until SIGTERM or SIGINT; 0 then, 2 for a wrong option, 1 for a port that cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m worker.emulator", description="A stand-in for the Segmind v2 API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port; the URL is the first line printed")
    parser.add_argument("--config", default="{}", metavar="JSON", help="a JSON object of EmulatorConfig fields")
    options = parser.parse_args()
    try:
        changes = json.loads(options.config)
        if not isinstance(changes, dict):
            raise InvalidConfigError("must be a JSON object")
        config = reconfigured(EmulatorConfig(), changes)
    except ValueError as problem:
        sys.stderr.write(f"--config: {problem}\n")
        return 2
    # A million kept jobs hold no cycles; walking them for nothing would show as pauses.
    gc.set_threshold(50_000, 20, 100)
    try:
        uvloop.run(_run(options.host, options.port, config))
    except OSError as problem:
        reason, is_host = refusal(problem)
        fix = "--host wants a name or address of this machine" if is_host else "try --port 0"
        sys.stderr.write(f"cannot listen on {in_url(options.host)}:{options.port}: {reason}; {fix}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
