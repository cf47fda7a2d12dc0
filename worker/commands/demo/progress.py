"""How far the demo is: a live bar on a terminal, a plain line now and then elsewhere. Always on stderr."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from worker.commands.demo.tally import Tally
from worker.notices import CommitFailed, Halted, Healed, Notice, Throttled

_FRAME: Final = 0.1
_LINE: Final = 2.0


class DemoProgress:
    """Shows the counts of a tally while the demo runs. It is an `Observer` too: trouble that the worker meets is told in a
    line. `requests` gives the API requests so far."""

    def __init__(self, console: Console, tally: Tally, total: int, requests: Callable[[], int]) -> None:
        self._console = console
        # FORCE_COLOR makes rich take any stream for a terminal
        self._live = console.is_interactive and console.file.isatty()
        self._tally = tally
        self._total = total
        self._requests = requests
        self._bar: Progress | None = None
        self._drawn: asyncio.Task[None] | None = None
        self._throttled_at = -60.0
        self.halted = ""

    def notice(self, notice: Notice) -> None:
        """Tell what keeps the worker from working; all else shows in the counts."""
        match notice:
            case Halted(reason):
                self.halted = reason
                self.line(f"the worker has halted: {reason}")
            case Healed(_, seconds):
                self.halted = ""
                self.line(f"the worker goes on after {seconds:.1f} s")
            case Throttled(delay, _) if time.monotonic() - self._throttled_at > 1.0:
                self._throttled_at = time.monotonic()
                self.line(f"429: the rate limit is reached, no request for {delay:.1f} s")
            case CommitFailed(detail):
                self.line(f"a commit is repeated: {detail}")
            case _:
                return

    def line(self, line: str) -> None:
        """One line, above the bar where there is one."""
        self._console.print(Text(line), soft_wrap=not self._live)

    async def __aenter__(self) -> Self:
        if self._live:
            self._bar = Progress(
                BarColumn(bar_width=14),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                auto_refresh=False,
            )
            self._bar.add_task("", total=self._total)
            self._bar.start()
        self._drawn = asyncio.create_task(self._draw())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn is not None:
            self._drawn.cancel()
            await asyncio.gather(self._drawn, return_exceptions=True)
        if self._bar is not None:
            self._refresh(self._bar)
            self._bar.stop()
        elif kind is None:
            self.line(self._counts())

    async def _draw(self) -> None:
        while True:
            if self._bar is not None:
                self._refresh(self._bar)
                await asyncio.sleep(_FRAME)
            else:
                await asyncio.sleep(_LINE)
                self.line(self._counts())

    def _refresh(self, bar: Progress) -> None:
        changes: dict[str, Any] = {"completed": self._tally.ended, "description": self._figures()}
        bar.update(bar.task_ids[0], refresh=True, **changes)

    def _counts(self) -> str:
        return f"{self._tally.ended}/{self._total} events done: {self._figures()}"

    def _figures(self) -> str:
        tally = self._tally
        return f"{tally.vector_count} vectors, {tally.reasons.total()} dead letters, {self._requests()} requests"
