"""One worker: started, watched, drained and closed."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.assembly import Assembly, Ports
from worker.errors import EndNotReached, WorkerError
from worker.model import TopicPartition
from worker.notices import Spend
from worker.obstacles import obstacles
from worker.settings import Settings
from worker.until_end import UntilEnd

CLOSE = 10.0
"""Most seconds that one adapter may take to close."""

STALLED = 60.0
"""Seconds without a poll of the consumer after which the process should be restarted (the group waits for 300)."""

STOPPED = "stopped before the end of the input: what is done stays done, run it again for the rest"
"""Why a run until the end that was told to stop has not reached it."""


class Worker:
    """One consumer-group member. Must be made inside a running event loop; `run` may be called once."""

    def __init__(self, settings: Settings, ports: Ports, chance: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._ports = ports
        self._parts = Assembly(settings, ports, chance)
        self._draining = False
        self._started = False

    @property
    def in_flight(self) -> int:
        """Records in work."""
        return self._parts.consume.in_flight

    def not_live(self) -> Sequence[str]:
        """Why this process should be restarted; that it answers at all shows that its event loop turns."""
        if self._parts.consume.crashed.done():
            return ["crashed: the worker met a bug and is ending"]
        stalled = self._ports.source.stalled()
        if stalled > STALLED:
            return [f"stalled: the Kafka consumer has not polled for {stalled:.0f} s"]
        return []

    def not_ready(self) -> Sequence[str]:
        """Why this worker does not take events now, one sentence each; empty: it does."""
        reasons = [] if self._started else ["starting: the worker has not joined its group yet"]
        if self._started and not len(self._parts.partitions) and not self._ports.source.waiting():
            reasons.append("no partitions: the group has assigned none to this worker (more replicas than partitions?)")
        if self._draining:
            reasons.append("draining: the worker is stopping")
        return [*reasons, *obstacles(self._parts, self._ports)]

    async def run(self, stop: asyncio.Event, until: Mapping[TopicPartition, int] | None = None) -> None:
        """Work until `stop` is set, or until all below the offsets `until` is finished. Then drain, commit and leave.

        Raises what ended it otherwise: a bug (as it is), StartError, or the source's or sink's fatal WorkerError; and
        EndNotReached, drained, where `until` is not reached: it was told to stop, or there are too many dead letters.
        """
        starting = asyncio.create_task(self._start())
        endings: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._parts.gate.run()),
            asyncio.create_task(self._parts.trials.run()),
            asyncio.create_task(self._parts.commit.run()),
            asyncio.create_task(stop.wait()),
        ]
        try:
            await self._first_of(starting, *endings)
            end: asyncio.Task[bool] | None = None
            if starting.done():
                endings.append(asyncio.create_task(self._ports.source.wait_failed()))
                if until is not None:
                    looking = UntilEnd(self._parts, self._ports, self._settings.api.deadline)
                    end = asyncio.create_task(looking.reached(until))
                    endings.append(end)
                await self._first_of(*endings)
            starting.cancel()
            reached = end is not None and end.done() and end.result()
            why = "" if stop.is_set() else self._parts.trials.last_words
            await self._drain()
            if until is not None and not reached:
                raise EndNotReached(why or STOPPED)
        except WorkerError:
            raise
        except Exception as error:
            self._parts.consume.crash(error)
            raise
        finally:
            for task in (starting, *endings):
                task.cancel()
            await asyncio.gather(starting, *endings, return_exceptions=True)
            await self._close()

    async def _start(self) -> None:
        await self._ports.sink.start()
        await self._parts.gate.look()
        await self._ports.source.start(self._parts.consume)
        self._started = True

    async def _first_of(self, *tasks: asyncio.Task[Any]) -> None:
        """Return when one of them has ended; raises what it raised, or the bug that a record has met."""
        done, _ = await asyncio.wait({*tasks, self._parts.consume.crashed}, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()

    def spend(self) -> Spend:
        """What this worker spends."""
        return self._parts.guard.spend()

    async def _drain(self) -> None:
        self._draining = True
        ends = self._ports.clock.monotonic() + self._settings.limits.drain
        await self._parts.consume.drain(self._settings.limits.drain)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(1.0, ends - self._ports.clock.monotonic())):
                await self._parts.commit.last(self._parts.partitions.numbers())

    async def _close(self) -> None:
        for step in (
            self._ports.source.close,
            self._parts.consume.abandon,
            self._parts.commit.close,
            self._ports.sink.close,
            self._ports.api.close,
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE):
                    await step()
