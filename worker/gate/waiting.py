"""Who waits at the gate: polls before submits, older jobs before younger ones."""

import asyncio
import heapq
from itertools import count


class WaitingLine:
    """Futures in order of priority (lowest first), then of arrival. A future's value says whether the call is a probe; None: it
    is not let in, and sent back."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, asyncio.Future[bool | None]]] = []
        self._arrival = count()

    def __len__(self) -> int:
        self._forget_cancelled()
        return len(self._heap)

    def join(self, priority: float) -> asyncio.Future[bool | None]:
        """A new place in the line."""
        place: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (priority, next(self._arrival), place))
        return place

    def let_first_in(self, *, probe: bool) -> None:
        """Let the first in. The line must not be empty."""
        self._forget_cancelled()
        heapq.heappop(self._heap)[2].set_result(probe)

    def send_back(self) -> None:
        """Nobody is let in: all that wait are sent back."""
        for _, _, place in self._heap:
            if not place.done():
                place.set_result(None)
        self._heap.clear()

    def _forget_cancelled(self) -> None:
        while self._heap and self._heap[0][2].done():
            heapq.heappop(self._heap)
