"""One machine: a worker process, started again when it has ended; it can be killed, frozen, stopped, expelled from its group."""

import asyncio
from collections import Counter
from random import Random

from tests.fakes.broker import FakeSource
from tests.fakes.codec import JsonCodec
from tests.simulation.api import Api
from tests.simulation.book import Book
from tests.simulation.cluster import Cluster
from tests.simulation.ports import Border, SimulatedClock, SimulatedObserver, SimulatedSink, SimulatedSource
from tests.simulation.post_checks import PostChecks
from tests.simulation.scenario import Scenario
from tests.simulation.scheduler import Scheduler, SimulatedProcess
from tests.simulation.tenancy import Tenancy
from worker.app import Worker
from worker.assembly import Ports
from worker.errors import StartError
from worker.notices import CommitFailed, Halted, Healed, Notice, Recalled

RESTART = 2.0
"""Seconds until a process that has ended for a reason of its own, or crashed at an await, is started again."""


class Host:
    """A machine. `wanted`: a worker is to run on it; `clock_step`: how far its wall clock is off, in seconds."""

    def __init__(
        self,
        slot: str,
        scenario: Scenario,
        loop: Scheduler,
        random: Random,
        cluster: Cluster,
        api: Api,
        book: Book,
        posts: PostChecks,
    ) -> None:
        self.slot = slot
        self.wanted = False
        self.clock_step = 0.0
        self.crashes = list(scenario.dies_at.get(slot, ()))
        self.met: Counter[str] = Counter()
        self._scenario = scenario
        self._loop = loop
        self._random = random
        self._cluster = cluster
        self._api = api
        self._book = book
        self._posts = posts
        self._trace = book.trace
        self._process: SimulatedProcess | None = None
        self._source: FakeSource | None = None
        self._stop: asyncio.Event | None = None
        self._ended = asyncio.Event()
        self._started = 0
        self._restart = RESTART
        self._stopped: list[SimulatedProcess] = []
        self._killed: list[SimulatedProcess] = []

    @property
    def runs(self) -> bool:
        """A process is there, frozen or not."""
        return self._process is not None

    # ---- its life

    async def supervise(self) -> None:
        """Keep a worker running while one is wanted; never returns."""
        while True:
            while not self.wanted:
                await asyncio.sleep(0.1)
            self._start()
            await self._ended.wait()
            pause, self._restart = self._restart, RESTART
            await asyncio.sleep(pause)

    def _start(self) -> None:
        self._started += 1
        self._ended.clear()
        process = SimulatedProcess(f"{self.slot}{self._started}")
        process.dies_at = self.crashes.pop(0) if self.crashes else None
        process.on_death = lambda: self._crash(process)
        self._process = process
        self._loop.add(process)
        self._trace.add(process.name, "starts")
        self._loop.create_task(self._main(process), context=process.context.copy())

    async def _main(self, process: SimulatedProcess) -> None:
        """What runs in the process."""
        loop, random, scenario = self._loop, self._random, self._scenario
        border = Border(loop, process, random)
        clock = SimulatedClock(loop, random, scenario.jitter, lambda: self.clock_step)
        fake = self._source = self._cluster.source()
        fake.connection.when_back[:] = [lambda: self._hears_later(fake)]
        name, inner = self._cluster.sink(fake)
        sink = SimulatedSink(inner, border, loop, process, self._cluster.checks)
        self._cluster.knows(process, name, sink, fake)
        source = SimulatedSource(fake, border, Tenancy(process, self._book, self._cluster.asked_back), loop)
        client = self._api.client(process, clock.epoch)
        observer = SimulatedObserver(lambda notice: self._heard(process, notice))
        ports = Ports(
            source,
            sink,
            JsonCodec(),
            client,
            clock,
            observer,
            scenario.partitions,
            session_timeout=scenario.session_timeout,
            metadata_limit=scenario.metadata_limit if scenario.limit_told else 4096,
        )
        stop = self._stop = asyncio.Event()
        error: BaseException | None = None
        try:
            worker = Worker(scenario.settings, ports, random.random)
            self._posts.leases[process] = worker._parts.leasehold
            await worker.run(stop)
        except Exception as problem:  # noqa: BLE001 - judged below
            error = problem
        loop.call_soon(self._exited, process, error, context=loop.world.context.copy())

    def _exited(self, process: SimulatedProcess, error: BaseException | None) -> None:
        if self._process is not process:
            return
        self._trace.add(process.name, f"ends: {error!r}" if error else "has stopped in order")
        if error is not None and not isinstance(error, StartError):
            self._book.fail("no crash", f"{process.name} ends with {error!r}")
        self._book.all_ended(process, "ended by an error" if error else "handed over")
        self._stopped.append(process)
        self._gone(process)
        if self._source is not None:
            self._loop.create_task(self._forgotten(self._source))

    async def _forgotten(self, source: FakeSource) -> None:
        """A process that is no more is no member for longer than its session, whatever it did last."""
        await asyncio.sleep(self._scenario.session_timeout)
        if source in source.group.members:
            await self._cluster.broker.kill(source)

    def _gone(self, process: SimulatedProcess) -> None:
        self._loop.remove(process)
        self._process = self._stop = None
        self._ended.set()

    # ---- what is done to it

    def kill(self, restart: float) -> None:
        """SIGKILL."""
        process, source = self._process, self._source
        if process is None:
            return
        self._trace.add(process.name, "is killed")
        self._restart = restart
        self._book.all_ended(process, "killed")
        self._killed.append(process)
        self._gone(process)
        if source is not None:
            source.connection.cut()
            self._loop.create_task(self._missed(source), context=self._loop.world.context.copy())

    def _crash(self, process: SimulatedProcess) -> None:
        if self._process is process:
            self.met["crash at an await"] += 1
            self.kill(RESTART)

    async def _missed(self, source: FakeSource) -> None:
        """The group waits for a dead member's heartbeat."""
        await asyncio.sleep(self._scenario.session_timeout * (0.8 + 0.2 * self._random.random()))
        if source.alive:
            await self._cluster.broker.kill(source)

    def stop(self, restart: float) -> None:
        """SIGTERM."""
        if self._process is None or self._stop is None:
            return
        self._trace.add(self._process.name, "gets SIGTERM")
        self._restart = restart
        self._loop.call_soon(self._stop.set, context=self._process.context.copy())

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while; beyond the session timeout the group expels it meanwhile."""
        process, source = self._process, self._source
        if process is None or source is None or process.frozen:
            return
        process.frozen = True
        self._book.disturbed(seconds)
        source.connection.freeze()
        world = self._loop.world.context.copy()
        self._loop.call_later(seconds, self._thaw, process, source, context=world)
        if seconds > self._scenario.session_timeout:
            self._loop.create_task(self._silent(process, source), context=world)

    async def _silent(self, process: SimulatedProcess, source: FakeSource) -> None:
        await asyncio.sleep(self._scenario.session_timeout * (0.8 + 0.2 * self._random.random()))
        if process.frozen and process.alive:
            await self._expel(process, source)

    def _thaw(self, process: SimulatedProcess, source: FakeSource) -> None:
        if process.frozen and process.alive:
            self._trace.add(process.name, "wakes up")
            process.frozen = False
            source.connection.thaw()

    def wake(self) -> None:
        """SIGCONT before its time."""
        if self._process is not None and self._source is not None:
            self._thaw(self._process, self._source)

    async def expel(self) -> None:
        """The group takes a living process for dead."""
        if self._process is not None and self._source is not None and self._source.alive:
            await self._expel(self._process, self._source)

    async def _expel(self, process: SimulatedProcess, source: FakeSource) -> None:
        if not source.alive:
            return
        self._trace.add("group", f"expels {process.name}")
        self.met["zombie"] += 1
        self._book.all_ended(process, "expelled")
        await self._cluster.broker.expel(source, silent=self._scenario.session_timeout * self._random.random())

    def _hears_later(self, source: FakeSource) -> None:
        """What a woken process does first is not to hear from its group."""
        delay = 0.01 + self._random.choice((0.0, 0.2, 3.0)) * self._random.random()
        self._loop.call_later(delay, source._came_back, context=self._loop.world.context.copy())

    def spare(self) -> None:
        """No more crashes."""
        self.crashes.clear()
        if self._process is not None:
            self._process.dies_at = None

    def unplug(self, seconds: float) -> None:
        """Brokers are out of its reach for a while."""
        source = self._source
        if self._process is None or source is None:
            return
        source.connection.unplug()
        self._loop.call_later(seconds, source.connection.plug, context=self._loop.world.context.copy())

    # ---- what is heard of it

    def _heard(self, process: SimulatedProcess, notice: Notice) -> None:
        if isinstance(notice, CommitFailed):
            self._trace.add(process.name, f"commit failed: {notice.detail}")
        elif isinstance(notice, Halted | Healed):
            self._trace.add(process.name, f"{type(notice).__name__.lower()}: {notice.reason}")
        elif isinstance(notice, Recalled):
            how = "clean" if notice.clean else f"unclean, {notice.unclean_takeovers} in a row"
            self._trace.add(
                process.name,
                f"recalls partition {notice.partition.partition} at offset {notice.offset}: {notice.jobs} jobs of "
                f"{notice.unfinished} unfinished, {how}{': ' + notice.problem if notice.problem else ''}",
                f"partition {notice.partition.partition}",
            )

    # ---- its end

    def check_left_over(self) -> None:
        """What the processes that have ended by themselves have left behind."""
        for process in self._stopped:
            left = [task for task in process.tasks if not task.done()]
            if left:
                self._book.fail("no leak", f"{process.name} has left {len(left)} tasks behind: {left[0]!r}")
            for task in process.tasks:
                if task.done() and task._log_traceback:
                    self._book.fail("no crash", f"{process.name}: nobody has looked at how {task!r} ended")
            for error in process.errors:
                self._book.fail("no crash", f"{process.name}: {error.get('message')}: {error.get('exception')!r}")

    def bury(self) -> None:
        """Let the tasks of killed processes end without a word, long after anything of it could matter."""
        for process in self._killed:
            self._loop.bury(process)
