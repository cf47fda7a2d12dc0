"""Submit: one POST per attempt, through the gate; the request_id enters the pending map."""

import asyncio
from collections.abc import Callable

from worker.core.backoff import delay
from worker.core.endings import Call, Reject, Retry
from worker.core.partitions import Partition, Partitions
from worker.errors import Rejected
from worker.gate.gate import CallFailedError, Gate
from worker.model import EmbedRequest, Job, Record, TopicPartition
from worker.notices import Retried, Submitted
from worker.ports import Clock, EmbeddingApi, Observer


class Submit:
    """Starts jobs."""

    def __init__(
        self,
        api: EmbeddingApi,
        gate: Gate,
        partitions: Partitions,
        clock: Clock,
        observer: Observer,
        attempts: int,
        random: Callable[[], float],
    ) -> None:
        self._api = api
        self._gate = gate
        self._partitions = partitions
        self._clock = clock
        self._observer = observer
        self._attempts = attempts
        self._random = random
        self._posted: dict[TopicPartition, tuple[int, int]] = {}

    def may_be_left(self, record: Record) -> bool:
        """Whether the next owner of the partition can take the record up without paying for anything again: neither it nor
        a later one has been posted. Offsets are committed below the lowest unfinished one only, so that whatever is
        finished above a record that is left would be done, and paid, again."""
        assignment, highest = self._posted.get(record.source, (record.assignment, -1))
        return assignment != record.assignment or record.offset > highest

    async def __call__(self, record: Record, request: EmbedRequest, attempt: int) -> Job:
        """A job for this text, at the given attempt or a later one. Raises Rejected when there is none to be had."""
        failures = 0
        while True:
            started_at = self._clock.epoch()

            async def post() -> str:
                nonlocal started_at
                partition = self._still_ours(record)
                started_at = self._clock.epoch()
                partition.posting.add(record.offset)
                if self.may_be_left(record):
                    self._posted[record.source] = (record.assignment, record.offset)
                try:
                    return await self._api.submit(request)
                finally:
                    partition.posting.discard(record.offset)

            try:
                request_id = await self._gate.call(Call.SUBMIT, post, event=(record.source, record.offset))
            except CallFailedError as error:
                failures += 1
                before, attempt = attempt, self._next_attempt(error.verdict, attempt)
                pause = delay(failures, self._random())
                self._observer.notice(Retried(record, error.verdict.detail, pause, counted=attempt > before))
                await self._clock.sleep(pause)
            else:
                return self._accepted(record, Job(request_id, started_at, attempt))

    def _still_ours(self, record: Record) -> Partition:
        """The record's partition, looked up right before the POST: what has been revoked, or can be left to the next owner
        while the partition is being drained, is left unpaid; its task ends as if cancelled."""
        partition = self._partitions.of(record)
        if partition is None or (partition.closing and self.may_be_left(record)):
            raise asyncio.CancelledError
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

    def _accepted(self, record: Record, job: Job) -> Job:
        partition = self._partitions.of(record)
        if partition:
            partition.pending[record.offset] = job
        self._observer.notice(Submitted(record, job))
        return job
