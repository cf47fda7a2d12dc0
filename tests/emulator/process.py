"""An emulator of the tests' own as a process: prints `url=...`, then runs until SIGTERM."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable

import uvloop

from worker.emulator.config import EmulatorConfig, reconfigured
from worker.emulator.server import Emulator


def main(make: Callable[[EmulatorConfig], Emulator], description: str | None) -> None:
    """Read `--port` and `--config JSON` from the command line, and serve."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--config", default="{}", metavar="JSON")
    options = parser.parse_args()
    uvloop.run(_run(make(reconfigured(EmulatorConfig(), json.loads(options.config))), options.port))


async def _run(emulator: Emulator, port: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    sys.stdout.write(f"url={await emulator.start(port=port)}\n")
    sys.stdout.flush()
    await ended.wait()
    await emulator.close()
