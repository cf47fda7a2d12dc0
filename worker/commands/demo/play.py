"""One run of the demo: feed, work, read, until every event has its outcome."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from worker.adapters.clock import SystemClock
from worker.app import Worker
from worker.commands.demo.events import DemoEvent
from worker.commands.demo.feeder import DemoFeeder
from worker.commands.demo.progress import DemoProgress
from worker.commands.demo.reader import DemoReader
from worker.commands.demo.report import Report
from worker.commands.demo.stage import PARTITIONS, Stage
from worker.commands.demo.tally import Tally
from worker.commands.opening import no_log, open_ports

_LOOK: Final = 0.02
_PATIENCE: Final = 30.0
"""Seconds without any outcome after which the demo gives up."""
_PATIENCE_HALTED: Final = 10.0
"""As long where the worker has halted: its first probe, after about 5 s, has shown by then that the cause has not gone."""
_PATIENT_REQUESTS: Final = 100
"""With a rate limit: the time of so many requests is added, for one event may have to wait for the polls of many."""
_BILLING_SECONDS: Final = 2.0


class DemoRun:
    """A worker between the topics and the API of a stage, and everything around it that produces, reads and watches."""

    def __init__(self, stage: Stage, events: Sequence[DemoEvent], console: Console) -> None:
        settings = stage.settings
        self._stage = stage
        self._events = events
        self._tally = Tally()
        self._feeder = DemoFeeder(stage.servers, settings.topics.input[0], settings.api.output_dimensionality or 0)
        self._progress = DemoProgress(console, self._tally, len(events), lambda: stage.emulator.stats()["requests"])
        self._started_at = self._ended_at = 0.0

    async def play(self) -> Report:
        """Run to the end: all events have an outcome, or none came for too long. Raises WorkerError where something of it
        broke, and whatever bug ended the worker."""
        reader = DemoReader(
            self._stage.servers, self._stage.settings.topics, PARTITIONS, self._tally, self._feeder.ended
        )
        stop = asyncio.Event()
        try:
            async with self._progress:
                ports = await open_ports(
                    self._stage.settings, SystemClock(), self._progress, self._progress.line, no_log
                )
                work = asyncio.create_task(Worker(self._stage.settings, ports).run(stop))
                self._started_at = self._ended_at = time.monotonic()
                others = [asyncio.create_task(reader.run()), asyncio.create_task(self._feeder.feed(self._events))]
                try:
                    await self._all_ended([work, *others])
                finally:
                    for task in others:
                        task.cancel()
                    stop.set()
                    await asyncio.gather(*others, return_exceptions=True)
                    await work
                await reader.finish()
            await self._all_billed()
        finally:
            await reader.close()
        return self._report()

    async def _all_ended(self, tasks: Sequence["asyncio.Task[None]"]) -> None:
        """Wait for the last outcome. Raises what a task raises; a worker that ends by itself ends the demo."""
        work, *_ = tasks
        ended = 0
        while ended < len(self._events):
            await asyncio.wait(tasks, timeout=_LOOK, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
            if self._tally.ended > ended:
                ended, self._ended_at = self._tally.ended, time.monotonic()
            elif work.done() or time.monotonic() - self._ended_at > self._patience():
                return

    def _patience(self) -> float:
        limit = self._stage.emulator.config.requests_per_minute
        patience = _PATIENCE_HALTED if self._progress.halted else _PATIENCE
        return patience + (_PATIENT_REQUESTS * 60 / limit if limit else 0.0)

    async def _all_billed(self) -> None:
        """A job that nobody waits for is billed all the same: give it the time to end."""
        deadline = time.monotonic() + _BILLING_SECONDS
        while self._stage.emulator.stats()["in_flight"] and time.monotonic() < deadline:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(_LOOK)

    def _report(self) -> Report:
        return Report(
            tally=self._tally,
            statistics=self._stage.emulator.stats(),
            bills=self._stage.emulator.bills(),
            notes={event.key: event.note for event in self._events if event.note},
            given=len(self._events),
            fed=self._feeder.fed,
            seconds=self._ended_at - self._started_at,
            halted=self._progress.halted,
        )
