"""The simulation while intake is halted again and again: no budget loses, repeats or holds back anything."""

from collections import Counter
from collections.abc import Iterable

from tests.simulation.patching import Patch, patched
from tests.simulation.report import story
from tests.simulation.runner import run
from worker import assembly
from worker.core import dead_letter_budget, spending
from worker.core.dead_letter_budget import DeadLetterBudget
from worker.core.halting import Cause
from worker.core.spending import Caps
from worker.gate import spend_guard
from worker.gate.gate import Gate
from worker.model import Outcome

CALL = 0.000033

_halt = Gate.halt


class Strict(DeadLetterBudget):
    """A single dead letter halts intake."""

    def __init__(self, _share: float, _window: int, _run: int) -> None:
        super().__init__(0.5, 200, 1)

    def counted(self, outcome: Outcome, now: float, in_work: int = 0) -> bool:
        return super().counted(outcome, now, 0)


def halts(seeds: Iterable[int], patches: list[Patch]) -> Counter[str]:
    """How often intake was halted, by key, in runs that keep every promise."""
    counts: Counter[str] = Counter()

    def counting(gate: Gate, cause: Cause) -> None:
        counts[cause.key] += 1
        _halt(gate, cause)

    with patched([*patches, Patch(Gate, "halt", counting)]):
        for seed in seeds:
            ended = run(seed)
            assert ended.broken is None, story(ended, whole=False)
    return counts


def test_every_promise_holds_while_a_single_dead_letter_halts_intake() -> None:
    patches = [
        Patch(assembly, "DeadLetterBudget", Strict),
        Patch(dead_letter_budget, "FIRST_PROBE", 1.0),
        Patch(dead_letter_budget, "LONGEST_PROBE", 6.0),  # so that the patience of a run is enough
    ]
    assert halts(range(1, 31), patches)[dead_letter_budget.CAUSE] > 20


def test_every_promise_holds_at_a_cap_of_a_few_calls_a_minute() -> None:
    patches = [
        Patch(spending, "HOUR", 60),
        Patch(spend_guard, "HOUR", 60),
        Patch(spend_guard, "Caps", lambda _hour, _day: Caps(per_hour=12.1 * CALL)),
    ]
    assert halts(range(1, 31), patches)[spend_guard.CAUSE] > 20
