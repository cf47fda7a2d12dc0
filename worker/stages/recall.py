"""Recall: what does the ledger say of this record? It is the whole of crash recovery: Kafka delivers every record again that is
not below the committed offset, and there is no other path."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from worker.core.ledger import claimed, unclaimed
from worker.core.partitions import Partitions
from worker.core.resume import Follow, GiveUp, Start, resume
from worker.errors import Rejected
from worker.gate.failures import HeldBackError
from worker.model import Record, TopicPartition
from worker.settings.guarantees import OnUnknownSubmit


class Recall:
    """Tells where the journey of a record goes on. `recorded` waits until a partition's marks are committed;
    `changed` is told that there is a new one."""

    def __init__(
        self,
        partitions: Partitions,
        recorded: Callable[[TopicPartition], Awaitable[None]],
        changed: Callable[[], None],
        on_unknown_submit: OnUnknownSubmit,
    ) -> None:
        self._partitions = partitions
        self._recorded = recorded
        self._changed = changed
        self._on_unknown_submit = on_unknown_submit
        self.when_survived: Callable[[], None] = lambda: None

    def is_finished(self, record: Record) -> bool:
        """Whether its outcome stands already: then there is nothing to do, not even decode."""
        partition = self._partitions.of(record)
        return partition is not None and partition.offsets.is_finished(record.offset)

    async def __call__(self, record: Record) -> Follow | Start:
        """A job to follow, or the attempt to start with. Raises Rejected where nothing may be tried any more.

        A suspect (see `takeover.suspects`) is claimed first: should the worker crash over it, the next one knows. `survived` has
        to follow.
        """
        partition = self._partitions.of(record)
        if partition is None:
            raise asyncio.CancelledError
        mark = partition.mark(record.offset)
        found = resume(mark, self._on_unknown_submit, unclean=partition.unclean)
        if isinstance(found, GiveUp):
            raise Rejected(found.reason, found.detail, retryable=True, attempts=found.attempts, job=found.job)
        if isinstance(found, Follow | Start):
            if record.offset in partition.suspected:
                partition.set_mark(record.offset, claimed(mark))
                await self._claimed(record.source)
            return found
        raise asyncio.CancelledError  # finished: consume takes up no such record

    async def _claimed(self, partition: TopicPartition) -> None:
        """Wait until claims are committed, also through times when the ledger does not fit: they add nothing to it."""
        while True:
            with contextlib.suppress(HeldBackError):
                return await self._recorded(partition)

    def survived(self, record: Record) -> None:
        """The record has been decoded, or never needs to be: it is no suspect any more. From here on it only waits for the API,
        and whatever ends the worker meanwhile is not its fault."""
        partition = self._partitions.of(record)
        if partition is None or record.offset not in partition.suspected:
            return
        partition.suspected.discard(record.offset)
        partition.set_mark(record.offset, unclaimed(partition.mark(record.offset)))
        self._changed()
        self.when_survived()
