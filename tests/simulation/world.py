"""A run: broker, API, machines with a worker each, and the hand that injects faults."""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from tests.simulation.api import Api, Post
from tests.simulation.book import Book, Broken
from tests.simulation.cluster import Cluster
from tests.simulation.endings import check_endings
from tests.simulation.hand import Hand
from tests.simulation.host import Host
from tests.simulation.patching import Patch, patched
from tests.simulation.post_checks import PostChecks
from tests.simulation.scenario import SLOTS, Scenario
from tests.simulation.scheduler import DeadlockError, Scheduler, SpinningError
from tests.simulation.trace import Trace
from worker.core import batching

LOOK = 0.25
"""Virtual seconds between two looks whether all is done, or something is broken."""

PATIENCE = 1800.0
"""Virtual seconds after the last fault in which everything has to be committed."""

MARKERS = 15.0
"""Virtual seconds until what dead workers have left open has timed out, and every marker is there."""

STOP = 60.0
"""Virtual seconds in which a worker has to stop once nothing is disturbed."""


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended. `faults`: what was injected, by kind; `repeats`: live jobs paid again, by cause; `seconds`: virtual."""

    scenario: Scenario
    broken: Broken | None
    trace: Trace
    faults: Counter[str]
    repeats: Counter[str]
    posts: int
    commits: int
    seconds: float
    turns: int


class World:
    """Everything outside the workers, and the machines that they run on."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = Random(f"run {scenario.seed}")
        self.loop = Scheduler(self.random)  # type: ignore[abstract]  # it needs no sockets
        self.trace = Trace(self.loop.time)
        self.book = Book(scenario, self.trace, self.loop.time)
        self.api = Api(self.loop, self.random, scenario.weather, self.trace)
        self.checks = PostChecks(self.book)
        self.cluster = Cluster(scenario, self.loop, self.random, self.book)
        self.hosts = {
            slot: Host(slot, scenario, self.loop, self.random, self.cluster, self.api, self.book, self.checks)
            for slot in SLOTS
        }
        self.hand = Hand(scenario, self.loop, self.random, self.hosts, self.cluster, scenario.weather, self.book)
        self.api.when_posted = self._posted

    def run(self) -> Run:
        """From the first event to the last promise checked."""
        smaller = Patch(batching, "BATCH_BYTES", self.scenario.batch_bytes)  # so that batches have to be split
        with _collecting_by_hand(), patched([smaller]):
            try:
                self.loop.run(self._run())
            except (DeadlockError, SpinningError) as error:
                self.book.fail("stuck", str(error))
            check_endings(self.book, self.cluster.found())
            self._bury()
        return Run(
            self.scenario,
            self.book.broken,
            self.trace,
            sum((host.met for host in self.hosts.values()), self.hand.injected + self.api.met + self.cluster.met),
            self.checks.paid_again(),
            len(self.api.posts),
            self.book.commits,
            self.loop.time(),
            self.loop.turns,
        )

    async def _run(self) -> None:
        scenario = self.scenario
        for slot in SLOTS[: scenario.workers]:
            self.hosts[slot].wanted = True
        producing = self.loop.create_task(self._produce())
        tasks = self.hand.at_work
        tasks += [producing, self.loop.create_task(self.hand.work())]
        tasks += [self.loop.create_task(host.supervise()) for host in self.hosts.values()]
        await self._until(scenario.lasts, lambda: False)
        self.hand.rest()
        last = max((fault.at + fault.seconds for fault in scenario.faults), default=0.0)
        if not await self._until(max(scenario.lasts, last) + PATIENCE, self.book.all_finished):
            self._tell_stuck()
        if self.book.broken is None:
            self.trace.add("", "everything is committed: all workers are stopped")
            await self._stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _posted(self, post: Post) -> None:
        self.checks.starts(post)
        self.hand.posted(post)

    def _tell_stuck(self) -> None:
        left = self.book.unfinished()
        if left:
            sentence = f"{len(left)} events are not finished {PATIENCE:g} s after the last fault: {left[0]}, ..."
            self.book.fail("stuck", sentence, left[0].number, f"partition {left[0].partition}")
        else:
            self.book.fail("stuck", "the input has not ended")

    async def _produce(self) -> None:
        for event in self.scenario.events:
            await asyncio.sleep(max(0.0, event.arrives_at - self.loop.time()))
            offset = self.cluster.produce(event)
            self.book.placed_at(event, offset)
            self.trace.add("input", f"{event} arrives at offset {offset}", event.number)

    async def _stop(self) -> None:
        for host in self.hosts.values():
            host.wanted = False
            host.wake()
            host.stop(restart=0.0)
        stopped = await self._until(self.loop.time() + STOP, lambda: not any(host.runs for host in self.hosts.values()))
        if not stopped and self.book.broken is None:
            self.book.fail("stuck", f"a worker does not stop within {STOP:g} s")
        await asyncio.sleep(MARKERS)
        for host in self.hosts.values():
            host.check_left_over()

    async def _until(self, time: float, condition: Callable[[], bool]) -> bool:
        """Wait for a condition, for the first broken promise, or for that time; returns whether the condition holds."""
        while self.loop.time() < time and self.book.broken is None:
            for task in self.hand.at_work:
                if task.done():
                    task.result()  # what the world does must not fail
            if condition():
                return True
            await asyncio.sleep(LOOK)
        return self.book.broken is None and condition()

    def _bury(self) -> None:
        for host in self.hosts.values():
            host.bury()
        self.loop.bury(self.loop.world)
        self.loop.close()


@contextmanager
def _collecting_by_hand() -> Iterator[None]:
    """The collector would run the ends of abandoned coroutines at moments of its own."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
