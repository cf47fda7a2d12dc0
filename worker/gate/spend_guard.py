"""The spend guard: counts what results cost, and shuts the gate for submits while a cap is reached.

The sums stand in the ledgers of the owned partitions (`core/spending` says what they know). Against a cap count what is spent,
what was fetched and is not committed yet, and each job that runs or is being submitted at its expected cost: a window of
hundreds of jobs does not overshoot it. Where the jobs that ran turn out cheaper, intake resumes before the hour is over."""

from worker.core.halting import Cause, HealedBy
from worker.core.partitions import Partitions
from worker.core.spending import (
    HOUR,
    NANO,
    Caps,
    Cost,
    Rate,
    Spent,
    Tariff,
    hour_of,
    known_cost,
    known_credits,
    nanodollars,
)
from worker.gate.gate import Gate
from worker.model import Metrics, Record
from worker.notices import Spend
from worker.ports import Clock, Observer
from worker.settings.budgets import SpendSettings

CAUSE = "spend"
"""The key of the halt."""

TOLD_EVERY = 300.0
"""Seconds between two looks whether there is something to tell."""

NOTABLE = 0.1
"""Change of a figure, as a fraction, that is worth another one."""


class SpendGuard:
    """Asked right before every POST, told of every result."""

    def __init__(
        self, partitions: Partitions, gate: Gate, clock: Clock, observer: Observer, settings: SpendSettings
    ) -> None:
        self._partitions = partitions
        self._gate = gate
        self._clock = clock
        self._observer = observer
        self._caps = Caps(settings.max_per_hour, settings.max_per_day)
        self._tariff = Tariff(settings.assumed_cost)
        self._rate = Rate()
        self._share = 0.0
        self._credits: float | None = None
        self._unknown = 0
        self._halted = False
        self._told: Spend | None = None
        self._tell_at = 0.0

    def may_post(self, record: Record) -> bool:
        """Whether one more job may be paid for; halts intake where not."""
        if not self._caps.any:
            return True
        return self._look(without=record)

    def fetched(self, record: Record, metrics: Metrics) -> None:
        """A result was fetched, which was billed."""
        cost = known_cost(metrics.cost)
        if cost is None:
            self._unknown += 1
            self._count(record, self._tariff.assumed)
        else:
            nanos = nanodollars(cost)
            self._tariff.learn(nanos)
            self._count(record, nanos)
        balance = known_credits(metrics.remaining_credits)
        self._credits = self._credits if balance is None else balance
        self._tell()

    def given_up(self, record: Record) -> None:
        """A job was given up whose result, if there was one, was billed and not seen."""
        self._count(record, self._tariff.expected)

    def lost(self, record: Record) -> None:
        """A job was lost that is not billed. Its record may wait for the next one for long: that must not keep others, or itself,
        from what is left under the cap."""
        partition = self._partitions.of(record)
        if partition:
            partition.costs_nothing(record.offset)
        self.left()

    def owns(self, share: float) -> None:
        """Partitions have come or gone; `share`: of all there are."""
        self._share = share
        hour = self._hour
        for partition in self._partitions.values():
            partition.spent = partition.spent.at(hour)
        if self._caps.any:
            self._look()

    def left(self) -> None:
        """A record is in work no more: what its job might have cost is known now. Once no job runs any more what is left under
        the cap may be spent."""
        if self._halted and not self._under_way():
            self._look()

    def spend(self) -> Spend:
        """What is spent, and how long the rest will do."""
        spent = self._spent()
        rate = self._rate.per_hour(self._clock.monotonic())
        runway = None
        if self._credits is not None and rate > 0.0 and self._share > 0.0:
            runway = max(0.0, self._credits) * NANO * self._share / rate
        return Spend(
            spent_this_hour=spent.of_hour / NANO,
            spent_this_day=spent.of_day / NANO,
            max_per_hour=self._caps.per_hour,
            max_per_day=self._caps.per_day,
            share=self._share,
            remaining_credits=self._credits,
            runway_hours=runway,
            unknown_costs=self._unknown,
            assumed_cost=self._tariff.assumed / NANO,
        )

    @property
    def _hour(self) -> int:
        return hour_of(self._clock.epoch())

    def _count(self, record: Record, nanos: int) -> None:
        partition = self._partitions.of(record)
        if partition:
            partition.cost(record.offset, Cost(self._hour, nanos))
            self._rate.add(nanos, self._clock.monotonic())

    def _spent(self) -> Spent:
        """Over all owned partitions, with what is not committed yet."""
        hour = self._hour
        sums = [partition.spent_with_all_costs.at(hour) for partition in self._partitions.values()]
        return Spent(hour, sum(one.of_hour for one in sums), sum(one.of_day for one in sums))

    def _under_way(self, without: Record | None = None) -> int:
        """Jobs that run or are being submitted, as far as their cost is not known; not that of this record."""
        running = {
            (where, offset) for where, partition in self._partitions.items() for offset in partition.jobs_without_cost()
        }
        return len(running - {(without.source, without.offset)} if without else running)

    def _look(self, without: Record | None = None) -> bool:
        """Whether one more job may be paid for; halts and heals."""
        a_job = self._tariff.expected
        planned = (self._under_way(without) + 1) * a_job
        reached = self._caps.reached(self._spent(), planned, self._share, a_job)
        if reached and self._share > 0.0:  # who owns nothing spends nothing
            self._halted = True
            until = float(reached.until * HOUR)
            self._gate.halt(Cause(CAUSE, reached.sentence, healed_by=HealedBy.TIME, until=until))
        elif self._halted:
            self._halted = False
            self._gate.heal(CAUSE)
        return reached is None

    def _tell(self) -> None:
        now = self._clock.monotonic()
        if self._told and now < self._tell_at:
            return
        spend = self.spend()
        self._tell_at = now + TOLD_EVERY
        if self._told is None or notable(self._told, spend):
            self._told = spend
            self._observer.notice(spend)


def notable(before: Spend, after: Spend) -> bool:
    """Whether the figures have changed enough to be told again."""
    pairs = (
        (before.spent_this_day, after.spent_this_day),
        (before.remaining_credits, after.remaining_credits),
        (before.runway_hours, after.runway_hours),
        (before.unknown_costs, after.unknown_costs),
    )
    return any(old != new and (old is None or new is None or abs(new - old) > NOTABLE * abs(old)) for old, new in pairs)
