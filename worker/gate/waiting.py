"""Who waits at the gate, and how many are through it: polls before submits, older jobs before younger ones."""

import asyncio
import heapq
from itertools import count


class WaitingLine:
    """Futures in order of priority (lowest first), then of arrival. A future's value says whether the call is a probe; None: it
    is not let in, and sent back. At most `most` calls should be under way at once, so that none waits for a connection: one that
    does runs into its time-out, which would look like an outage."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way = 0
        self._heap: list[tuple[float, int, asyncio.Future[bool | None]]] = []
        self._arrival = count()

    def __len__(self) -> int:
        self._forget_cancelled()
        return len(self._heap)

    @property
    def is_full(self) -> bool:
        """Whether as many calls are under way as there may be."""
        return self._under_way >= self._most

    def enter(self) -> None:
        """One goes through without waiting."""
        self._under_way += 1

    def leave(self) -> None:
        """One that went through has ended, or was not made."""
        self._under_way -= 1

    def join(self, priority: float) -> asyncio.Future[bool | None]:
        """A new place in the line."""
        place: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (priority, next(self._arrival), place))
        return place

    def let_first_in(self, *, probe: bool) -> None:
        """Let the first in. The line must not be empty."""
        self._forget_cancelled()
        heapq.heappop(self._heap)[2].set_result(probe)
        self.enter()

    def send_back(self) -> None:
        """Nobody is let in: all that wait are sent back."""
        for _, _, place in self._heap:
            if not place.done():
                place.set_result(None)
        self._heap.clear()

    def _forget_cancelled(self) -> None:
        while self._heap and self._heap[0][2].done():
            heapq.heappop(self._heap)
