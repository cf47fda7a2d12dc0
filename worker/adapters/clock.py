"""Time, from the operating system."""

import asyncio
import time
from typing import Final

_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The port `Clock` on the machine's clocks."""

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def boottime(self) -> float:
        """Seconds that only grow, the machine's sleep included (Linux; elsewhere like `monotonic`)."""
        return time.clock_gettime(_BOOT)

    def epoch(self) -> float:
        """Seconds since 1970, by the wall clock."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds; at least one turn of the event loop."""
        await asyncio.sleep(seconds)
