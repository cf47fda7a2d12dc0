"""What the demo has to say at its end: figures as JSON, and as tables for people."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from worker.commands.demo.neighbours import Neighbours, neighbours
from worker.commands.demo.tally import Tally

_SHOWN_NUMBERS: Final = 3
_LONGEST_TEXT: Final = 200
_WIDEST: Final = 120


@dataclass(frozen=True, slots=True)
class Report:
    """All that the demo counted. `statistics` and `bills` are the emulator's; `notes` explain special events by their key;
    `given` is how many events there were to produce, `fed` how many of them were produced; `halted`: why the worker had
    stopped its intake at the end."""

    tally: Tally
    statistics: Mapping[str, Any]
    bills: Mapping[str, int]
    notes: Mapping[bytes, str]
    given: int
    fed: int
    seconds: float
    halted: str = ""

    def figures(self) -> dict[str, Any]:
        """The JSON object: counts of records on the topics and of the emulator's requests and bills, time in seconds from
        the first event produced to the last outcome read."""
        tally, events = self.tally, len(self.tally.inputs)
        requests = self.statistics["requests"]
        return {
            "events": events,
            "vectors": tally.vector_count,
            "dead_letters": tally.reasons.total(),
            "dead_letters_by_reason": dict(sorted(tally.reasons.items())),
            "tombstones": tally.tombstones.total(),
            "missing": len(tally.missing()),
            "repeated": tally.repeated(),
            "requests": requests,
            "requests_per_event": round(requests / events, 3) if events else None,
            "billed": self.statistics["bills"],
            "double_billed": tally.double_billed(self.bills),
            "seconds": round(self.seconds, 3),
        }

    def problems(self) -> list[str]:
        """What does not add up, a sentence each; empty: everything does."""
        tally, problems = self.tally, []
        if missing := tally.missing():
            keys = ", ".join(visible(tally.keys[place].decode("utf-8", "replace"))[:60] for place in missing[:3])
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            problems.append(f"{len(missing)} of {len(tally.inputs)} events have no outcome: {keys}{more}")
            if self.halted:
                problems.append(f"the worker was halted: {visible(self.halted)}")
                problems.append("the demo's own settings are sound: what is to be corrected are the lines of its input")
        if self.fed < self.given:
            problems.append(f"{self.given - self.fed} of {self.given} events were not produced: the demo had given up")
        if len(tally.inputs) != self.fed:
            problems.append(f"{self.fed} events were produced, but {len(tally.inputs)} are on the input topic")
        if repeated := tally.repeated():
            problems.append(f"{repeated} outcomes are there twice or belong to no event")
        if double := tally.double_billed(self.bills):
            problems.append(f"{double} bills are for events that had been billed before")
        if tally.unread:
            problems.append(f"the embedded broker dropped {tally.unread} records before they were read")
        return problems

    def show(self, console: Console) -> None:
        """Print the tables."""
        width = min(_WIDEST, console.width)
        near = neighbours(self.tally, skip=self.notes.keys())
        parts: list[RenderableType] = ["", self._summary()]
        if near:
            parts += ["", Text("Vectors and their nearest neighbours (cosine similarity)", style="bold")]
            parts += [_neighbours(one) for one in near]
        if self.tally.letters:
            parts += ["", self._letters()]
        console.print(Group(*parts), width=width)

    def _summary(self) -> Table:
        figures, statistics = self.figures(), self.statistics
        table = Table(title="Summary", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", style="bold", no_wrap=True)
        table.add_column(style="dim", overflow="fold")
        billed = f"${statistics['billed_total']:.6f} by the emulator's price list"
        rows = [
            ("events", figures["events"], "records on the input topic"),
            ("vectors", figures["vectors"], "on the output topic"),
            ("tombstones", figures["tombstones"], "deletions, passed on to the output topic"),
            ("dead letters", figures["dead_letters"], "on the dead-letter topic, reasons below"),
            ("API requests", figures["requests"], f"{figures['requests_per_event']} for each event, polls included"),
            ("billed jobs", figures["billed"], billed),
            ("billed twice", figures["double_billed"], "jobs paid again for the same event"),
            ("seconds", f"{self.seconds:.1f}", f"{figures['events'] / max(self.seconds, 1e-9):.0f} events a second"),
        ]
        for name, count, remark in rows:
            table.add_row(name, str(count), remark)
        return table

    def _letters(self) -> Table:
        total, shown = self.tally.reasons.total(), len(self.tally.letters)
        title = f"Dead letters ({total})" if total == shown else f"Dead letters (the first {shown} of {total})"
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        table.add_column("reason", no_wrap=True, style="yellow")
        table.add_column("event", ratio=2, overflow="fold")
        table.add_column("detail", ratio=3, overflow="fold")
        for letter in self.tally.letters:
            note = self.notes.get(self.tally.keys.get(letter.place, b""), "")
            text = self.tally.inputs.get(letter.place) or ""
            event = Text(note or cut(text, 60) or "(no text)")
            tries = f" (after {letter.attempts} attempts)" if letter.attempts not in {"0", "1"} else ""
            table.add_row(letter.reason, event, Text(cut(letter.detail, _LONGEST_TEXT) + tries))
        if total > shown:
            table.caption = ", ".join(f"{count} {reason}" for reason, count in self.tally.reasons.most_common())
        return table


def _neighbours(one: Neighbours) -> RenderableType:
    # expanded, for else rich takes the room that is missing from both columns, and crops the line where the first needs it
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(justify="right", style="cyan", no_wrap=True, min_width=4)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_row("", Text(f"{len(one.vector)} numbers, the largest {largest(one.vector)}", style="dim"))
    for similarity, text in one.nearest:
        table.add_row(f"{similarity:.2f}", Text(cut(text, _LONGEST_TEXT)))
    heading = Text(cut(one.text, _LONGEST_TEXT), no_wrap=True, overflow="ellipsis", style="bold green")
    return Padding(Group(heading, Padding(table, (0, 0, 0, 2))), (1, 0, 0, 1))


def largest(vector: Sequence[float]) -> str:
    """The numbers that say most of a vector, with their places from 0 on. The first ones are much alike in the emulator's
    vectors of different texts."""
    places = sorted(range(len(vector)), key=lambda place: abs(vector[place]), reverse=True)[:_SHOWN_NUMBERS]
    return ", ".join(f"{vector[place]:+.3f} at {place}" for place in places)


def cut(text: str, most: int) -> str:
    """The text on one line, at most that many characters, without anything that could steer a terminal."""
    plain = visible(" ".join(text[: 4 * most].split()))
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def visible(text: str) -> str:
    """The text with control and format characters replaced."""
    return "".join("�" if unicodedata.category(letter) in _UNSEEN else letter for letter in text)


_UNSEEN: Final[Sequence[str]] = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
