"""Who may still pay: a worker that cannot commit any more must not start another POST (rules 5 and 5b of the commit protocol).

The broker takes a commit from members of the present generation only. A transaction that started at `s` and committed shows
that this worker was a member at `s`; whoever takes its partitions over is assigned them later than that, and waits for one cap
before its first POST. So a POST is safe until `s` + cap, and the lease is never longer than the cap. It is mostly far shorter, to
keep small what an unplanned takeover can repeat.

All times are seconds of one clock that never stops while the machine sleeps (CLOCK_BOOTTIME where there is one).
"""

from collections import deque
from math import ceil, inf

SHORTEST = 1.0
"""Seconds."""
_TRANSACTIONS = 4.0
"""A lease in p99 transaction times: in most of them several commits start, so that POSTs seldom have to wait for one."""
_OF_SESSION = 0.45
LONGEST_CAP = 10.0
"""Seconds: `transaction.timeout.ms`. A longer cap would only make every unplanned takeover wait longer."""
_WINDOW, _WINDOW_AGE = 100, 60.0
"""Transactions, and seconds, that the p99 looks back: a slow minute is forgotten in the next."""
_EVIDENCE = 10
"""Transactions below which slowness proves nothing: the first one of a process finds its coordinator first."""


def lease_cap(session_timeout: float) -> float:
    """The longest lease, in seconds: below half the group's session timeout. It has to be the same in every worker of the group,
    because one waits for as long as another may POST."""
    return min(LONGEST_CAP, _OF_SESSION * session_timeout)


class Lease:
    """The lease of one worker, over all its partitions."""

    def __init__(self, cap: float) -> None:
        """`cap` as `lease_cap` gives it, in seconds. There is no lease before the first commit."""
        self.cap = cap
        self._from = -inf
        self._times: deque[tuple[float, float]] = deque(maxlen=_WINDOW)  # (committed at, took)
        self._p99 = self._p90 = 0.0

    @property
    def length(self) -> float:
        """The effective lease in seconds: 4 x the p99 of recent transactions, at least 1 s, at most the cap."""
        return min(self.cap, max(SHORTEST, _TRANSACTIONS * self._p99))

    @property
    def transaction_p99(self) -> float:
        """Seconds, of the transactions of the last minute (100 at most), by nearest rank; 0 before the first."""
        return self._p99

    @property
    def too_slow(self) -> str | None:
        """The reason to halt where transactions take so long that the lease they need is above the cap. By their p90: a single
        one that waits for a broker's restart says nothing about the next."""
        if len(self._times) < _EVIDENCE or _TRANSACTIONS * self._p90 <= self.cap:
            return None
        return (
            f"transactions take {self._p90:.1f} s (p90) and the session timeout allows {self.cap / _TRANSACTIONS:.1f} s: "
            "see to the brokers, or raise the group's session timeout"
        )

    def committed(self, started: float, now: float) -> None:
        """A transaction that started at `started` is known at `now` to have committed (with at-least-once delivery: an
        OffsetCommit). Of two the one that started later counts, in whatever order they are told."""
        self._from = max(self._from, min(started, now))
        self._times.append((now, max(0.0, now - started)))
        while len(self._times) > 1 and self._times[0][0] < now - _WINDOW_AGE:
            self._times.popleft()
        took = sorted(time for _, time in self._times)
        self._p99, self._p90 = (took[ceil(rank * len(took)) - 1] for rank in (0.99, 0.9))

    def forfeit(self) -> None:
        """The worker is out of the group, or does not know how its last transaction ended: no POST until the next commit."""
        self._from = -inf

    def may_post(self, now: float) -> bool:
        """Whether a POST may start. To be asked last, with nothing awaited between the answer and the first byte."""
        return now - self._from < self.length
