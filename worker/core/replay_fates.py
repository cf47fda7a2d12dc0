"""The one place where a plan decides about a letter: when it is counted, and again when it is replayed."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.core.dead_letters import Letter
from worker.core.newer_events import NewerEvents
from worker.core.replay_plan import Fate, Plan, Terms


@dataclass(frozen=True, slots=True)
class Judge:
    """Tells the fates of letters. `newer` knows the letters and the input already; `earlier`: plans that were there before."""

    terms: Terms
    newer: NewerEvents
    earlier: Sequence[Plan] = ()

    def judge(self, letter: Letter, key: bytes | None, order: int) -> tuple[Fate, str]:
        """The fate, and the id of the plan that had the letter (else ""). `key`: that of the letter's event. SENT: unless its
        value turns out to be gone."""
        fate = self.terms.by_itself(letter)
        if fate is Fate.UNSELECTED or fate is Fate.FOREIGN:
            return fate, ""
        if self.newer.repeated(letter, order):
            return Fate.REPEATED, ""
        if fate is not Fate.SENT:
            return fate, ""
        if self.newer.superseded(letter, key) and Fate.SUPERSEDED not in self.terms.force:
            return Fate.SUPERSEDED, ""
        had, plan = self._had(letter)
        return (Fate.SENT, "") if had is None or had in self.terms.force else (had, plan)

    def _had(self, letter: Letter) -> tuple[Fate | None, str]:
        reserved = ""
        for plan in self.earlier:
            had = plan.had(letter, self.terms)
            if had is Fate.REPLAYED:
                return had, plan.id
            if had is Fate.RESERVED:
                reserved = plan.id
        if reserved:
            return Fate.RESERVED, reserved
        own_topic = self.terms.target(letter) == letter.source.topic
        return (Fate.REPLAYED, "") if own_topic and self.newer.replayed(letter) else (None, "")
