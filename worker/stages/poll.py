"""Poll: ask for a job until it is done, then fetch its result."""

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker.core.adoption import NOT_KNOWN, RECOGNITION, is_adopted
from worker.core.backoff import delay
from worker.core.endings import Call, Reject, Retry, Step
from worker.core.polling import PollSchedule
from worker.core.result_endpoint import REFUSALS, ResultEndpoint
from worker.core.verdicts import RESULT_LIFETIME
from worker.errors import Refused, Rejected, WorkerError
from worker.gate.failures import CallFailedError
from worker.gate.gate import Gate
from worker.gate.spend_guard import SpendGuard
from worker.model import Completed, Job, JobState, Reason, Record
from worker.notices import Fetched, Polled, Retried
from worker.ports import Clock, EmbeddingApi, Observer

Answer = TypeVar("Answer")

ALLOWANCE = 30.0
"""Seconds that a call may take, the gate included, before the rest is somebody else's fault."""


class JobLostError(WorkerError):
    """The job will bring no result; the text may be submitted again. `rejection` is what becomes of the record when its
    attempts are used up; `attempt`: the job's; `counted`: whether it counts."""

    def __init__(self, rejection: Rejected, *, counted: bool) -> None:
        super().__init__(rejection.detail)
        self.rejection = rejection
        self.attempt = rejection.attempts
        self.counted = counted


