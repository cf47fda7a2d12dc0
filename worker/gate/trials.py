"""Dead letters over budget: intake is shut, and one record at a time is tried.

While the budget is exceeded

- jobs that run are polled to their end, and every outcome is published: no dead letter is lost or held back;
- records in work that would be submitted (again) wait here, also those that were waiting at the gate;
- nothing new is taken up, but what an earlier owner had in work: its jobs run and are paid;
- at growing intervals one record is tried from its beginning to its committed end: the first that waits here, else the next
  one of the input. How it ends decides (`core/dead_letter_budget`).

The gate stays open for the record that is tried: what is wrong with the API halts and heals there as ever.
"""

import asyncio
from collections.abc import Callable, Iterable
from math import inf

from worker.core.dead_letter_budget import CAUSE, DeadLetterBudget
from worker.core.halting import Cause, HealedBy
from worker.gate.gate import Gate
from worker.model import Outcome, Reason, Record
from worker.ports import Clock

Place = tuple[object, ...]


class Trials:
    """`when_due` is told that a record may be taken up to be tried; `when_turned` that the budget is exceeded, or within its
    limits again. `run` must be running."""

    def __init__(self, budget: DeadLetterBudget, gate: Gate, clock: Clock) -> None:
        self._budget = budget
        self._gate = gate
        self._clock = clock
        self._in_work: set[Place] = set()
        self._tried: dict[Place, Record] = {}
        self._waiting: dict[Place, tuple[Record, asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()
        self.when_due: Callable[[], None] = lambda: None
        self.when_turned: Callable[[], None] = lambda: None

    @property
    def exceeded(self) -> Reason | None:
        """The reason of which there are too many dead letters."""
        return self._budget.overrun.reason if self._budget.overrun else None

    @property
    def last_words(self) -> str:
        """Why a worker that does not wait for better records ends here: what was tried failed too; empty: it does not."""
        return self._budget.overrun.last_words if self._budget.overrun and self._budget.is_confirmed else ""

    @property
    def waiting(self) -> int:
        """Records that wait here."""
        return len(self._line)

    @property
    def wants_one(self) -> bool:
        """Whether a record may be taken up to be tried: it is time, none is being tried, and none waits here."""
        return self.exceeded is not None and not self._tried and not self._line and self._due_in() == 0.0

    def started(self, record: Record, *, is_new: bool) -> None:
        """A record was taken up; `is_new`: no earlier owner had taken it up. While the budget is exceeded it is tried then."""
        self._in_work.add(place(record))
        if is_new and self.exceeded is not None:
            self.take(record)

    def take(self, record: Record) -> None:
        """This record is tried."""
        self._tried[place(record)] = record
        self._changed.set()

    def take_waiting(self) -> bool:
        """Try another one of those that wait here, whether it is time or not; returns whether there is one."""
        line = self._line
        if not line:
            return False
        # of its partition the oldest: were it to wait, the outcome of a newer one of its key would wait for it
        record = min((one for one in line if one.source == line[0].source), key=lambda one: one.offset)
        self.take(record)
        self._waiting[place(record)][1].set_result(None)
        return True

    def may_go_on(self, record: Record) -> bool:
        """Whether a job may be started for this record now."""
        return self.exceeded is None or any(is_held_by(one, record) for one in self._tried.values())

    async def wait(self, record: Record) -> None:
        """Wait until a job may be started for this record."""
        while not self.may_go_on(record):
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[place(record)] = record, waiting
            self._changed.set()
            try:
                await waiting
            finally:
                del self._waiting[place(record)]

    def ended(self, record: Record, outcome: Outcome) -> None:
        """An outcome is committed."""
        now = self._clock.monotonic()
        self._in_work.discard(place(record))
        if self._tried.pop(place(record), None):
            if self._budget.tried(outcome, now):
                self._gate.heal(CAUSE)
                self._let_all_go()
                self.when_turned()
        elif self._budget.counted(outcome, now, len(self._in_work)):
            self._halt()
        if self.exceeded:
            self._changed.set()

    def left(self, record: Record) -> None:
        """A record is in work no more, whatever has become of it."""
        self._in_work.discard(place(record))
        if self._tried.pop(place(record), None):
            self._budget.gave_no_outcome(self._clock.monotonic())
        if self.exceeded:
            self._changed.set()

    def inherit(self, reasons: Iterable[Reason | None]) -> None:
        """Partitions came; these are the reasons, if any, of which their last owners had too many dead letters."""
        for reason in reasons:
            if reason is not None and self._budget.inherit(reason, self._clock.monotonic()):
                self._halt()
        self.when_turned()

    async def run(self) -> None:
        """Try a record whenever it is time; never returns."""
        while True:
            self._changed.clear()
            due = inf if self.exceeded is None or self._tried else self._due_in()
            if due == 0.0:
                if not self.take_waiting():
                    self.when_due()
                due = inf
            try:
                async with asyncio.timeout(None if due == inf else due):
                    await self._changed.wait()
            except TimeoutError:
                continue

    @property
    def _line(self) -> list[Record]:
        """The records that wait, in the order in which they came."""
        return [record for record, waiting in self._waiting.values() if not waiting.done()]

    def _due_in(self) -> float:
        return self._budget.try_in(self._clock.monotonic())

    def _halt(self) -> None:
        if self._budget.overrun:
            self._gate.halt(Cause(CAUSE, self._budget.overrun.sentence, healed_by=HealedBy.TRIAL))
            self._gate.send_back()
            self.when_turned()
        self._changed.set()

    def _let_all_go(self) -> None:
        for _, waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)


def place(record: Record) -> Place:
    """What tells a record from all others that this process meets."""
    return (record.source, record.offset, record.assignment)


def is_held_by(tried: Record, record: Record) -> bool:
    """Whether the record is the one that is tried, or an older one of its key: the outcome of the tried one leaves after it."""
    if place(tried) == place(record):
        return True
    return (
        record.key is not None
        and record.key == tried.key
        and record.source == tried.source
        and record.offset < tried.offset
    )
