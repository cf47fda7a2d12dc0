"""How far a long reading or replay is: a live bar on a terminal, a plain line now and then elsewhere. Always on stderr."""

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

_FRAME: Final = 0.1
_LINE: Final = 2.0


class ProgressBar:
    """A `replay.Watch`. Phases of nothing are not shown; without a terminal only those that take a while are."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # FORCE_COLOR makes rich take any stream for a terminal
        live = console.is_interactive and console.file.isatty()
        self._bar = _bar(console) if live else None
        self._task: TaskID | None = None
        self._title, self._total, self._done = "", 0, 0
        self._shown = 0.0

    def phase(self, title: str, total: int) -> None:
        """See `Watch`."""
        self._finish()
        self._title, self._total, self._done = title, total, 0
        self._shown = time.monotonic()
        if self._bar is not None and total > 0:
            self._task = self._bar.add_task(title, total=total)

    def advance(self, count: int) -> None:
        """See `Watch`."""
        self._done += count
        now = time.monotonic()
        if now - self._shown < (_LINE if self._bar is None else _FRAME):
            return
        self._shown = now
        self._draw()

    def line(self, line: str) -> None:
        """A line on stderr, above the bar where there is one."""
        self._console.print(Text(line), soft_wrap=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()
        if self._bar is not None:
            self._bar.stop()

    def _draw(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=min(self._done, self._total), refresh=True)
        elif self._bar is None and self._total > 0:
            self.line(f"{self._title}: {self._done:,} of {self._total:,}")

    def _finish(self) -> None:
        if self._bar is not None and self._task is not None:
            self._draw()
            self._task = None


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
    )
