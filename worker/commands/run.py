"""`embedding-worker run`: the worker."""

import asyncio
import gc
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer

from worker.adapters.clock import SystemClock
from worker.adapters.status import StatusServer
from worker.adapters.telemetry import Logger, LogObserver, Observers, open_log
from worker.app import STOPPED, Worker
from worker.assembly import Ports
from worker.commands.configuration import ConfigFile, Flags, api_key_of, run_until_done, settings_from
from worker.commands.opening import end_offsets, open_ports
from worker.core.api_url import is_clear_text
from worker.errors import ConfigurationError, EndNotReached
from worker.model import OutcomeKind
from worker.notices import Ended, Notice, Spend
from worker.settings import Drain, Settings, masked

Result = TypeVar("Result")

STARTING = "starting:"
"""Begins the reason for which a worker that has not joined its group is not ready."""

LOOK = 0.05
"""Seconds between two looks whether it has."""

DRAINS = {
    Drain.LEAVE: "what is being submitted is recorded, jobs that run are left to the next worker",
    Drain.WAIT: "finishing what is in flight",
}
"""What a first signal begins."""


class DeadLetterCount:
    """Counts dead letters."""

    def __init__(self) -> None:
        self.count = 0

    def notice(self, notice: Notice) -> None:
        """Count it if it is one."""
        if isinstance(notice, Ended) and notice.kind is OutcomeKind.DEAD_LETTER:
            self.count += 1


def run(
    config: ConfigFile = None,
    flags: Flags = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Finish what is on the input topics now, then exit (implies earliest).")
    ] = False,
    fail_on_dead_letters: Annotated[
        bool, typer.Option("--fail-on-dead-letters", help="With --until-end: exit 2 if there were dead letters.")
    ] = False,
) -> None:
    """Run the worker until SIGTERM or SIGINT.

    A first signal drains: nothing new is taken up, what is being submitted is recorded (limits.drain seconds at the most), and
    jobs that run are left to the next worker; with guarantees.drain=wait they may end. A second signal ends at once; nothing is
    lost by that. Exit codes: 0 drained, 1 a bug, 2 a wrong setting (or dead letters with --fail-on-dead-letters), 3 topics,
    brokers or offsets are not ready, 4 --until-end ended before the end: by a signal, or there are too many dead letters of
    one reason, and a record that was tried since became one too.
    """
    if fail_on_dead_letters and not until_end:
        raise ConfigurationError(
            "--fail-on-dead-letters needs --until-end: a worker that runs on has no last dead letter"
        )
    settings = settings_from(config, flags)
    if until_end and settings.kafka.start_from is None:
        settings = settings_from(config, [*(flags or []), "kafka.start_from=earliest"])
    api_key_of(settings)
    log = open_log(settings.log.level, json_lines=settings.log.json_lines)
    log.debug("settings", **masked(settings))
    for line in settings.unread:
        log.warning("variable not read", variable=line)
    if is_clear_text(settings.api.base_url):
        log.warning("the API key goes over the network in clear text: use https", base_url=settings.api.base_url)
    dead_letters = DeadLetterCount()
    run_until_done(work(settings, log, dead_letters, until_end=until_end))
    if until_end and fail_on_dead_letters and dead_letters.count:
        log.warning("dead letters", count=dead_letters.count)
        raise typer.Exit(2)


class Probes:
    """What the status port answers, from the first moment on."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def not_live(self) -> Sequence[str]:
        """Why this process should be restarted."""
        return self.worker.not_live() if self.worker else ()

    def not_ready(self) -> Sequence[str]:
        """Why it takes no events."""
        return self.worker.not_ready() if self.worker else (f"{STARTING} waiting for brokers and topics",)

    def spend(self) -> Mapping[str, object]:
        """What it spends; null where that is not known."""
        return asdict(self.worker.spend() if self.worker else Spend())


async def work(settings: Settings, log: Logger, dead_letters: DeadLetterCount, *, until_end: bool) -> None:
    """Open everything, work, close everything."""
    spare_the_collector()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, stop, log, settings.guarantees.drain)
    probes = Probes()
    status = StatusServer(
        settings.status.host, settings.status.port, live=probes.not_live, ready=probes.not_ready, spend=probes.spend
    )
    await status.start()
    facts = {"status_port": status.port, "group": settings.kafka.group_id, "input": list(settings.topics.input)}
    try:
        log.info("starting", **facts)
        ports = await unless_stopped(opened(settings, log, dead_letters), stop)
        if ports is not None:
            probes.worker = Worker(settings, ports)
            until = await end_offsets(settings) if until_end else None
            started = asyncio.create_task(told_when_started(probes.worker, log, facts))
            try:
                await probes.worker.run(stop, until)
            finally:
                started.cancel()
        elif until_end:
            raise EndNotReached(STOPPED)
        log.info("stopped")
    finally:
        await status.close()


async def opened(settings: Settings, log: Logger, dead_letters: DeadLetterCount) -> Ports:
    """What the worker stands on; all of it talks to the log."""
    return await open_ports(
        settings,
        SystemClock(),
        Observers(LogObserver(log), dead_letters),
        progress=lambda line: log.info("waiting", reason=line),
        log=lambda level, line: log.log(level, "kafka", line=line),
    )


async def told_when_started(worker: Worker, log: Logger, facts: Mapping[str, object]) -> None:
    """Log it once the worker joins its group: what refuses a start is settled by then."""
    while any(reason.startswith(STARTING) for reason in worker.not_ready()):  # noqa: ASYNC110 - has no event
        await asyncio.sleep(LOOK)
    log.info("started", **facts)


async def unless_stopped(work: Coroutine[Any, Any, Result], stop: asyncio.Event) -> Result | None:
    """What the work brings; None if `stop` is set before, and the work is then cancelled: a broker is waited for up to a
    minute, a signal must not be."""
    task, told = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


def spare_the_collector() -> None:
    """What has been imported lives as long as the process: no collection needs to look at it again, and a worker makes few
    cycles. Three runs each way: 4 % less CPU an event on average, the ranges overlap."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def on_signal(stop: asyncio.Event, log: Logger, drain: Drain) -> None:
    """The first signal drains, the second ends the process on the spot: what is not committed is taken up again."""
    if stop.is_set():
        log.warning("second signal: ending at once")
        os._exit(130)
    log.info(f"draining: {DRAINS[drain]}; a second signal ends at once")
    stop.set()
