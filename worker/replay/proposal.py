"""What a replay would do: the plan before it is confirmed, in figures."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.core.replay_fates import Judge
from worker.core.replay_plan import Fate, Plan


@dataclass(frozen=True, slots=True)
class Proposal:
    """Nothing of it is written yet. `fates`: the selected letters by reason and by what becomes of them. `fetchable`: letters of
    which the job may be polled instead of paid; `cost`: the estimate for the others, in USD. `scanned`: records read on the
    dead-letter topics, of which `strange` are no dead letters. `unsure`: letters to be replayed that are older than what the
    input topic still holds, so that a newer event of their key may be gone unseen. `notes`: sentences for whoever confirms.
    `known`: ids of the plans that there were; `judge`: what has been read, so that it need not be read once more."""

    plan: Plan
    fates: Mapping[tuple[str, Fate], int]
    fetchable: int
    cost: float
    scanned: int
    strange: int
    unsure: int
    notes: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    judge: Judge | None = field(default=None, repr=False, compare=False)

    @property
    def selected(self) -> int:
        """Letters that the filter takes."""
        return sum(self.fates.values())

    @property
    def by_fate(self) -> Mapping[Fate, int]:
        """How many letters have which fate."""
        counts: Counter[Fate] = Counter()
        for (_, fate), count in self.fates.items():
            counts[fate] += count
        return counts

    @property
    def to_pay(self) -> int:
        """Letters that are paid for once more."""
        return self.plan.letters - self.fetchable


@dataclass(slots=True)
class Tally:
    """Counts while letters are judged."""

    fates: Counter[tuple[str, Fate]] = field(default_factory=Counter)
    scanned: int = 0
    strange: int = 0
    fetchable: int = 0
    unsure: int = 0
    had: Counter[tuple[str, Fate]] = field(default_factory=Counter)

    @property
    def sent(self) -> int:
        """Letters that would be replayed."""
        return sum(count for (_, fate), count in self.fates.items() if fate is Fate.SENT)
