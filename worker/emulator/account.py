"""The state behind the emulated API: one account, its jobs, its bill. Time comes in as an argument."""

import random
import uuid
from typing import Any

from worker.emulator.billing import Billing
from worker.emulator.config import EmulatorConfig
from worker.emulator.faults import Faults
from worker.emulator.jobs import Job, JobTable, State
from worker.emulator.latency import parse_latency
from worker.emulator.rate_limit import rate_limit_of
from worker.emulator.statistics import Statistics
from worker.emulator.submission import Failures, Submission


class Account:
    """Everything that a reset empties."""

    def __init__(self, config: EmulatorConfig, now: float) -> None:
        self.config = config
        self.jobs = JobTable()
        self.billing = Billing(config.credits, config.free_credits)
        self.statistics = Statistics(now)
        self.faults = Faults(config)
        self.rate_limit = rate_limit_of(config)
        self._failures = Failures()
        self._latency = parse_latency(config.latency)
        self._rng = random.Random(f"latency {config.seed}")

    def advance(self, now: float) -> None:
        """Let time pass: jobs end, are billed, expire."""
        for job in self.jobs.advance(now, self.config.retention_seconds):
            self.billing.bill(job, self.config.price)

    def accept(self, submission: Submission, now: float) -> Job:
        """A new job. Its end is decided here, from the law of latency and the text's markers."""
        markers = submission.markers
        total = self._latency.sample(self._rng)
        if markers.slow is not None:
            total = markers.slow
        if markers.hang:
            total = float("inf")
        # A job that hangs was taken from the queue at once: it hangs while PROCESSING.
        queued = 0.0 if markers.hang else total * self.config.queue_share
        job = Job(
            # Never from the seed: an id must not come back with another text when the emulator is started again.
            request_id=str(uuid.uuid4()),
            text=submission.text,
            dimensions=submission.dimensions,
            task_type=submission.task_type,
            accepted_at=now,
            started_at=now + queued,
            finished_at=now + total,
            error=self._failures.error_of(submission),
            shape=markers.shape or self.config.output_shape,
            bad_vector=markers.bad_vector,
        )
        self.jobs.add(job)
        return job

    def reconfigure(self, config: EmulatorConfig) -> None:
        """Take new settings; what did not change keeps its state, and jobs that were accepted keep their times."""
        old, self.config = self.config, config
        if config.credits != old.credits:
            self.billing.credits = config.credits
        if config.free_credits != old.free_credits:
            self.billing.free_credits = config.free_credits
        if config.latency != old.latency:
            self._latency = parse_latency(config.latency)
        if config.seed != old.seed:
            self.faults = Faults(config)
            self._rng = random.Random(f"latency {config.seed}")
        pace = ("requests_per_minute", "rate_limit", "rate_limit_window_seconds")
        if any(getattr(config, name) != getattr(old, name) for name in pace):
            self.rate_limit = rate_limit_of(config)

    def stats(self, now: float) -> dict[str, Any]:
        """The object of `GET /_emulator/stats`."""
        jobs, billing, running = self.jobs, self.billing, self.jobs.running(now)
        return self.statistics.as_json_object() | {
            "submits_accepted": jobs.accepted,
            "in_flight": jobs.in_flight,
            "jobs": {
                "QUEUED": running[State.QUEUED],
                "PROCESSING": running[State.PROCESSING],
                "COMPLETED": jobs.finished,
                "FAILED": jobs.failed,
                "expired": jobs.expired,
                "kept": len(jobs),
            },
            "bills": billing.bills,
            "billed_texts": billing.billed_texts,
            "double_billed": billing.bills - billing.billed_texts,
            "billed_total": round(billing.billed_total, 9),
            "credits": round(billing.credits, 9),
            "free_credits": round(billing.free_credits, 9),
            "uptime_seconds": round(now - self.statistics.started_at, 3),
        }
