"""Counters of what the emulator was asked and what it answered."""

from collections import Counter
from typing import Any


class Statistics:
    """Counts since the start or the last reset. `/_emulator/` requests are not counted."""

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.rate_limited = 0
        self.faults: Counter[str] = Counter()
        self._answers: Counter[tuple[str, int]] = Counter()

    def answered(self, route: str, status: int) -> None:
        """Count one answer; status 0 stands for a connection closed without one."""
        self._answers[route, status] += 1
        if status == 429:
            self.rate_limited += 1

    def as_json_object(self) -> dict[str, Any]:
        """`requests`, `requests_by_route` (route to status to count; "reset" where no answer was sent) and more."""
        by_route: dict[str, dict[str, int]] = {}
        for (route, status), count in sorted(self._answers.items()):
            by_route.setdefault(route, {})[str(status) if status else "reset"] = count
        return {
            "requests": self._answers.total(),
            "requests_by_route": by_route,
            "rate_limited": self.rate_limited,
            "faults": dict(sorted(self.faults.items())),
        }
