"""Adopt: a replayed record that names its job is not paid again."""

import asyncio
from collections.abc import Callable

from worker.core.adoption import adoptable
from worker.core.ledger import BLANK, submitted
from worker.core.partitions import Partitions
from worker.core.resume import Follow, Start
from worker.model import EmbedRequest, Record
from worker.notices import Adopted
from worker.ports import Clock, Observer


class Adopt:
    """Follows the job that a record's headers name, where the ledger knows of none. `job`: this worker's `job_fingerprint`;
    `changed` is told that there is something to commit."""

    def __init__(
        self, partitions: Partitions, job: bytes, clock: Clock, observer: Observer, changed: Callable[[], None]
    ) -> None:
        self._partitions = partitions
        self._job = job
        self._clock = clock
        self._observer = observer
        self._changed = changed

    def __call__(self, record: Record, request: EmbedRequest, known: Follow | Start) -> Follow | Start:
        """What is known of the record, the named job included. It enters the ledger as if it had been submitted here."""
        if not record.headers or isinstance(known, Follow):
            return known
        partition = self._partitions.of(record)
        if partition is None:
            raise asyncio.CancelledError
        job = adoptable(record.headers, request, self._job, self._clock.epoch())
        mark = partition.mark(record.offset)
        # an id longer than those that the API gives would leave less room in the ledgers of all partitions
        if job is None or mark != BLANK or not self._partitions.expects(job.request_id):
            return known
        partition.set_mark(record.offset, submitted(mark, job))
        self._partitions.learn(job.request_id)
        self._changed()
        self._observer.notice(Adopted(record, job))
        return Follow(job)
