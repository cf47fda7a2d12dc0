"""`embedding-worker demo`: everything in one command, nothing to set up, nothing to pay."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from rich.console import Console

from worker.commands.configuration import run_until_done
from worker.commands.demo.events import DemoEvent, events_of, sample_events
from worker.commands.demo.input import read_inputs
from worker.commands.demo.play import DemoRun
from worker.commands.demo.report import Report
from worker.commands.demo.stage import Stage, opened_stage
from worker.commands.output import say, writing

INTERRUPTED: Final = 130


def demo(
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Your own texts instead of the built-in ones: .txt (a text a line) or .jsonl (a line is a JSON string or an "
            "object with text and, if you like, id, task_type, output_dimensionality, metadata); - reads standard input.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object on stdout, all else on stderr.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="At the end keep the broker and the API up until Ctrl-C, to look around in them."),
    ] = False,
    dimension: Annotated[
        int, typer.Option(min=1, max=3072, help="Length of the vectors. The API's own default is 3072; 768 is quicker.")
    ] = 768,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Give the account a rate limit, as a real one has. Unset: none."),
    ] = None,
) -> None:
    """Watch the worker at work, with nothing to set up and nothing to pay.

    A Kafka broker and a stand-in for the API are started inside this command.
    Real text events go as Avro through the worker, and vectors, tombstones and
    dead letters come out. Nothing leaves this machine; no WORKER_* variable is
    read.

    All figures are counted by reading the topics and the API's statistics.
    requests: all HTTP requests that the API got, polls included.
    requests_per_event: requests divided by events. billed: completed jobs.
    double_billed: bills beyond one for each completed event.

    Exit codes: 0 every event has exactly one outcome and no bill too many,
    1 not so (a line says what), 2 the input is wrong, 130 Ctrl-C.
    """
    with interrupts_end_the_process():
        events = sample_events() if source is None else events_of(read_inputs(source))
        raise typer.Exit(run_until_done(played(events, dimension, requests_per_minute, as_json=as_json, keep=keep)))


@contextmanager
def interrupts_end_the_process() -> Iterator[None]:
    """Ctrl-C before the event loop takes it over."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


async def played(
    events: Sequence[DemoEvent], dimension: int, requests_per_minute: int | None, *, as_json: bool, keep: bool
) -> int:
    """Play the demo and show what came of it; the exit code."""
    stderr = Console(stderr=True, highlight=False)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, on_interrupt, stopped)
    loop.add_signal_handler(signal.SIGTERM, on_interrupt, stopped)
    try:
        async with opened_stage(dimension, requests_per_minute) as stage:
            stderr.print(f"Kafka {stage.servers}, API {stage.url}: both inside this process", soft_wrap=True)
            stderr.print(f"{len(events)} events go through; nothing leaves this machine, nothing is paid")
            play = asyncio.create_task(DemoRun(stage, events, stderr).play())
            interrupted = asyncio.create_task(stopped.wait())
            await asyncio.wait([play, interrupted], return_when=asyncio.FIRST_COMPLETED)
            if not play.done():
                stderr.print("interrupted: leaving")
                play.cancel()
                await asyncio.gather(play, return_exceptions=True)
                return INTERRUPTED
            report = play.result()
            code = shown(report, stderr, as_json=as_json)
            if keep:
                invite(stage, stderr)
                await stopped.wait()
            interrupted.cancel()
            return code
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)


def shown(report: Report, stderr: Console, *, as_json: bool) -> int:
    """Print the report; the exit code it deserves."""
    with writing():
        report.show(stderr if as_json else Console(highlight=False))
    problems = report.problems()
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    if as_json:
        say(json.dumps(report.figures()))
    return 1 if problems else 0


def invite(stage: Stage, stderr: Console) -> None:
    """Say where everything is, and what to do there."""
    topics = stage.settings.topics
    lines = [
        "",
        "Everything is kept until Ctrl-C. For example:",
        f"  kcat -b {stage.servers} -t {topics.dead_letter} -C -e -f '%k: %h\\n'",
        f"  kcat -b {stage.servers} -t {topics.output} -C -e -f '%k: %S bytes of Avro\\n'",
        f"  curl {stage.url}/_emulator/stats",
    ]
    for line in lines:
        stderr.print(line, soft_wrap=True, markup=False)


def on_interrupt(stopped: asyncio.Event) -> None:
    """The first Ctrl-C leaves in order, the second at once."""
    if stopped.is_set():
        os._exit(INTERRUPTED)
    stopped.set()
