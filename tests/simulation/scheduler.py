"""An event loop for several processes at once, in virtual time, whose every choice comes from one random generator.

Every callback belongs to the process in whose `contextvars.Context` it was registered; what no process registered belongs to the
world (broker, API, network, the hand that injects faults). A turn of the loop runs what one process has ready, as asyncio's own
loop would; which process gets the next turn is drawn. So order holds within a process, as in reality, and nowhere else.

    alive ---- freeze (SIGSTOP) ----> frozen ---- thaw (SIGCONT) ----> alive
      |                                 |
      '--------- kill (SIGKILL) --------'-----------> dead: no callback of it ever runs again

No selector, no thread, no real time: a second of CPU is thousands of callbacks, and the same seed gives the same run.
"""

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from itertools import count
from random import Random
from typing import Any, TypeVar

Result = TypeVar("Result")


class DeadlockError(Exception):
    """Everything waits, and no timer is set."""


class SpinningError(Exception):
    """A process does ever more without any time passing."""


MOST_TURNS = 20_000
"""Turns of the loop at one moment of virtual time."""


class SimulatedProcess:
    """What the scheduler knows of a process: its callbacks, its tasks, and whether it may run. `steps` counts callbacks; after
    `dies_at` of them `on_death` is called, between two callbacks: a crash at an await."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.alive = True
        self.frozen = False
        self.steps = 0
        self.dies_at: int | None = None
        self.on_death: Callable[[], None] = lambda: None
        self.context = copy_context()
        self.context.run(CURRENT.set, self)

    def __repr__(self) -> str:
        return self.name


CURRENT: ContextVar[SimulatedProcess] = ContextVar("CURRENT")


class Handle:
    """A callback that waits for its turn, or for its time."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "process", "time")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context,
        process: SimulatedProcess,
        time: float,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.process = process
        self.time = time
        self.is_cancelled = False

    def cancel(self) -> None:
        """It will not run."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.is_cancelled

    def when(self) -> float:
        """Virtual seconds."""
        return self.time


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks have the same order on every run."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class NumberedFuture(asyncio.Future[Any]):
    """A future whose hash is its number."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class Scheduler(asyncio.AbstractEventLoop):
    """The loop. `world` is the process that everything else belongs to."""

    def __init__(self, random: Random) -> None:
        self.world = SimulatedProcess("world")
        self.turns = 0
        self._turns_before = 0
        self._random = random
        self._now = 0.0
        self._timers: list[tuple[float, int, Handle]] = []
        self._serial = count(1)
        self._processes = [self.world]
        self._closed = False

    def add(self, process: SimulatedProcess) -> None:
        """From now on it gets turns."""
        self._processes.append(process)

    def remove(self, process: SimulatedProcess) -> None:
        """No callback of it runs any more."""
        process.alive = False
        process.ready.clear()
        self._processes.remove(process)

    def bury(self, process: SimulatedProcess) -> None:
        """End the tasks of a dead process without a word, long after anything of it could matter."""
        process.alive = True
        for task in process.tasks:
            task.cancel()
        with self._running():  # what a cancelled task starts must not look for another loop
            for _ in range(MOST_TURNS):
                if not process.ready:
                    break
                self._run(process)
            process.alive = False
            for task in process.tasks:
                if not task.done():  # it had not begun, or does not want to end
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with suppress(RuntimeError):
                        task.get_coro().close()
        process.tasks.clear()
        process.ready.clear()
        process.errors.clear()

    def run(self, main: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine of the world to its end, and nothing of what it leaves."""
        with self._running():
            task = self.world.context.run(self.create_task, main)
            while not task.done():
                self._turn()
            result: Result = task.result()
            return result

    @contextmanager
    def _running(self) -> Iterator[None]:
        previous = events._get_running_loop()
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(previous)

    def _turn(self) -> None:
        self.turns += 1
        timers = self._timers
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle.is_cancelled and handle.process.alive:
                handle.process.ready.append(handle)
        runnable = [process for process in self._processes if process.ready and not process.frozen]
        if not runnable:
            self._pass_time()
            return
        if self.turns - self._turns_before > MOST_TURNS:
            raise SpinningError(
                f"{', '.join(map(str, runnable))} does ever more at {self._now:.3f} s, and no time passes"
            )
        process = runnable[0] if len(runnable) == 1 else runnable[int(self._random.random() * len(runnable))]
        self._run(process)

    def _pass_time(self) -> None:
        timers = self._timers
        while timers and (timers[0][2].is_cancelled or not timers[0][2].process.alive):
            heapq.heappop(timers)
        if not timers:
            raise DeadlockError("every task waits and no timer is set")
        self._now = max(self._now, timers[0][0])
        self._turns_before = self.turns

    def _run(self, process: SimulatedProcess) -> None:
        ready = process.ready
        for _ in range(len(ready)):
            if not ready or process.frozen:  # killed or frozen by its own callback
                return
            handle = ready.popleft()
            if handle.is_cancelled:
                continue
            try:
                handle.context.run(handle.callback, *handle.args)
            except Exception as error:  # noqa: BLE001 - a callback that raises, reported as asyncio's loop does
                self.call_exception_handler(
                    {"message": f"exception in callback {handle.callback!r}", "exception": error}
                )
            process.steps += 1
            if process.dies_at is not None and process.steps >= process.dies_at and process.alive:
                self.world.context.run(process.on_death)

    # ---- what asyncio asks of a loop

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:  # type: ignore[override]
        """Run it in the next turn of its process."""
        context = copy_context() if context is None else context
        process = context.get(CURRENT) or self.world
        handle = Handle(callback, args, context, process, self._now)
        if process.alive:
            process.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Run it after so many virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Run it at that virtual time."""
        context = copy_context() if context is None else context
        handle = Handle(callback, args, context, context.get(CURRENT) or self.world, when)
        heapq.heappush(self._timers, (when, next(self._serial), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future of the current process."""
        future = NumberedFuture.__new__(NumberedFuture)
        future.number = next(self._serial)
        future.__init__(loop=self)  # type: ignore[misc]
        return future

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """A task of the current process, or of the one that `context` belongs to."""
        process = (copy_context() if context is None else context).get(CURRENT) or self.world
        number = next(self._serial)
        task = NumberedTask.__new__(NumberedTask)
        task.number = number  # asyncio keeps all tasks in a set, from their first moment on
        task.__init__(coro, loop=self, name=name or f"{process.name}-{number}", context=context)  # type: ignore[misc]
        process.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what asyncio complains of, for the process that it belongs to."""
        CURRENT.get(self.world).errors.append(context)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whether it is this loop that runs now."""
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Forget everything that waits."""
        self._closed = True
        self._timers.clear()
        for process in self._processes:
            process.ready.clear()
