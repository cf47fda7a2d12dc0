"""`embedding-worker dead-letters stats`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.table import Table

from worker.commands.dead_letters.printable import printable, when
from worker.commands.dead_letters.reading import records
from worker.commands.output import say, writing
from worker.core.dead_letters import Letter
from worker.core.letter_filter import LetterFilter
from worker.settings import Settings

OTHER: Final = "(others)"
_MOST_KINDS: Final = 5_000
"""The topic may hold anything: what comes after so many kinds is counted together."""


@dataclass(slots=True)
class Stats:
    """Counts of letters by reason, day and model, and the times of each reason's first and last failure (epoch seconds)."""

    kinds: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    seen: dict[str, tuple[float, float]] = field(default_factory=dict)
    strange: int = 0

    def add(self, letter: Letter) -> None:
        """Count one."""
        kind = (letter.reason, when(letter.failed_at)[:10], letter.model)
        if kind not in self.kinds and len(self.kinds) >= _MOST_KINDS:
            kind = (OTHER, OTHER, OTHER)
        self.kinds[kind] += 1
        first, last = self.seen.get(kind[0], (letter.failed_at, letter.failed_at))
        self.seen[kind[0]] = (min(first, letter.failed_at), max(last, letter.failed_at))

    def by(self, part: int) -> Mapping[str, int]:
        """Counts by one part of the kind: 0 reason, 1 day, 2 model."""
        counts: Counter[str] = Counter()
        for kind, count in self.kinds.items():
            counts[kind[part]] += count
        return counts


def print_stats(settings: Settings, topics: Sequence[str], chosen: LetterFilter, *, as_json: bool) -> None:
    """Count, and print. Raises ConfigurationError and StartError."""
    stats = Stats()
    for found in records(settings, topics, chosen):
        if found.letter is None:
            stats.strange += 1
        elif chosen.takes(found.letter):
            stats.add(found.letter)
    if as_json:
        say(json.dumps(document(topics, stats)))
        return
    console = Console(highlight=False)
    with writing():
        console.print(headline(topics, stats), markup=False, soft_wrap=True)
        if stats.kinds:
            console.print()
            console.print(_reasons(stats))
            for title, part in (("day", 1), ("model", 2)):
                console.print()
                console.print(_counts(title, stats.by(part)))


def document(topics: Sequence[str], stats: Stats) -> dict[str, object]:
    """The counts for a script."""
    return {
        "topics": list(topics),
        "dead_letters": stats.kinds.total(),
        "not_dead_letters": stats.strange,
        "by_reason": dict(sorted(stats.by(0).items())),
        "by_day": dict(sorted(stats.by(1).items())),
        "by_model": dict(sorted(stats.by(2).items())),
        "counts": [
            {"reason": reason, "day": day, "model": model, "count": count}
            for (reason, day, model), count in sorted(stats.kinds.items())
        ],
    }


def headline(topics: Sequence[str], stats: Stats) -> str:
    """The first line for a person."""
    total = stats.kinds.total()
    strange = f"; {stats.strange:,} records are none" if stats.strange else ""
    return f"{total:,} dead letter{'s' if total != 1 else ''} on {', '.join(topics)}{strange}"


def _reasons(stats: Stats) -> Table:
    table = _table("reason", "count", "first", "last")
    for reason, count in sorted(stats.by(0).items(), key=lambda item: (-item[1], item[0])):
        first, last = stats.seen[reason]
        table.add_row(printable(reason), f"{count:,}", when(first), when(last))
    return table


def _counts(title: str, counts: Mapping[str, int]) -> Table:
    table = _table(title, "count")
    for name, count in sorted(counts.items()):
        table.add_row(printable(name) or "-", f"{count:,}")
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for title in titles:
        table.add_column(title, justify="right" if title == "count" else "left", overflow="fold")
    return table
