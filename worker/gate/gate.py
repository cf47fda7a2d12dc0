"""Admission to the API: pace, halts and probes in one place, so that no stage can forget one of them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from worker.core.blame import Blame, unanswered
from worker.core.endings import Call, Crash, Halt, Reject, Retry
from worker.core.halting import Cause, Halting
from worker.core.pace import Pace
from worker.core.verdicts import judge
from worker.errors import ApiError, Refused, Unanswered, WorkerError
from worker.gate.waiting import WaitingLine
from worker.model import Completed
from worker.notices import Halted, Healed, Throttled
from worker.ports import Clock, EmbeddingApi, Observer

Answer = TypeVar("Answer")

PROBED_BY_CREDITS = frozenset({"outage", "unreachable", "api_key"})
"""Causes of which the free credits call can tell that they are gone."""


class CallFailedError(WorkerError):
    """A call that was made and judged; what to do now is the stage's business."""

    def __init__(self, verdict: Retry | Reject) -> None:
        super().__init__(verdict.detail)
        self.verdict = verdict


class Gate:
    """Lets calls through, one by one. `run` must be running for calls that have to wait."""

    def __init__(
        self, pace: Pace, api: EmbeddingApi, clock: Clock, observer: Observer, random: Callable[[], float]
    ) -> None:
        self.pace = pace
        self._api = api
        self._clock = clock
        self._observer = observer
        self._random = random
        self._halting = Halting()
        self._blame = Blame()
        self._polls = WaitingLine()
        self._submits = WaitingLine()
        self._changed = asyncio.Event()
        self.when_healed: Callable[[], None] = lambda: None
        self.when_refused_again: Callable[[], None] = lambda: None

    @property
    def halted(self) -> str | None:
        """Why intake is halted: one sentence, None while it is not."""
        return self._halting.cause.sentence if self._halting.cause else None

    @property
    def halted_seconds(self) -> float:
        """For how long intake has been halted."""
        return self._clock.monotonic() - self._halting.since if self._halting.cause else 0.0

    def set_share(self, share: float) -> None:
        """This worker's share of the account's limit, 0 to 1."""
        self.pace.set_share(self._clock.monotonic(), share)
        self._changed.set()

    def halt(self, cause: Cause) -> None:
        """Stop intake until a probe brings a success."""
        if self._halting.halt(cause, self._clock.monotonic()):
            self._observer.notice(Halted(cause.sentence))
        self._changed.set()

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
        a verdict is raised as CallFailedError, and what has none (a bug) as it is. `priority`: lowest first."""
        while True:
            probe = await self._admit(call, priority)
            priority += 1.0  # who has met a halt lets others try first
            started = self._clock.monotonic()
            try:
                answer = await request()
            except WorkerError as error:
                self._probe_ended(probe=probe)
                verdict = judge(call, error, age=age, request_id=request_id)
                if isinstance(verdict, Crash):
                    raise
                if isinstance(verdict, Halt):
                    by_poll = call is not Call.SUBMIT and verdict.cause != "api_key"
                    self.halt(Cause(verdict.cause, verdict.sentence, verdict.polls_too or by_poll, by_poll))
                elif isinstance(verdict, Retry) and verdict.throttled:
                    self._throttled(verdict, started)
                else:
                    judged = self._blamed(call, verdict, error, event, probe=probe)
                    if judged:
                        raise CallFailedError(judged) from None
            except BaseException:
                self._probe_ended(probe=probe)
                raise
            else:
                self._probe_ended(probe=probe)
                self._succeeded(call, answer, started)
                return answer

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

    async def _admit(self, call: Call, priority: float) -> bool:
        line = self._submits if call is Call.SUBMIT else self._polls
        nobody_waits = not self._polls and not self._submits
        if nobody_waits and not self._closed_for(line) and self.pace.take(self._clock.monotonic()) == 0.0:
            return False
        place = line.join(priority)
        self._changed.set()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._probe_ended(probe=place.result())
            raise

    def _closed_for(self, line: WaitingLine) -> bool:
        cause = self._halting.cause
        return cause is not None and (line is self._submits or cause.polls_too)

    async def _let_in(self) -> float | None:
        """Let in what may enter now. Returns the seconds until the next look (None: when something changes)."""
        for line in (self._polls, self._submits):
            while line and not self._closed_for(line):
                delay = self.pace.take(self._clock.monotonic())
                if delay > 0.0:
                    return delay
                line.let_first_in(probe=False)
        return await self._probe() if self._halting.cause else None

    async def _probe(self) -> float | None:
        """Look whether the cause of the halt is gone, if it is time: by the free call, else by one single event."""
        cause, now = self._halting.cause, self._clock.monotonic()
        delay = self._halting.probe_in(now)
        if cause is None or delay > 0.0:
            return None if delay == float("inf") else delay
        if cause.key in PROBED_BY_CREDITS:
            self._halting.probe_started()
            if not await self._answers():
                self._halting.probe_ended(self._clock.monotonic())
                return self._halting.probe_in(self._clock.monotonic())
            cause, now = self._halting.cause, self._clock.monotonic()
            if cause is None or not (self._polls or self._submits):
                self._heal()
                return 0.0
            self._halting.probe_cancelled()
        polls_first = cause.by_poll or (cause.polls_too and not self._submits)
        line = self._polls if polls_first and self._polls else self._submits
        if not line:
            return await self._look_at_balance(cause)
        pause = self.pace.take(now)
        if pause == 0.0:
            self._halting.probe_started()
            line.let_first_in(probe=True)
        return pause or None

    async def _look_at_balance(self, cause: Cause) -> float | None:
        """Nobody waits who could probe; that an account is not empty any more can be seen without."""
        if cause.key != "credits":
            return None
        self._halting.probe_started()
        with contextlib.suppress(ApiError):
            balance = await self._api.credits()
            if balance.credits + balance.free_credits > 0.0:
                self._heal()
                return 0.0
        self._halting.probe_ended(self._clock.monotonic())
        return self._halting.probe_in(self._clock.monotonic())

    async def _answers(self) -> bool:
        """Does the API answer the credits call in a way that shows that the key is taken and the API is up?"""
        try:
            await self._api.credits()
        except Refused as error:
            return error.status not in {401, 403, 429} and error.status < 500
        except ApiError as error:
            return not isinstance(error, Unanswered)
        return True

    def _throttled(self, verdict: Retry, started: float) -> None:
        reset_in = None if verdict.reset_at is None else verdict.reset_at - self._clock.epoch()
        shut = self.pace.throttled(self._clock.monotonic(), reset_in, self._random(), started=started)
        self._observer.notice(Throttled(shut, self.pace.requests_per_minute))

    def _blamed(
        self, call: Call, verdict: Retry | Reject, error: WorkerError, event: Hashable, *, probe: bool
    ) -> Retry | Reject | None:
        """What holds for this event, after all that has happened to others; None: it is to be repeated."""
        halted = self._halting.cause
        if probe and halted and halted.key in {"outage", "unreachable"} and not unanswered(error):
            self._heal()  # an answer, whatever it says
        judged, cause = self._blame.weigh(call, verdict, error, event)
        if cause:
            self.halt(cause)
            if cause.key in {"refusals", "failed_jobs"} and (probe or call is not Call.SUBMIT):
                self.when_refused_again()
        return judged

    def _probe_ended(self, *, probe: bool) -> None:
        if probe:
            self._halting.probe_ended(self._clock.monotonic())
            self._changed.set()

    def _succeeded(self, call: Call, answer: object, started: float) -> None:
        self._blame.succeeded(call, answer)
        self.pace.answered(self._clock.monotonic())
        cause = self._halting.cause
        if cause and started >= self._halting.since and self._disproved(cause, call, answer):
            self._heal()

    @staticmethod
    def _disproved(cause: Cause, call: Call, answer: object) -> bool:
        if cause.key == "failed_jobs":
            return isinstance(answer, Completed)
        if answer is None:  # the stage has put up with a refusal
            return False
        if cause.by_poll:
            return call is not Call.SUBMIT
        return call is Call.SUBMIT or cause.polls_too

    def _heal(self) -> None:
        seconds = self.halted_seconds
        cause = self._halting.heal()
        if cause:
            self._blame.healed()
            self._observer.notice(Healed(cause.sentence, seconds))
            self.when_healed()
        self._changed.set()
