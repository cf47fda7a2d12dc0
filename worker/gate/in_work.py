"""The records in work, one task each."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from worker.model import Record, TopicPartition


class InWork:
    """Starts tasks and knows of each which record it is about. Must be made inside a running event loop."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Record] = {}
        self._alone: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self.crashed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def one_works_alone(self) -> bool:
        """A suspect is in work: nothing else may be started beside it."""
        return self._alone is not None

    def start(
        self, record: Record, journey: Awaitable[None], ended: Callable[[Record], None], *, alone: bool = False
    ) -> None:
        """Let a record travel; `ended` is called at the end, whatever it was. Its exception is a crash of the worker."""
        task = asyncio.ensure_future(journey)
        self._tasks[task] = record
        if alone:
            self._alone = task

        def done(task: "asyncio.Task[None]") -> None:
            del self._tasks[task]
            self._alone = None if self._alone is task else self._alone
            error = None if task.cancelled() else task.exception()
            if error:
                self.crash(error)
            self._progress.set()
            ended(record)

        task.add_done_callback(done)

    def not_alone_any_more(self) -> None:
        """The one that works alone has done what makes it dangerous."""
        self._alone = None

    def crash(self, error: BaseException) -> None:
        """The worker ends for a bug."""
        if not self.crashed.done():
            self.crashed.set_exception(error)
            self.crashed.exception()  # looked at: it is raised elsewhere

    def cancel(self, which: Callable[[Record], bool]) -> int:
        """Let the journeys of these records end now; returns how many there are."""
        found = [task for task, record in self._tasks.items() if which(record)]
        for task in found:
            task.cancel()
        return len(found)

    def any_of(self, partitions: Collection[TopicPartition], *, leaving: bool = False) -> bool:
        """Whether records of these partitions are in work; `leaving`: such as are cancelled and have not ended yet."""
        return any(
            record.source in partitions and (not leaving or task.cancelling()) for task, record in self._tasks.items()
        )

    def look_again(self) -> None:
        """Something has happened that `wait_while` may wait for."""
        self._progress.set()

    async def wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until the condition does not hold, for at most so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while condition():
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return

    async def ended(self) -> None:
        """Wait until nothing is in work."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
