"""What is done to whom and when, drawn from a seed. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What can be done to a running system."""

    KILL = "kill -9"
    ZOMBIE = "SIGSTOP, SIGCONT"
    TERM = "SIGTERM, restart"
    BROKER = "broker restart"
    BROKER_KILL = "broker kill -9"
    RESETS = "reset storm"
    ERRORS = "5xx storm"
    LIMIT = "429 storm"


STORMS: Final = {
    Kind.RESETS: {"reset_before": 0.3, "reset_after": 0.1, "get_reset_before": 0.3, "get_reset_after": 0.1},
    Kind.ERRORS: {"error_rate": 0.5, "get_error_rate": 0.5},
    Kind.LIMIT: {"requests_per_minute": 600, "rate_limit_window_seconds": 1.0},
}
"""Changes of the emulator's configuration."""
CALM: Final = {name: 0 for storm in STORMS.values() for name in storm if name != "rate_limit_window_seconds"}

UNCLEAN: Final = frozenset({Kind.KILL, Kind.ZOMBIE})
"""What takes partitions from a worker without its having said good-bye: only these may repeat a bill, and outages that
outlast the session timeout."""

OUTAGES: Final = frozenset({Kind.BROKER, Kind.BROKER_KILL})
"""What takes the brokers away."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each thing is done. `gap`: mean seconds between two."""

    events: int
    seed: int
    kills: int = 20
    zombies: int = 5
    terms: int = 4
    brokers: int = 1
    broker_kills: int = 1
    storms: tuple[Kind, ...] = tuple(STORMS) * 2
    gap: float = 8.0
    session_timeout: float = 6.0

    @property
    def lease_cap(self) -> float:
        """The longest time, in seconds, that a worker may POST after the start of its last commit."""
        return min(10.0, 0.45 * self.session_timeout)


@dataclass(frozen=True, slots=True)
class Injection:
    """`gap`: seconds after the one before. `choice` in [0, 1) picks the victim among those that are busy then. `lasts`: seconds
    of a storm, or of being stopped."""

    kind: Kind
    gap: float
    choice: float
    lasts: float


def schedule(plan: Plan) -> Sequence[Injection]:
    """Everything, in order; always the same for the same plan."""
    chance = random.Random(f"schedule {plan.seed}")
    counts = {
        Kind.KILL: plan.kills,
        Kind.ZOMBIE: plan.zombies,
        Kind.TERM: plan.terms,
        Kind.BROKER: plan.brokers,
        Kind.BROKER_KILL: plan.broker_kills,
    }
    kinds = [kind for kind, count in counts.items() for _ in range(count)] + list(plan.storms)
    chance.shuffle(kinds)
    made = []
    for kind in kinds:
        lasts = plan.session_timeout + chance.uniform(1.0, 4.0) if kind is Kind.ZOMBIE else chance.uniform(2.0, 4.0)
        made.append(Injection(kind, plan.gap * chance.uniform(0.3, 1.7), chance.random(), lasts))
    return made
