"""What goes wrong on purpose: vendor errors, lost connections and slow answers, by seeded chance."""

import random
from dataclasses import dataclass
from typing import Literal

from worker.emulator.config import EmulatorConfig

Kind = Literal["reset_before", "error", "reset_after", "slow"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to go wrong with one request."""

    kind: Kind
    status: int = 0
    """HTTP status of an `error`."""
    seconds: float = 0.0
    """How long a `slow` answer is held back; the request itself took effect at once."""


class Faults:
    """Draws faults; POSTs and GETs have their own chances and their own reproducible sequence."""

    def __init__(self, config: EmulatorConfig) -> None:
        self._post = random.Random(f"post faults {config.seed}")
        self._get = random.Random(f"get faults {config.seed}")

    def draw(self, method: str, config: EmulatorConfig) -> Fault | None:
        """The fault of this request, or None; one at most, tried in the order in which they would strike."""
        if method == "GET":
            rng = self._get
            resets = config.get_reset_before, config.get_reset_after
            error_rate, slow_rate, slow_seconds = config.get_error_rate, config.get_slow_rate, config.get_slow_seconds
        else:
            rng = self._post
            resets = config.reset_before, config.reset_after
            error_rate, slow_rate, slow_seconds = config.error_rate, config.slow_rate, config.slow_seconds
        if not (error_rate or slow_rate or any(resets)):
            return None
        if rng.random() < resets[0]:
            return Fault("reset_before")
        if rng.random() < error_rate:
            return Fault("error", status=rng.choice(config.error_statuses))
        if rng.random() < resets[1]:
            return Fault("reset_after")
        if rng.random() < slow_rate:
            return Fault("slow", seconds=slow_seconds)
        return None
