"""The jobs of the emulated API. Nothing runs: a job's times are drawn at acceptance and its state follows from now.

Times are seconds of the clock that the caller reads; this file never reads one.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The states that the vendor's status call names."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(slots=True)
class Job:
    """One accepted POST. `finished_at` is infinite for a job that hangs."""

    request_id: str
    text: str
    dimensions: int
    task_type: str
    accepted_at: float
    started_at: float
    finished_at: float
    error: str | None
    shape: str
    bad_vector: str = ""
    remaining_credits: float = 0.0
    """The account's balance right after this job was billed; set by whoever bills it."""

    def state(self, now: float) -> State:
        """Where the job is at `now`."""
        if now >= self.finished_at:
            return State.COMPLETED if self.error is None else State.FAILED
        return State.PROCESSING if now >= self.started_at else State.QUEUED

    def metrics(self, now: float) -> dict[str, float]:
        """`queue_time`, `inference_time` and `total_time` until `now`, in seconds."""
        end = min(now, self.finished_at)
        queued = min(end, self.started_at) - self.accepted_at
        total = end - self.accepted_at
        return {
            "inference_time": round(total - queued, 6),
            "queue_time": round(queued, 6),
            "total_time": round(total, 6),
        }


class JobTable:
    """Jobs by request_id, freed when their retention is over."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._by_age: deque[Job] = deque()
        self._unfinished: list[tuple[float, int, Job]] = []
        self._hanging = 0
        self._accepted = 0
        self.finished = 0
        self.failed = 0
        self.expired = 0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def accepted(self) -> int:
        """Jobs ever added."""
        return self._accepted

    @property
    def in_flight(self) -> int:
        """Jobs that were not finished at the last `advance`."""
        return len(self._unfinished) + self._hanging

    def add(self, job: Job) -> None:
        """Take a job; jobs come in the order of `accepted_at`."""
        self._accepted += 1
        self._jobs[job.request_id] = job
        self._by_age.append(job)
        if math.isinf(job.finished_at):
            self._hanging += 1
        else:
            heapq.heappush(self._unfinished, (job.finished_at, self._accepted, job))

    def get(self, request_id: str) -> Job | None:
        """The job, unless unknown or expired at the last `advance`."""
        return self._jobs.get(request_id)

    def advance(self, now: float, retention: float) -> list[Job]:
        """Let time pass: frees jobs accepted `retention` seconds ago, gives back those that COMPLETED since last time.

        A job that ends after it expired is still given back: its result is lost, its bill is not.
        """
        completed = list(self._ended(now))
        while self._by_age and self._by_age[0].accepted_at + retention <= now:
            job = self._by_age.popleft()
            del self._jobs[job.request_id]
            self.expired += 1
            if math.isinf(job.finished_at):
                self._hanging -= 1
        return completed

    def running(self, now: float) -> dict[State, int]:
        """How many jobs are QUEUED and PROCESSING; takes time in proportion to them."""
        queued = sum(1 for _, _, job in self._unfinished if job.started_at > now)
        return {State.QUEUED: queued, State.PROCESSING: self.in_flight - queued}

    def _ended(self, now: float) -> Iterator[Job]:
        while self._unfinished and self._unfinished[0][0] <= now:
            job = heapq.heappop(self._unfinished)[2]
            if job.error is None:
                self.finished += 1
                yield job
            else:
                self.failed += 1
