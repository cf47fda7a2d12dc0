"""The two directions between the event loop and the consumer's thread."""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final, TypeVar

from worker.errors import CommitAborted
from worker.model import Assignment, Record, TopicPartition
from worker.ports import Listener

T = TypeVar("T")

_LEFT: Final = "this worker has left the consumer group"


def settle(future: Future[T], result: T | None, error: BaseException | None = None) -> None:
    """Complete a future that its waiter may have cancelled or that may be complete already."""
    try:
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T is None
        else:
            future.set_exception(error)
    except InvalidStateError:
        pass


class CommandQueue:
    """Callables to be run on the consumer's thread. `call` may be used from any thread, `serve` on that thread only."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run a function there. The future raises what the function raises, or CommitAborted after `close`."""
        future: Future[T] = Future()

        def command() -> None:
            if self._closed:
                settle(future, None, CommitAborted(_LEFT))
                return
            try:
                settle(future, function())
            except Exception as error:  # noqa: BLE001  # handed to whoever waits for the future
                settle(future, None, error)

        with self._lock:
            if self._closed:
                settle(future, None, CommitAborted(_LEFT))
            else:
                self._queue.put(command)
        return future

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def wake(self) -> None:
        """End a waiting `serve`."""
        self.call(lambda: None)

    def serve(self, seconds: float) -> None:
        """Run what is queued; where nothing is, wait up to `seconds` for one command."""
        try:
            self._queue.get(timeout=seconds)() if seconds > 0 else self._queue.get_nowait()()
            while True:
                self._queue.get_nowait()()
        except queue.Empty:
            return

    def close(self) -> None:
        """Refuse everything queued and everything to come."""
        with self._lock:
            self._closed = True
        self.serve(0)
        self._queue.put(lambda: None)  # whoever waits in `serve` is to see it


class LoopListener:
    """A `Listener` as seen from the consumer's thread. After the loop has closed all calls do nothing."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listener: Listener, on_error: Callable[[Exception], None]
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._on_error = on_error

    def assigned(self, assignments: Mapping[TopicPartition, Assignment]) -> None:
        """Schedule `Listener.assigned`."""
        self.post(self._listener.assigned, assignments)

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Schedule `Listener.lost`."""
        self.post(self._listener.lost, partitions)

    def arrived(self, records: Sequence[Record], handled: Callable[[], None]) -> None:
        """Schedule `Listener.arrived`, and `handled` after it."""

        def deliver() -> None:
            try:
                self._listener.arrived(records)
            finally:
                handled()

        self.post(deliver)

    def revoked(self, partitions: Collection[TopicPartition]) -> Future[None]:
        """Start `Listener.revoked`; cancelling the future cancels it there."""
        ending: list[Coroutine[Any, Any, None]] = []
        # by a call of its own: a coroutine starts a turn of the loop later, when the partitions may be assigned again already
        self.post(lambda: ending.append(self._listener.revoked(partitions)))
        coroutine = self._ended(ending)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop has closed
            coroutine.close()
            future: Future[None] = Future()
            future.set_result(None)
            return future

    def post(self, function: Callable[..., None], *arguments: object) -> None:
        """Schedule a call on the loop; its exception is a failure of the source."""
        try:
            self._loop.call_soon_threadsafe(self._guarded, function, arguments)
        except RuntimeError:  # the loop has closed
            return

    def _guarded(self, function: Callable[..., None], arguments: Sequence[object]) -> None:
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001  # a bug of the listener must stop the worker, not vanish in the loop's log
            self._on_error(error)

    async def _ended(self, ending: Sequence[Awaitable[None]]) -> None:
        try:
            for awaitable in ending:
                await awaitable
        except Exception as error:  # noqa: BLE001  # as above
            self._on_error(error)
