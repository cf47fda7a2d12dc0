"""The lease and who waits for it: a POST starts only while this worker has shown recently that it can still commit."""

import asyncio
from collections.abc import Callable

from worker.core.lease import Lease
from worker.notices import Leased
from worker.ports import Clock, Observer

TOLD = 0.2
"""Change of the effective lease, as a fraction, below which it is not told again."""

SLOW_RETRY = 1.0
"""Seconds between two looks at a lease that is too slow."""


class Leasehold:
    """Rules 5 and 5b of the commit protocol. `renew` asks for a commit at once."""

    def __init__(self, lease: Lease, clock: Clock, observer: Observer) -> None:
        self._lease = lease
        self._clock = clock
        self._observer = observer
        self._told = 0.0
        self._renewed = asyncio.Event()
        self.wanted = False
        self.renew: Callable[[], None] = lambda: None

    @property
    def length(self) -> float:
        """The effective lease in seconds."""
        return self._lease.length

    @property
    def too_slow(self) -> str | None:
        """Why no POST may start at all: transactions take too long for a lease; one sentence."""
        return self._lease.too_slow

    def may_post(self, postable_at: float) -> bool:
        """Whether a POST may start now on a partition that may be POSTed to from `postable_at` on. To be asked last."""
        now = self._clock.boottime()
        return now >= postable_at and self._lease.may_post(now) and self._lease.too_slow is None

    async def wait(self, postable_at: float) -> None:
        """Wait for a moment in which a POST may start; whether it still may is to be asked again."""
        while not self.may_post(postable_at):
            early = postable_at - self._clock.boottime()
            if early > 0.0:
                await self._clock.sleep(early)
                continue
            if self._lease.too_slow:
                await self._clock.sleep(SLOW_RETRY)
            self.wanted = True
            self._renewed.clear()
            self.renew()
            await self._renewed.wait()

    def committed(self, started: float) -> None:
        """A transaction that started at `started` (by the clock's boottime) is known to have committed."""
        self._lease.committed(started, self._clock.boottime())
        self.wanted = False
        self._renewed.set()
        length = self._lease.length
        if abs(length - self._told) > TOLD * self._told:
            self._told = length
            self._observer.notice(Leased(length, self._lease.transaction_p99))

    def forfeit(self) -> None:
        """It is not known how the last transaction ended."""
        self._lease.forfeit()
