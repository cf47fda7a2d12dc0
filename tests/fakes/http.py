"""An HTTP transport that answers from a script and remembers what it was asked."""

from collections import deque
from collections.abc import AsyncIterator, Callable

import httpx

Step = httpx.Response | BaseException | Callable[[httpx.Request], httpx.Response]


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Each request takes the next step of the script: an answer is given, an exception is raised, a function is called.

    Raises AssertionError where the script has ended. Not for concurrent requests whose order matters.
    """

    def __init__(self, *steps: Step) -> None:
        self._steps = deque(steps)
        self.requests: list[httpx.Request] = []
        self.closed = 0

    def then(self, *steps: Step) -> None:
        """Append to the script."""
        self._steps.extend(steps)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The next step of the script."""
        await request.aread()
        target = request.extensions.get("target")
        if target is not None:  # as httpcore does: it stands in place of the URL's path
            request.url = request.url.copy_with(raw_path=target)
        self.requests.append(request)
        if not self._steps:
            raise AssertionError(f"the script has no answer for {request.method} {request.url}")
        step = self._steps.popleft()
        if isinstance(step, BaseException):
            raise step
        return step if isinstance(step, httpx.Response) else step(request)

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1


class ChunkStream(httpx.AsyncByteStream):
    """A body that comes in chunks, and may end in an exception. `given` counts the chunks that were taken."""

    def __init__(self, chunk: bytes, times: int = 1, error: BaseException | None = None) -> None:
        self._chunk = chunk
        self._times = times
        self._error = error
        self.given = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks, then the exception."""
        while self.given < self._times:
            self.given += 1
            yield self._chunk
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        """Remember."""
        self.closed = True