class Poll:
    """Follows jobs to their end."""

    def __init__(
        self,
        api: EmbeddingApi,
        gate: Gate,
        guard: SpendGuard,
        schedule: PollSchedule,
        clock: Clock,
        observer: Observer,
        deadline: float,
        random: Callable[[], float],
    ) -> None:
        self._api = api
        self._gate = gate
        self._guard = guard
        self._schedule = schedule
        self._clock = clock
        self._observer = observer
        self._deadline = deadline
        self._random = random
        self._endpoint = ResultEndpoint()

    async def __call__(self, record: Record, job: Job) -> Completed:
        """The result. Raises JobLostError where the text may be submitted again, Rejected where the record ends here.

        A job that only the record's headers name is doubted until the API has told its state.
        """
        doubted = is_adopted(record.headers, job.request_id)
        polls = failures = 0
        used = Stopwatch(self._clock, self._age(job))
        pause = self._schedule.next(self._age(job), polls)
        while True:
            used.planned += pause
            await self._clock.sleep(pause)
            try:
                answer = await (self._recognise(record, job) if doubted else self._look(record, job))
            except CallFailedError as error:
                failures += 1
                if isinstance(error.verdict, Retry) and error.verdict.excused:
                    used.skip()
                else:
                    used.stop()
                    self._check_deadline(record, job, used, error.verdict.detail, doubted=doubted)
                pause = self._judged(error, record, job, failures, used)
                continue
            polls, failures, doubted = polls + 1, 0, False
            if isinstance(answer, Completed):
                return answer
            used.stop()
            self._check_deadline(record, job, used, "it is still running", doubted=False)
            pause = self._schedule.next(self._age(job), polls)

    async def _recognise(self, record: Record, job: Job) -> Completed | JobState:
        """The first poll of an adopted job. Raises JobLostError where the API does not know it: nothing is learned from that, and
        nobody is to blame."""

        async def status() -> JobState | None:
            try:
                return await self._api.status(job.request_id)
            except Refused as refused:
                if refused.status not in NOT_KNOWN:
                    raise
                return None

        state = await self._ask(Call.STATUS, record, job, status)
        if state is None:
            raise self._unrecognised(record, job, "the API knows no such job")
        return state if state is not JobState.COMPLETED else await self._fetched(record, job, self._age(job))

    async def _look(self, record: Record, job: Job) -> Completed | JobState:
        """One poll: the result if the job is done, by as few requests as the API allows."""
        if self._endpoint.ask_first() and self._age(job) < RESULT_LIFETIME:
            answer = await self._try_result(record, job)
            if answer is not None:
                return answer
        state = await self._ask(Call.STATUS, record, job, lambda: self._api.status(job.request_id))
        if state is not JobState.COMPLETED:
            return state
        found_at = self._age(job)
        return await self._fetched(record, job, found_at)

    async def _try_result(self, record: Record, job: Job) -> Completed | JobState | None:
        """The answer of the result endpoint to a job that may still run; None where it refuses to say. A job that is let in only
        after an hour may be gone, which it says."""

        async def result() -> Completed | JobState | None:
            try:
                return await self._api.result(job.request_id)
            except Refused as refused:
                if refused.status not in REFUSALS or self._age(job) >= RESULT_LIFETIME:
                    raise
                return None

        try:
            answer = await self._ask(Call.RESULT, record, job, result)
        except BaseException:
            self._endpoint.says_nothing()
            raise
        if answer is None:
            self._endpoint.refused()
        elif isinstance(answer, Completed):
            self._endpoint.says_nothing()
            self._done(record, job, answer, self._age(job))
        else:
            self._endpoint.says_running()
        return answer

    async def _fetched(self, record: Record, job: Job, found_at: float) -> Completed | JobState:
        """The result of a job that is known to be done."""
        answer = await self._ask(Call.RESULT, record, job, lambda: self._api.result(job.request_id))
        if isinstance(answer, Completed):
            self._done(record, job, answer, found_at)
        return answer

    def _done(self, record: Record, job: Job, completed: Completed, found_at: float) -> None:
        told = completed.metrics.total_time
        self._schedule.observe(found_at if told is None else told, exact=told is not None)
        self._guard.fetched(record, completed.metrics)
        self._observer.notice(Fetched(record, job, completed.metrics))

    async def _ask(self, call: Call, record: Record, job: Job, request: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = await self._gate.call(
            call,
            request,
            event=(record.source, record.offset),
            priority=job.submitted_at,  # the job whose result expires first is asked first
            # when an adopted job was submitted is hearsay: it may be of any age, and gone
            age=math.inf if is_adopted(record.headers, job.request_id) else self._age(job),
            request_id=job.request_id,
        )
        done = isinstance(answer, Completed) or answer is JobState.COMPLETED
        self._observer.notice(Polled(job, done, self._age(job)))
        return answer

    def _judged(self, error: CallFailedError, record: Record, job: Job, failures: int, used: "Stopwatch") -> float:
        """Seconds until this call is repeated; raises where the job is lost or the record ends."""
        verdict = error.verdict
        if isinstance(verdict, Reject):
            raise Rejected(
                verdict.reason,
                verdict.detail,
                retryable=verdict.retryable,
                attempts=job.attempt,
                http_status=verdict.http_status,
                job=job,
            ) from None
        if verdict.step is Step.RESUBMIT:
            rejection = Rejected(
                verdict.reason,
                verdict.detail,
                retryable=True,
                attempts=job.attempt,
                http_status=verdict.http_status,
                job=job,
            )
            if verdict.reason is Reason.EXPIRED:
                self._guard.given_up(record)
            else:
                self._guard.lost(record)
            # a result that expired while nobody could fetch it is not the event's fault
            excused = verdict.reason is Reason.EXPIRED and self._age(job) - used.seconds > ALLOWANCE
            adopted = is_adopted(record.headers, job.request_id)  # its attempts were counted before the replay
            raise JobLostError(rejection, counted=verdict.counted and not excused and not adopted) from None
        pause = delay(failures, self._random())
        self._observer.notice(Retried(record, verdict.detail, pause, counted=False))
        return pause

    def _check_deadline(self, record: Record, job: Job, used: "Stopwatch", detail: str, *, doubted: bool) -> None:
        if doubted and used.seconds > min(RECOGNITION, self._deadline):
            raise self._unrecognised(record, job, detail)
        if used.seconds > self._deadline:
            waited = (
                f"no result {self._age(job):.0f} s after submission (api.deadline is {self._deadline:.0f} s): {detail}"
            )
            self._guard.given_up(record)
            raise Rejected(Reason.TIMEOUT, waited, retryable=True, attempts=job.attempt, job=job)

    def _unrecognised(self, record: Record, job: Job, detail: str) -> JobLostError:
        """An adopted job that the API does not know, or does not speak of: submit the text."""
        self._guard.lost(record)
        rejection = Rejected(Reason.EXPIRED, detail, retryable=True, attempts=job.attempt, job=job)
        return JobLostError(rejection, counted=False)

    def _age(self, job: Job) -> float:
        return max(0.0, self._clock.epoch() - job.submitted_at)


class Stopwatch:
    """How much of a job's deadline is used up, in seconds: the time between two answers counts only as far as it was planned, and
    one allowance more. A halt or a shut gate thus uses up nothing; the time up to a failure in an outage is skipped. `age`: the
    job's at the beginning; from then on the wall clock is not asked, as another worker's may have run ahead."""

    def __init__(self, clock: Clock, age: float) -> None:
        self.seconds = 0.0
        self.planned = 0.0
        self._clock = clock
        self._last = clock.monotonic() - age

    def stop(self) -> None:
        """There was an answer."""
        self.seconds += min(self._clock.monotonic() - self._last, self.planned + ALLOWANCE)
        self.skip()

    def skip(self) -> None:
        """What has passed until now does not count."""
        self._last, self.planned = self._clock.monotonic(), 0.0
