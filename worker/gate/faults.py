"""Whose fault was it? What holds for an event whose call failed, after all that has happened to others."""

import asyncio
import contextlib
from collections.abc import Callable, Hashable
from dataclasses import replace

from worker.core.acceptance import may_be_accepted
from worker.core.admission import Stuck
from worker.core.blame import Blame, Matter, Whose
from worker.core.breaker import LONELY, Fault
from worker.core.endings import Call, Reject, Retry, Step
from worker.core.halting import Cause
from worker.core.outage import KEY as OUTAGE
from worker.core.outage import Outage, is_failure
from worker.core.refusals import signature
from worker.errors import ApiError, WorkerError
from worker.gate.inquiry import Inquiry
from worker.model import Completed, Reason
from worker.ports import Clock


class Faults:
    """`halt` is told the causes that come to stand, `heal` the keys of those that are gone; `look_further` that another event may
    show whose fault it is, where all in work are stuck. `counts_outages`: attempts and time are used up in outages, too, and none
    halts."""

    def __init__(
        self,
        inquiry: Inquiry,
        halt: Callable[[Cause], None],
        heal: Callable[[str], None],
        look_further: Callable[[Stuck], None],
        clock: Clock,
        *,
        counts_outages: bool,
    ) -> None:
        self._inquiry = inquiry
        self._halt = halt
        self._heal = heal
        self._look_further = look_further
        self._counts_outages = counts_outages
        self._blame = Blame()
        self._outage = Outage()
        self._clock = clock
        self._open: set[asyncio.Future[None]] = set()

    async def weigh(
        self, call: Call, verdict: Retry | Reject, error: WorkerError, event: Hashable, *, probe: bool
    ) -> Retry | Reject | None:
        """What holds for this event; None: the call is to be repeated."""
        if is_failure(error):
            return await self._after_failure(call, verdict, error, event, probe=probe)
        self.answered(call, event)
        if not verdict.suspect:
            return verdict
        matter = Matter.SUBMIT if call is Call.SUBMIT else Matter.JOB
        if await self._is_its_own(matter, verdict, event, probe=probe):
            return verdict
        if matter is Matter.SUBMIT:
            return None
        # a job that FAILED costs nothing: it is made anew
        return Retry(Step.RESUBMIT, counted=False, reason=verdict.reason, detail=verdict.detail, http_status=422)

    async def is_unusable(self, detail: str, event: Hashable) -> bool:
        """A result holds no usable vector, as `detail` says; returns whether that is its event's fault. If not, the job is to be
        made anew, which is paid."""
        verdict = Reject(
            Reason.INVALID_RESULT,
            detail,
            retryable=False,
            http_status=None,
            suspect=True,
            signature=signature(None, detail),
        )
        return await self._is_its_own(Matter.RESULT, verdict, event, probe=True)

    def usable(self) -> None:
        """A result holds a usable vector."""
        self._show(Matter.RESULT)
        self._heal(Matter.RESULT)

    def succeeded(self, call: Call, event: Hashable, answer: object) -> None:
        """A call brought what was asked for."""
        self.answered(call, event)
        if call is Call.SUBMIT:
            self._show(Matter.SUBMIT)
        if isinstance(answer, Completed):
            self._show(Matter.JOB)
            self._inquiry.account.billed(answer.metrics)

    def answered(self, call: Call, event: Hashable) -> None:
        """The API has answered, well or badly."""
        before = self._outage.cause
        self._outage.succeeded(call, event)
        self._compare(before)

    def api_answers(self) -> None:
        """The credits call was answered."""
        self._heard(answers=True)

    def _heard(self, *, answers: bool) -> None:
        if not self._counts_outages:
            before = self._outage.cause
            self._outage.heard(self._clock.monotonic(), answers=answers)
            self._compare(before)

    def healed(self, key: str) -> None:
        """A cause is gone, as something else than a call has shown perhaps."""
        if key == OUTAGE:
            self._outage.over()

    def _compare(self, before: Cause | None) -> None:
        """Halt or heal where the outage has come, changed or gone."""
        cause = self._outage.cause
        if cause is before:
            return
        if cause:
            self._halt(cause)
        elif before:
            self._heal(before.key)

    async def _after_failure(
        self, call: Call, verdict: Retry | Reject, error: WorkerError, event: Hashable, *, probe: bool
    ) -> Retry | Reject:
        """The API has failed: the event's attempts and time are used up only if it is the event's own fault."""
        if not isinstance(verdict, Retry):
            return verdict
        if self._counts_outages:
            return replace(verdict, counted=call is Call.SUBMIT)
        fault = self._outage.failed(call, verdict.detail, event, self._clock.monotonic())
        if self._outage.cause:
            self._halt(self._outage.cause)
        if call is Call.SUBMIT and (probe or fault is Fault.PERHAPS):
            # a probe: the limit of a partition is not what keeps an outage standing
            jobless = probe and isinstance(error, ApiError) and not may_be_accepted(error)
            self._look_further(Stuck(None if probe else 1, jobless))
        if fault is Fault.PERHAPS:
            is_free = call is Call.SUBMIT and isinstance(error, ApiError) and not may_be_accepted(error)
            fault = await self._of_one_that_fails_alone(call, event, LONELY if is_free else 0.0)
        return verdict if fault is Fault.EVENT else replace(verdict, counted=False, excused=True)

    async def _of_one_that_fails_alone(self, call: Call, event: Hashable, patience: float) -> Fault:
        """The credits call decides, once that has gone on for `patience` seconds, or another event that fails meanwhile."""
        is_up = await self._inquiry.is_up()
        self._heard(answers=is_up)
        now = self._clock.monotonic()
        alone = self._outage.fails_alone(call, event, now) and self._outage.lasts(call, now) >= patience
        return Fault.EVENT if is_up and alone else Fault.API

    async def _is_its_own(self, matter: Matter, verdict: Retry | Reject, event: Hashable, *, probe: bool) -> bool:
        """Whether it is the event's own fault that it was refused. Waits until something shows it; halts where it is the
        configuration's."""
        whose = self._blame.refused(matter, verdict, event)
        if whose is Whose.OPEN:
            whose = await self._wait_for_others(matter, verdict, event)
        if whose is Whose.CONFIGURATION:
            self._halt(self._blame.cause(matter, verdict))
            if probe or matter is not Matter.SUBMIT:
                self._look_further(Stuck(None, jobless=True))
        return whose is Whose.EVENT

    async def _wait_for_others(self, matter: Matter, verdict: Retry | Reject, event: Hashable) -> Whose:
        """Until others show whose fault it is, or patience is over. OPEN: it is to be tried once more."""
        refused_at, before = self._clock.monotonic(), self._blame.successes(matter)
        while self._blame.successes(matter) == before:
            left = refused_at + self._blame.patience(matter, verdict, event) - self._clock.monotonic()
            if left <= 0.0:
                return self._blame.after_patience(matter, verdict, event)
            await self._hear(left, look_further=isinstance(verdict, Reject))
        return self._blame.after_success(matter, event)

    def _show(self, matter: Matter) -> None:
        """Something has succeeded, which can show whose fault it is that others were refused."""
        self._blame.succeeded(matter)
        for waiter in self._open:
            if not waiter.done():
                waiter.set_result(None)

    async def _hear(self, seconds: float, *, look_further: bool) -> None:
        """Return when something has succeeded, or after so many seconds. `look_further`: it is sure that no job runs."""
        heard = asyncio.get_running_loop().create_future()
        self._open.add(heard)
        if look_further:
            self._look_further(Stuck(len(self._open), jobless=True))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await heard
        finally:
            self._open.discard(heard)
