"""Poll: ask for a job until it is done, then fetch its result."""

from collections.abc import Callable

from worker.core.backoff import delay
from worker.core.endings import Call, Reject, Step
from worker.core.polling import PollSchedule
from worker.errors import Rejected, WorkerError
from worker.gate.gate import CallFailedError, Gate
from worker.model import Completed, Job, JobState, Reason, Record
from worker.notices import Fetched, Polled, Retried
from worker.ports import Clock, EmbeddingApi, Observer


class JobLostError(WorkerError):
    """The job will bring no result; the text may be submitted again. `rejection` is what becomes of the record when its
    attempts are used up; `counted`: whether this one counts."""

    def __init__(self, rejection: Rejected, *, counted: bool) -> None:
        super().__init__(rejection.detail)
        self.rejection = rejection
        self.counted = counted


class Poll:
    """Follows jobs to their end."""

    def __init__(
        self,
        api: EmbeddingApi,
        gate: Gate,
        schedule: PollSchedule,
        clock: Clock,
        observer: Observer,
        deadline: float,
        random: Callable[[], float],
    ) -> None:
        self._api = api
        self._gate = gate
        self._schedule = schedule
        self._clock = clock
        self._observer = observer
        self._deadline = deadline
        self._random = random

    async def __call__(self, record: Record, job: Job) -> Completed:
        """The result. Raises JobLostError where the text may be submitted again, Rejected where the record ends here."""
        await self._clock.sleep(self._schedule.next(self._age(job), 0))
        call, polls, failures, done_at = Call.STATUS, 0, 0, 0.0
        while True:
            try:
                answer = await self._ask(call, record, job)
            except CallFailedError as error:
                failures += 1
                pause = self._judged(error, record, job, failures)
                await self._clock.sleep(pause)
                continue
            polls, failures = polls + 1, 0
            if isinstance(answer, Completed):
                told = answer.metrics.total_time
                self._schedule.observe(done_at if told is None else told, exact=told is not None)
                self._observer.notice(Fetched(record, job, answer.metrics))
                return answer
            if answer is JobState.COMPLETED:
                done_at = self._age(job)
                call = Call.RESULT
                continue
            self._check_deadline(job)
            call = Call.STATUS
            await self._clock.sleep(self._schedule.next(self._age(job), polls))

    async def _ask(self, call: Call, record: Record, job: Job) -> Completed | JobState:
        method = self._api.status if call is Call.STATUS else self._api.result
        answer = await self._gate.call(
            call,
            lambda: method(job.request_id),
            event=(record.source, record.offset),
            priority=job.submitted_at,  # the job whose result expires first is asked first
            age=self._age(job),
            request_id=job.request_id,
        )
        self._observer.notice(Polled(job, answer is JobState.COMPLETED, self._age(job)))
        return answer

    def _judged(self, error: CallFailedError, record: Record, job: Job, failures: int) -> float:
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
            raise JobLostError(rejection, counted=verdict.counted) from None
        pause = delay(failures, self._random())
        self._observer.notice(Retried(record, verdict.detail, pause, counted=False))
        return pause

    def _check_deadline(self, job: Job) -> None:
        """Judged only on an answer that says the job still runs, so that an outage uses up nothing of the deadline."""
        age = self._age(job)
        if age > self._deadline:
            detail = f"the job is not done {age:.0f} s after its submission (api.deadline is {self._deadline:.0f} s)"
            raise Rejected(Reason.TIMEOUT, detail, retryable=True, attempts=job.attempt, job=job)

    def _age(self, job: Job) -> float:
        return max(0.0, self._clock.epoch() - job.submitted_at)
