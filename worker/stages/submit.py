"""Submit: one POST per attempt, through the gate and under the lease; the request_id enters the pending map."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from worker.core.acceptance import may_be_accepted
from worker.core.backoff import delay
from worker.core.endings import Call, Reject, Retry
from worker.core.ledger import Mark, intended, submitted
from worker.core.partition import Partition
from worker.core.partitions import Partitions
from worker.errors import ApiError, Rejected, Superseded
from worker.gate.failures import CallFailedError, HeldBackError
from worker.gate.gate import Gate
from worker.gate.leasehold import Leasehold
from worker.gate.spend_guard import SpendGuard
from worker.gate.trials import Trials
from worker.model import EmbedRequest, Job, Reason, Record, TopicPartition
from worker.notices import Retried, Submitted
from worker.ports import Clock, EmbeddingApi, Observer

LOOK_FOR_ROOM = 1.0
"""Seconds between two looks whether a ledger that was full has room for one more intent."""


class Submit:
    """Starts jobs. `recorded` waits until a partition's marks are committed; `changed` is told that there is a new one.
    `strict`: the intent to POST is committed before, so that no submit of unknown fate is ever repeated."""

    def __init__(
        self,
        api: EmbeddingApi,
        gate: Gate,
        leasehold: Leasehold,
        trials: Trials,
        guard: SpendGuard,
        partitions: Partitions,
        clock: Clock,
        observer: Observer,
        attempts: int,
        random: Callable[[], float],
        *,
        recorded: Callable[[TopicPartition], Awaitable[None]],
        changed: Callable[[], None],
        strict: bool,
    ) -> None:
        self._api = api
        self._gate = gate
        self._leasehold = leasehold
        self._trials = trials
        self._guard = guard
        self._partitions = partitions
        self._clock = clock
        self._observer = observer
        self._attempts = attempts
        self._random = random
        self._recorded = recorded
        self._changed = changed
        self._strict = strict
        self.when_answered: Callable[[], None] = lambda: None

    async def __call__(self, record: Record, request: EmbedRequest, attempt: int) -> Job:
        """A job for this text, at the given attempt or a later one. Raises Rejected when there is none to be had, Superseded when
        a newer text of its key has come."""
        failures = 0
        while True:
            await self._trials.wait(record)
            # before the gate, so that what waits for the lease or its turn after a takeover uses up no pace
            await self._leasehold.wait(self._still_ours(record).postable_at)
            partition = await self._with_room(record)
            tried = Try(record, request, attempt)
            try:
                return await self._through_the_gate(tried, partition, failures)
            except HeldBackError:
                tried.check_fate()
            except CallFailedError as error:
                tried.check_fate()
                failures += 1
                before, attempt = attempt, self._next_attempt(error.verdict, attempt)
                pause = delay(failures, self._random())
                self._observer.notice(Retried(record, error.verdict.detail, pause, counted=attempt > before))
                await self._clock.sleep(pause)

    async def _through_the_gate(self, tried: "Try", partition: Partition, failures: int) -> Job:
        """One POST that brings a job. The room for its intent is free afterwards: the job has its own, a failure needs none."""
        record = tried.record
        try:
            return await self._gate.call(
                Call.SUBMIT,
                partial(self._post, tried),
                event=(record.source, record.offset),
                # in an outage, who has failed lets others try first: perhaps it is one of few that always fail
                priority=float(failures) if self._gate.halted else 0.0,
            )
        finally:
            partition.intending.discard(record.offset)

    async def _with_room(self, record: Record) -> Partition:
        """The record's partition, once its ledger surely has room for an intent (strict mode). That takes time only where brokers
        have come to take less metadata than the records in work need."""
        while self._strict and not self._still_ours(record).has_room(record.offset, self._partitions.budget):
            await self._clock.sleep(LOOK_FOR_ROOM)
        return self._still_ours(record)

    async def _post(self, tried: "Try") -> Job:
        """One POST; the gate repeats it after a 429 or a halt."""
        tried.check_fate()
        record = tried.record
        partition = self._still_ours(record)
        self._check_permit(record)
        before = partition.mark(record.offset)
        if self._strict:
            await self._intend(partition, tried, before)
        try:
            while not self._leasehold.may_post(self._still_ours(record).postable_at):
                await self._leasehold.wait(partition.postable_at)
            self._check_permit(record)
        except BaseException:
            self._withdraw(partition, record, before)
            raise
        # nothing is awaited between the lease's answer and the request
        started_at = self._clock.epoch()
        partition.posting.add(record.offset)
        try:
            request_id = await self._api.submit(tried.request)
        except ApiError as error:
            if self._strict and may_be_accepted(error):
                tried.unknown = str(error)
            else:
                self._withdraw(partition, record, before)
            raise
        finally:
            partition.posting.discard(record.offset)
            self.when_answered()
        return self._accepted(partition, record, before, Job(request_id, started_at, tried.attempt))

    def _check_permit(self, record: Record) -> None:
        """Raises HeldBackError where things have changed while the record waited for its turn."""
        if not self._trials.may_go_on(record) or not self._guard.may_post(record):
            raise HeldBackError

    async def _intend(self, partition: Partition, tried: "Try", before: Mark) -> None:
        """Commit that a POST is about to start."""
        partition.set_mark(tried.record.offset, intended(before, self._clock.epoch(), tried.attempt))
        try:
            await self._recorded(tried.record.source)
        except BaseException:
            self._withdraw(partition, tried.record, before)
            raise

    def _withdraw(self, partition: Partition, record: Record, before: Mark) -> None:
        """No job was started: what was known before holds."""
        if partition.mark(record.offset) != before:
            partition.set_mark(record.offset, before)
            self._changed()

    def _still_ours(self, record: Record) -> Partition:
        """The record's partition. What has gone, or is being handed over, is left unpaid to the next owner: its task ends as if
        cancelled. Raises Superseded."""
        partition = self._partitions.of(record)
        if partition is None or partition.closing:
            raise asyncio.CancelledError
        if partition.order.is_superseded(record.offset):
            raise Superseded("a newer text of the same key has come")
        return partition

    def _next_attempt(self, verdict: Retry | Reject, attempt: int) -> int:
        """The number of the next attempt. Raises Rejected where there is none."""
        counted = isinstance(verdict, Retry) and verdict.counted
        if isinstance(verdict, Retry) and not (counted and attempt >= self._attempts):
            return attempt + counted
        raise Rejected(
            verdict.reason,
            verdict.detail,
            retryable=isinstance(verdict, Retry) or verdict.retryable,
            attempts=attempt,
            http_status=verdict.http_status,
        ) from None

    def _accepted(self, partition: Partition, record: Record, before: Mark, job: Job) -> Job:
        partition.set_mark(record.offset, submitted(before, job))
        self._partitions.learn(job.request_id)
        self._changed()
        self._observer.notice(Submitted(record, job))
        return job


@dataclass(slots=True)
class Try:
    """One attempt. `unknown`: a POST of it may have started a job, and may not be repeated (strict mode): what was the matter."""

    record: Record
    request: EmbedRequest
    attempt: int
    unknown: str = ""

    def check_fate(self) -> None:
        """Raises Rejected (UNKNOWN_SUBMIT) where it is not known whether a job was started."""
        if self.unknown:
            detail = f"the submit may have been accepted and billed ({self.unknown}): it is not repeated"
            raise Rejected(Reason.UNKNOWN_SUBMIT, detail, retryable=True, attempts=self.attempt) from None
