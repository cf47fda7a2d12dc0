"""The list of pending jobs: as a table for people, as an object for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.commands.pending.states import Answers, Seen
from worker.core.ledger import Entry, Mark
from worker.core.pending import PartitionState, Totals, expires_in, has_job, totals
from worker.core.times import rfc3339

COLUMNS = ("topic", "partition", "offset", "request_id", "age", "attempt", "expires in", "mark")
NUMBERS = frozenset({"partition", "offset", "age", "attempt", "expires in"})


@dataclass(frozen=True, slots=True)
class Listing:
    """What is pending at `now` (seconds since the epoch). `answers`: what the API says of it, where it was asked."""

    group: str
    cluster: str
    now: float
    states: Sequence[PartitionState]
    answers: Answers | None = None

    def as_object(self) -> dict[str, Any]:
        """For JSON: times in RFC 3339, spans in seconds."""
        return {
            "group": self.group,
            "cluster": self.cluster,
            "at": rfc3339(self.now),
            "partitions": [self._partition(state) for state in self.states],
            "totals": asdict(self._totals()),
            "fetch_stopped": self.answers.stopped if self.answers else None,
        }

    def show(self, console: Console) -> None:
        """A table on a terminal, else a line per job with columns of equal width. Problems and totals follow."""
        rows = [*self._rows()]
        if rows and console.is_terminal:
            console.print(self._table(rows))
        elif rows:
            for line in plain([self._columns(), *rows]):
                console.print(line, markup=False, soft_wrap=True)
        for state in self.states:
            if state.problem:
                problem = f"{state.where}@{state.offset}: {state.problem}"
                console.print(f"[yellow]{escape(problem)}[/yellow]", soft_wrap=True)
        console.print(self._summary(), markup=False, soft_wrap=True)
        if self.answers and self.answers.stopped:
            console.print(f"[yellow]{escape(self.answers.stopped)}[/yellow]", soft_wrap=True)

    def _totals(self) -> Totals:
        return totals(self.states, self.now)

    def _columns(self) -> Sequence[str]:
        return (*COLUMNS, "state") if self.answers else COLUMNS

    def _rows(self) -> Iterator[Sequence[str]]:
        for state in self.states:
            for offset, mark in state.entries:
                job = has_job(mark)
                cells = (
                    state.where.topic,
                    str(state.where.partition),
                    str(offset),
                    mark.request_id or "",
                    span(self.now - mark.submitted_at) if mark.attempt else "",
                    str(mark.attempt or ""),
                    span(left) if job and (left := expires_in(mark, self.now)) > 0 else "expired" if job else "",
                    kinds(mark),
                )
                yield (*cells, str(self._seen(mark) or "")) if self.answers else cells

    def _table(self, rows: Sequence[Sequence[str]]) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        for name in self._columns():
            table.add_column(name, justify="right" if name in NUMBERS else "left", overflow="fold")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        return table

    def _summary(self) -> str:
        found = self._totals()
        parts = [
            f"{counted(found.jobs, 'job')} in {found.with_jobs} of {counted(found.partitions, 'partition')} of {self.group}"
        ]
        if found.oldest is not None:
            parts.append(f"the oldest {span(found.oldest)} old")
        if found.next_expiry is not None:
            parts.append(f"the next result expires in {span(found.next_expiry)}")
        for number, what in ((found.expired, "expired"), (found.intents, "intents"), (found.claims, "claimed")):
            if number:
                parts.append(f"{number} {what}")
        silent = sum(state.offset is None for state in self.states)
        if silent:
            parts.append(f"{counted(silent, 'partition')} without a committed offset")
        return ", ".join(parts)

    def _seen(self, mark: Mark) -> Seen | None:
        return self.answers.seen.get(mark.request_id or "") if self.answers else None

    def _partition(self, state: PartitionState) -> Mapping[str, Any]:
        return {
            "topic": state.where.topic,
            "partition": state.where.partition,
            "offset": state.offset,
            "ledger": state.standing.value,
            "problem": state.problem,
            "unfinished": state.unfinished,
            "handed_over": state.handed_over,
            "unclean_takeovers": state.unclean_takeovers,
            "pending": [self._entry(entry) for entry in state.entries],
        }

    def _entry(self, entry: Entry) -> Mapping[str, Any]:
        mark, seen = entry.mark, self._seen(entry.mark)
        timed = bool(mark.attempt)
        facts: dict[str, Any] = {
            "offset": entry.offset,
            "request_id": mark.request_id,
            "submitted_at": rfc3339(mark.submitted_at) if timed else None,
            "age": round(self.now - mark.submitted_at, 3) if timed else None,
            "attempt": mark.attempt or None,
            "expires_in": round(expires_in(mark, self.now), 3) if has_job(mark) else None,
            "intent": mark.intent,
            "claims": mark.claims,
        }
        if self.answers:
            facts |= {"state": seen and seen.state, "detail": seen and seen.detail}
        return facts


def plain(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines, their columns aligned; an empty cell is a dash, so that programs can split at spaces."""
    cells = [[cell.replace(" ", "_") if n == 0 else cell or "-" for cell in row] for n, row in enumerate(rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def kinds(mark: Mark) -> str:
    """What the mark is, beside a job: `intent`: a submit of which it is not known whether it was accepted."""
    return "+".join(name for name, holds in (("intent", mark.intent), ("claimed", mark.claims > 0)) if holds)


def span(seconds: float) -> str:
    """A span of time without spaces: 45s, 12m05s, 3h20m."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def counted(number: int, what: str) -> str:
    """A number of things."""
    return f"{number} {what}{'' if number == 1 else 's'}"
