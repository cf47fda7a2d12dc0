"""Time, from the operating system."""

import asyncio
import time


class SystemClock:
    """The port `Clock` on the machine's clocks."""

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def epoch(self) -> float:
        """Seconds since 1970, by the wall clock."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds; at least one turn of the event loop."""
        await asyncio.sleep(seconds)
