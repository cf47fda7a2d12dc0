"""A fake of the embedding API: jobs take time, are billed once done, expire, and go wrong where a test says so."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from worker.errors import ApiError, JobFailed, Refused
from worker.model import Completed, Credits, EmbedRequest, JobState, Metrics
from worker.ports import Clock

Trouble = Callable[[], ApiError | None]


@dataclass
class FakeJob:
    request: EmbedRequest
    started: float
    seconds: float
    failure: str | None


class FakeApi:
    """The port `EmbeddingApi`. `submit_troubles` and `poll_troubles` are raised one per call, first in first out; `down` is
    raised by every call while it is set, `polls_down` by every poll, `lost` by submits that were accepted; `failures` maps a text
    to the errors of its first jobs; `result_of_running` is the status with which the result endpoint refuses a job that still
    runs (None: it tells the state). Each job costs `price`, `balance` is what is left (None: it is never empty); `metrics`
    stand in results in place of those."""

    def __init__(self, clock: Clock, latency: float = 0.7, dimension: int = 4) -> None:
        self.clock = clock
        self.latency = latency
        self.dimension = dimension
        self.jobs: dict[str, FakeJob] = {}
        self.posts: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.submit_troubles: deque[ApiError] = deque()
        self.poll_troubles: deque[ApiError] = deque()
        self.refuse: Callable[[EmbedRequest], ApiError | None] = lambda request: None
        self.down: Trouble | None = None
        self.polls_down: Trouble | None = None
        self.lost: Trouble | None = None
        self.price = 0.000033
        self.balance: float | None = None
        self.failures: dict[str, deque[str]] = {}
        self.result_of_running: int | None = None
        self.output: Callable[[EmbedRequest], object] | None = None
        self.metrics: Metrics | None = None
        self.busy = 0
        self.most_busy = 0
        self.closed = False

    async def submit(self, request: EmbedRequest) -> str:
        await self._arrive("submit")
        if self.submit_troubles:
            raise self.submit_troubles.popleft()
        refusal = self.refuse(request) or self._empty()
        if refusal:
            raise refusal
        request_id = f"job-{len(self.jobs)}"
        failures = self.failures.get(request.text)
        failure = failures.popleft() if failures else None
        self.jobs[request_id] = FakeJob(request, self.clock.monotonic(), self.latency, failure)
        self.posts[request.text] += 1
        self.most_busy = max(self.most_busy, sum(1 for job in self.jobs.values() if not self._done(job)))
        if self.balance is not None and not failure:
            self.balance -= self.price
        loss = self.lost and self.lost()
        if loss:
            raise loss
        return request_id

    async def status(self, request_id: str) -> JobState:
        await self._arrive("status")
        self._trouble_of_polls()
        job = self._find(request_id)
        if not self._done(job):
            return JobState.PROCESSING
        if job.failure:
            raise JobFailed(job.failure, Metrics())
        return JobState.COMPLETED

    async def result(self, request_id: str) -> Completed | JobState:
        await self._arrive("result")
        self._trouble_of_polls()
        job = self._find(request_id)
        if not self._done(job):
            if self.result_of_running:
                raise Refused(self.result_of_running, "not ready", is_json=False)
            return JobState.PROCESSING
        if job.failure:
            raise JobFailed(job.failure, Metrics())
        dimension = job.request.output_dimensionality or self.dimension
        output = self.output(job.request) if self.output else [0.5] * dimension
        told = Metrics(total_time=job.seconds, cost=self.price, remaining_credits=self.balance)
        return Completed(output, self.metrics or told)

    async def credits(self) -> Credits:
        await self._arrive("credits")
        return Credits(10.0 if self.balance is None else max(0.0, self.balance), 0.0)

    async def close(self) -> None:
        self.closed = True

    @property
    def bills(self) -> int:
        """Jobs that ended well: each was billed."""
        return sum(1 for job in self.jobs.values() if self._done(job) and not job.failure)

    async def _arrive(self, call: str) -> None:
        self.calls[call] += 1
        await asyncio.sleep(0.01)
        trouble = self.down and self.down()
        if trouble:
            raise trouble

    def _empty(self) -> ApiError | None:
        if self.balance is None or self.balance >= self.price:
            return None
        return Refused(406, f"Insufficient credits: {self.price} needed", is_json=True)

    def _trouble_of_polls(self) -> None:
        trouble = self.polls_down and self.polls_down()
        if trouble:
            raise trouble
        if self.poll_troubles:
            raise self.poll_troubles.popleft()

    def _find(self, request_id: str) -> FakeJob:
        job = self.jobs.get(request_id)
        if job is None or self.clock.monotonic() > job.started + 3600:
            raise Refused(404, f"Request {request_id} not found", is_json=True)
        return job

    def _done(self, job: FakeJob) -> bool:
        return self.clock.monotonic() >= job.started + job.seconds
