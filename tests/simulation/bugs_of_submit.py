"""Bugs of the submit: the lease, the intents, the ids, and the hand-over."""

from collections.abc import Sequence
from typing import Any

from tests.simulation.patching import Bugs, Patch, bug
from worker.core.lease import Lease
from worker.core.ledger import BLANK, intended, submitted
from worker.core.partition import Partition
from worker.gate.leasehold import Leasehold
from worker.gate.leaving import Leaving
from worker.model import Job, Record
from worker.stages.submit import Submit, Try

BUGS: Bugs = {}


@bug(BUGS)
def lease_not_checked() -> Sequence[Patch]:
    """Rule 5: a POST starts whenever it likes."""
    return [Patch(Lease, "may_post", lambda self, now: True)]


@bug(BUGS)
def lease_from_the_end_of_a_commit() -> Sequence[Patch]:
    """Rule 5: the lease counts from when the commit is known to stand."""
    committed = Leasehold.committed
    return [Patch(Leasehold, "committed", lambda self, started: committed(self, self._clock.boottime()))]


@bug(BUGS)
def old_id_dropped_before_its_successor_is_known() -> Sequence[Patch]:
    """A POST that replaces a job makes the ledger forget that job at once."""
    post = Submit._post

    async def _post(self: Submit, tried: Try) -> Job:
        self._still_ours(tried.record).set_mark(tried.record.offset, BLANK)
        self._changed()
        return await post(self, tried)

    return [Patch(Submit, "_post", _post)]


@bug(BUGS)
def id_not_recorded() -> Sequence[Patch]:
    """A request_id is known, and nothing says that the ledger has changed."""

    def _accepted(self: Submit, partition: Partition, record: Record, before: Any, job: Job) -> Job:
        partition.marks[record.offset] = submitted(before, job)
        self._partitions.learn(job.request_id)
        return job

    return [Patch(Submit, "_accepted", _accepted)]


@bug(BUGS)
def intent_not_committed() -> Sequence[Patch]:
    """Strict mode: the intent is noted, and the POST does not wait until it is committed."""

    async def _intend(self: Submit, partition: Partition, tried: Try, before: Any) -> None:
        partition.set_mark(tried.record.offset, intended(before, self._clock.epoch(), tried.attempt))
        self._changed()

    return [Patch(Submit, "_intend", _intend)]


@bug(BUGS)
def intent_not_withdrawn() -> Sequence[Patch]:
    """Strict mode: a POST that was refused, or never started, leaves its intent behind."""
    return [Patch(Submit, "_withdraw", lambda self, partition, record, before: None)]


@bug(BUGS)
def handed_over_with_posts_in_flight() -> Sequence[Patch]:
    """Rule 7: nobody waits for the answers of POSTs before a partition is given back."""

    async def settle(self: Leaving, *given: Any) -> None:
        return None

    return [Patch(Leaving, "settle", settle)]
