"""Admission to the API: pace, halts and probes in one place, so that no stage can forget one of them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import replace
from typing import TypeVar

from worker.core.admission import Stuck
from worker.core.endings import Call, Crash, Halt, Reject, Retry
from worker.core.halting import Cause, Halting, Standing
from worker.core.pace import Pace
from worker.core.verdicts import judge
from worker.errors import WorkerError
from worker.gate.evidence import disproved, disproved_by_failure
from worker.gate.failures import CallFailedError, HeldBackError
from worker.gate.faults import Faults
from worker.gate.inquiry import Inquiry
from worker.gate.probing import Probing
from worker.gate.waiting import WaitingLine
from worker.notices import Halted, Healed, Throttled
from worker.ports import Clock, EmbeddingApi, Observer

Answer = TypeVar("Answer")


class Gate:
    """Lets calls through, one by one. `run` must be running for calls that have to wait."""

    def __init__(
        self,
        pace: Pace,
        api: EmbeddingApi,
        clock: Clock,
        observer: Observer,
        random: Callable[[], float],
        *,
        counts_outages: bool = False,
        connections: int = 64,
    ) -> None:
        """`counts_outages`: an outage halts nothing and uses up attempts and time. `connections`: to the API, half of them for
        polls and half for submits."""
        self.pace = pace
        self._clock = clock
        self._observer = observer
        self._random = random
        self._halting = Halting()
        self._polls = WaitingLine(max(1, connections // 2))
        self._submits = WaitingLine(max(1, connections // 2))
        self._inquiry = Inquiry(api, clock, counts_outages=counts_outages)
        self._faults = Faults(
            self._inquiry, self.halt, self.heal, self._look_further, clock, counts_outages=counts_outages
        )
        lines = self._polls, self._submits
        self._probing = Probing(
            self._halting, *lines, pace, self._inquiry, clock, self.heal, self._faults.api_answers, random
        )
        self._changed = asyncio.Event()
        self.when_healed: Callable[[], None] = lambda: None
        self.when_stuck: Callable[[Stuck], None] = lambda _stuck: None

    @property
    def halted(self) -> str | None:
        """Why intake is halted: one sentence, None while it is not."""
        standing = self._halting.standing
        return standing[0].cause.sentence if standing else None

    @property
    def standing(self) -> Sequence[Standing]:
        """All causes that keep intake halted, the oldest first."""
        return self._halting.standing

    def set_share(self, share: float) -> None:
        """This worker's share of the account's limit, 0 to 1."""
        self.pace.set_share(self._clock.monotonic(), share)
        self._changed.set()

    async def look(self) -> None:
        """To be called at the start: without a usable API the worker starts all the same, halted and healing by itself."""
        cause = await self._inquiry.problem()
        if cause:
            self.halt(cause)

    def halt(self, cause: Cause) -> None:
        """Stop intake until the cause is gone, as it says itself."""
        explained = replace(cause, sentence=self._inquiry.account.sentence(cause))
        if self._halting.halt(explained, self._clock.monotonic()):
            self._observer.notice(Halted(explained.sentence))
        self._changed.set()

    def heal(self, key: str) -> None:
        """The cause of this key is gone; nothing happens where none stands."""
        gone = self._halting.heal(key)
        if gone is None:
            return
        self._faults.healed(key)
        self._observer.notice(Healed(gone.cause.sentence, self._clock.monotonic() - gone.since))
        if not self._halting.standing:
            self.when_healed()
        self._changed.set()

    def send_back(self) -> None:
        """Submits that wait meet HeldBackError: what lets them go on is decided elsewhere, before they come here again."""
        self._submits.send_back()

    async def call(
        self,
        call: Call,
        request: Callable[[], Awaitable[Answer]],
        *,
        event: Hashable,
        priority: float = 0.0,
        age: float | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Make a call when it may be made. A 429 or a halt makes it wait and be repeated here; any other failure that has
        a verdict is raised as CallFailedError, and what has none (a bug) as it is. `priority`: lowest first; `age`: of the job,
        when it is called."""
        called = self._clock.monotonic()
        while True:
            probe = await self._admit(call, priority)
            priority += 1.0  # who has met a halt lets others try first
            started = self._clock.monotonic()
            try:
                answer = await self._made(call, request)
            except WorkerError as error:
                age_now = None if age is None else age + started - called
                verdict = judge(call, error, age=age_now, request_id=request_id)
                if isinstance(verdict, Crash):
                    self._not_made(probe=probe)
                    raise
                error.__traceback__ = None  # its frames hold the body of the answer, and who waits may wait for long
                self._probe_ended(probe=probe)
                if isinstance(verdict, Halt):
                    self.halt(verdict.cause)
                    self._faults.answered(call, event)
                elif isinstance(verdict, Retry) and verdict.throttled:
                    self._throttled(verdict, started)
                else:
                    self._answered(call, error, verdict, probe=probe)
                    judged = await self._faults.weigh(call, verdict, error, event, probe=probe)
                    if judged:
                        raise CallFailedError(judged) from None
            except BaseException:
                self._not_made(probe=probe)
                raise
            else:
                self._probe_ended(probe=probe)
                self._succeeded(call, answer, event, started)
                return answer

    async def is_unusable(self, detail: str, event: Hashable) -> bool:
        """A result holds no usable vector, as `detail` says: is that its event's own fault? Waits until something shows it. If
        not, its job is to be made anew."""
        return await self._faults.is_unusable(detail, event)

    def usable(self) -> None:
        """A result holds a usable vector."""
        self._faults.usable()

    async def run(self) -> None:
        """Let waiting calls in as pace and probes allow; never returns."""
        while True:
            self._changed.clear()
            delay = await self._let_in()
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _made(self, call: Call, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a call that was let in."""
        try:
            return await request()
        finally:
            self._leave(self._line_of(call))

    def _leave(self, line: WaitingLine) -> None:
        line.leave()
        if line:
            self._changed.set()

    def _line_of(self, call: Call) -> WaitingLine:
        return self._submits if call is Call.SUBMIT else self._polls

    async def _admit(self, call: Call, priority: float) -> bool:
        line = self._line_of(call)
        nobody_waits = not self._polls and not self._submits
        if nobody_waits and not self._closed_for(line) and self.pace.take(self._clock.monotonic()) == 0.0:
            line.enter()
            return False
        place = line.join(priority)
        self._changed.set()
        try:
            probe = await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.result() is not None:
                self._leave(line)
                self._not_made(probe=place.result() is True)
            raise
        if probe is None:
            raise HeldBackError
        return probe

    def _closed_for(self, line: WaitingLine) -> bool:
        return line.is_full or self._halting.closed_for(polls=line is self._polls)

    async def _let_in(self) -> float | None:
        """Let in what may enter now. Returns the seconds until the next look (None: when something changes)."""
        for line in (self._polls, self._submits):
            while line and not self._closed_for(line):
                delay = self.pace.take(self._clock.monotonic())
                if delay > 0.0:
                    return delay
                line.let_first_in(probe=False)
        return await self._probing.look() if self._halting.standing else None

    def _throttled(self, verdict: Retry, started: float) -> None:
        reset_in = None if verdict.reset_at is None else verdict.reset_at - self._clock.epoch()
        shut = self.pace.throttled(self._clock.monotonic(), reset_in, self._random(), started=started)
        self._observer.notice(Throttled(shut, self.pace.requests_per_minute))

    def _answered(self, call: Call, error: WorkerError, verdict: Retry | Reject, *, probe: bool) -> None:
        """A probe was answered, if badly: that may show that the cause is gone as well."""
        halted = self._halting.probed
        if probe and halted and disproved_by_failure(halted.cause, call, error, verdict):
            self.heal(halted.cause.key)

    def _probe_ended(self, *, probe: bool) -> None:
        if probe:
            self._halting.probe_ended(self._clock.monotonic(), self._random())
            self._changed.set()

    def _not_made(self, *, probe: bool) -> None:
        """A call that was let in was not made after all, or nobody waits for it: it shows nothing, another may try now."""
        if probe:
            self._halting.probe_cancelled()
            self._changed.set()

    def _succeeded(self, call: Call, answer: object, event: Hashable, started: float) -> None:
        self.pace.answered(self._clock.monotonic())
        halted = self._halting.probed
        if halted and started < halted.since:
            return  # it was let in before, and shows nothing
        self._faults.succeeded(call, event, answer)
        halted = self._halting.probed
        if halted and disproved(halted.cause, call, answer):
            self.heal(halted.cause.key)

    def _look_further(self, stuck: Stuck) -> None:
        self.when_stuck(stuck)
