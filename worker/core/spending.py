"""What is spent: sums of the UTC hour and day, what a job is likely to cost, and when a cap is reached.

Money is kept in whole nanodollars, so that sums stay exact; in ledgers they keep five digits. The sums of a partition
travel in its ledger (`core/ledger_codec`): a cost is added by the transaction that finishes its record. So each result that is
fetched counts once, also over crashes: what was not committed is fetched again, free of charge, and counted then. What no sum
can know of:

- a job that was billed and whose result was never fetched (a submit of unknown fate, a repeat by the next owner within the
  lease); of those that are given up (TIMEOUT, EXPIRED) the expected cost is counted;
- what an offset reset, or a ledger that counts as none, has erased;
- costs counted in memory and not committed, of a record whose next owner finds its result expired: the expected cost stands in.
"""

from collections import deque
from dataclasses import dataclass

NANO = 1_000_000_000
"""Nanodollars in a dollar."""

MOST = 2**60
"""Nanodollars that a sum holds at most: a billion dollars."""

MOST_COST = 1000.0
"""USD that one job may be said to have cost; what is above is no price."""

MOST_CREDITS = 1e12
"""USD, either way, that are taken for a balance."""

HOUR, DAY = 3600, 24
"""Seconds in an hour, hours in a day."""

_WEIGHT = 1 / 16
"""Of the newest cost in the expected one."""


def hour_of(epoch: float) -> int:
    """The number of the UTC hour since 1970."""
    return max(0, int(epoch // HOUR))


def nanodollars(usd: float) -> int:
    """A price is at least one."""
    return max(round(usd * NANO), 1 if usd > 0.0 else 0)


def known_cost(usd: float | None) -> float | None:
    """What the API says that a job has cost, None where it is no price."""
    return usd if usd is not None and 0.0 <= usd <= MOST_COST else None


def known_credits(usd: float | None) -> float | None:
    """What the API says is left on the account, None where it is no balance."""
    return usd if usd is not None and -MOST_CREDITS <= usd <= MOST_CREDITS else None


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanodollars of one job, counted in this hour."""

    hour: int
    nanos: int


@dataclass(frozen=True, slots=True)
class Spent:
    """Nanodollars of one UTC hour (its number since 1970) and of the day it is in, up to it."""

    hour: int = 0
    of_hour: int = 0
    of_day: int = 0

    def at(self, hour: int) -> "Spent":
        """As it counts in this hour. What another clock has written for a later one counts here, so that an absurd number is
        over with this day."""
        if self.hour > hour:
            return Spent(hour, self.of_hour, self.of_day)
        if self.hour == hour:
            return self
        return Spent(hour, 0, self.of_day if self.hour // DAY == hour // DAY else 0)

    def plus(self, cost: Cost) -> "Spent":
        """With one more cost, which may be older than the sums."""
        base = self.at(max(self.hour, cost.hour))
        of_hour = cost.nanos if cost.hour == base.hour else 0
        of_day = cost.nanos if cost.hour // DAY == base.hour // DAY else 0
        return Spent(base.hour, min(MOST, base.of_hour + of_hour), min(MOST, base.of_day + of_day))


NOTHING_SPENT = Spent()


class Tariff:
    """What a job is likely to cost, in nanodollars: as the last ones did, by the API's word; `assumed` (USD) until it says
    anything."""

    def __init__(self, assumed: float) -> None:
        self.assumed = nanodollars(assumed)
        self._mean: float | None = None

    @property
    def expected(self) -> int:
        """Rounded up."""
        return self.assumed if self._mean is None else -int(-self._mean // 1)

    def learn(self, nanos: int) -> None:
        """A job has cost this."""
        self._mean = nanos if self._mean is None else self._mean + _WEIGHT * (nanos - self._mean)


class Rate:
    """Nanodollars an hour over the last hour, by the minute; over the time since the first cost where that is shorter. Times
    are monotonic seconds."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, int]] = deque()
        self._since: float | None = None

    def add(self, nanos: int, now: float) -> None:
        """A cost."""
        self._since = now if self._since is None else self._since
        minute = int(now // 60)
        before = self._minutes.pop()[1] if self._minutes and self._minutes[-1][0] == minute else 0
        self._minutes.append((minute, before + nanos))

    def per_hour(self, now: float) -> float:
        """0 where nothing was spent."""
        while self._minutes and self._minutes[0][0] <= int(now // 60) - 60:
            self._minutes.popleft()
        if self._since is None:
            return 0.0
        seconds = min(float(HOUR), max(60.0, now - self._since))
        return sum(nanos for _, nanos in self._minutes) * HOUR / seconds


@dataclass(frozen=True, slots=True)
class Caps:
    """USD an hour and a day, None: no cap; for all replicas."""

    per_hour: float | None = None
    per_day: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.per_hour is not None or self.per_day is not None

    def reached(self, spent: Spent, planned: int, share: float, a_job: int = 0) -> "Reached | None":
        """The cap that lets nothing more be planned, where `planned` nanodollars are beyond what is spent. Of two the one that
        is over last. `share`: of the partitions, and so of the caps; `a_job`: nanodollars that one is expected to cost."""
        day, hour = spent.hour // DAY, spent.hour
        for name, cap, sum_, until in (
            ("spend.max_per_day", self.per_day, spent.of_day, (day + 1) * DAY),
            ("spend.max_per_hour", self.per_hour, spent.of_hour, hour + 1),
        ):
            if cap is not None and sum_ + planned > cap * share * NANO:
                return Reached(name, cap, share, sum_, until, a_job)
        return None


@dataclass(frozen=True, slots=True)
class Reached:
    """A cap that is reached: the name of its setting, USD, this worker's share, what it has spent in nanodollars, the hour since
    1970 with which a new sum begins, and nanodollars that a job is expected to cost."""

    name: str
    cap: float
    share: float
    spent: int
    until: int
    a_job: int = 0

    @property
    def sentence(self) -> str:
        """What is the matter, and what ends it."""
        if self.a_job > self.cap * self.share * NANO:
            return (
                f"spend: a job is expected to cost {self.a_job / NANO:.6f} USD, which is more than {self.name} ever allows this "
                f"worker ({self.cap:g} USD, {100 * self.share:.0f} % of it for its partitions): raise {self.name} and restart"
            )
        return (
            f"spend: {self.spent / NANO:.6f} USD are spent and the jobs that run would take the rest of "
            f"{self.cap * self.share:.6f} USD ({self.name} is {self.cap:g}, {100 * self.share:.0f} % of it for the partitions of "
            f"this worker): intake resumes by itself at {self.until % DAY:02d}:00 UTC, or raise {self.name} and restart"
        )
