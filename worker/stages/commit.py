"""Commit: outcomes that are ready go out in one batch with the offsets they finish and the ledgers above those."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from worker.core.batching import interval
from worker.core.partitions import Partitions
from worker.errors import CommitAborted, CommitUnknown, MessageRefused, MetadataTooLarge
from worker.gate.attempt import Attempt, attempt_of
from worker.gate.failures import HeldBackError
from worker.gate.leasehold import Leasehold
from worker.gate.outbox import Outbox, Ready
from worker.model import Batch, Membership, Outcome, Record, TopicPartition
from worker.notices import CommitFailed
from worker.ports import Clock, Observer, Sink, Source

LONGEST_PAUSE = 5.0
"""Most seconds between two tries to commit."""

LEDGERS_AT_ONCE = 64
"""Ledgers in one batch, besides those of the partitions that its outcomes touch: brokers take one megabyte of offsets at once."""

LEDGERS = ""
"""In place of a topic: outcomes that have no message, and ledgers."""


@dataclass(frozen=True, slots=True)
class Failing:
    """Commits fail: since when (by the monotonic clock), and how the last one did."""

    since: float
    detail: str


class Commit:
    """One batch at a time, of what is in the outbox and of every ledger that says something new. `run` must be running."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        partitions: Partitions,
        outbox: Outbox,
        leasehold: Leasehold,
        clock: Clock,
        observer: Observer,
        interval: float,
    ) -> None:
        self._source = source
        self._sink = sink
        self._partitions = partitions
        self._outbox = outbox
        self._leasehold = leasehold
        self._clock = clock
        self._observer = observer
        self._interval = interval
        self._recorded: defaultdict[TopicPartition, list[asyncio.Future[None]]] = defaultdict(list)
        self._undecided: Attempt | None = None
        self._failing: Failing | None = None
        self._some = asyncio.Event()
        self._urgent = False
        self._metadata_bytes = 0
        self._under_way: asyncio.Task[bool] | None = None
        self._closed = False
        self.when_settled: Callable[[], None] = lambda: None

    @property
    def failing(self) -> Failing | None:
        """Set while outcomes wait that cannot be committed."""
        return self._failing

    async def __call__(self, record: Record, outcome: Outcome) -> Outcome:
        """Wait until the outcome is committed, after all earlier ones of its key; returns what was committed in the end. Raises
        MessageRefused where the broker will never take its message."""
        return await self._outbox.put(record, outcome, self.want)

    def supersede(self, record: Record) -> None:
        """A newer text has come: see `Outbox.supersede`."""
        self._outbox.supersede(record)
        self.want()

    async def recorded(self, partition: TopicPartition) -> None:
        """Wait until all that is known of the partition's records now is committed. Raises HeldBackError where its ledger does
        not fit: who can take back what was to be recorded makes room by that."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._recorded[partition].append(waiter)
        self.want()
        await waiter

    def want(self) -> None:
        """Something has changed that is to be committed with the next batch."""
        self._some.set()

    def urge(self) -> None:
        """As `want`, and at once."""
        self._urgent = True
        self._some.set()

    async def run(self) -> None:
        """Commit whenever there is something to commit; never returns."""
        failures = 0
        while True:
            await self._some.wait()
            if failures or not self._urgent:
                pause = interval(self._interval, self._metadata_bytes, self._leasehold.length)
                await self._clock.sleep(min(pause * 2**failures, LONGEST_PAUSE))
            failures = 0 if await self.now() else min(failures + 1, 10)

    async def now(self) -> bool:
        """Commit what is ready. Returns False if that failed and is to be tried again, or after `close`.

        Who waits here may be cancelled; the batch under way goes on, as half of it may be published already.
        """
        under_way = self._under_way
        if under_way and not under_way.done():
            await asyncio.shield(under_way)  # built before the caller came: what the caller means may not be in it
        if self._closed:
            return False
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._commit_all())
        return await asyncio.shield(self._under_way)

    async def last(self, leaving: Mapping[TopicPartition, int]) -> bool:
        """Commit, again where that fails, until the last word on these assignments (partition to number) stands. It is for the
        caller to bound it. Returns False after `close`, or where none of them is to be committed any more."""
        while not await self.now():
            owed = any(leaving.get(where) == one.number and one.changed for where, one in self._partitions.items())
            if self._closed or not (owed or self._undecided):
                return False
            await self._clock.sleep(self._interval)
        return True

    async def close(self) -> None:
        """Give up what is under way, and commit nothing more."""
        self._closed = True
        if self._under_way:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    async def _commit_all(self) -> bool:
        """All that is ready at the beginning."""
        self._some.clear()
        self._urgent = False
        began = self._clock.monotonic()
        problem: CommitAborted | CommitUnknown | None = None
        for part in self._parts():
            try:
                while await self._one_batch(part):
                    continue
            except (CommitAborted, CommitUnknown) as error:
                problem = problem or error
        if problem is None:
            self._failing = None
            return True
        since = self._failing.since if self._failing else began
        self._failing = Failing(since, str(problem))
        self._observer.notice(CommitFailed(str(problem)))
        self._some.set()
        return False

    def _parts(self) -> Sequence[str | None]:
        """What is committed together: everything, as a rule (None). While commits fail, the ledgers, so that request_ids are
        recorded and the lease holds, and the outcomes of each topic for themselves: what is wrong with one topic does not hold
        up the others."""
        return [None] if self._failing is None else [LEDGERS, *self._outbox.topics()]

    async def _one_batch(self, part: str | None) -> bool:
        """Commit one batch; returns whether another one has to follow at once. Raises CommitAborted or CommitUnknown."""
        started = self._clock.boottime()  # before ownership is looked at
        membership = await self._source.snapshot()
        if self._undecided:
            await self._decide(self._undecided, membership)
            return True
        self._outbox.keep_owned(membership.owned)
        chosen, more = self._outbox.choose(part)
        attempt, left, problem = self._attempt(chosen, membership)
        if not attempt.positions:
            if problem:
                raise problem
            return False
        messages = [ready.outcome.message for ready in attempt.carried if ready.outcome.message]
        try:
            await self._sink.commit(Batch(messages, attempt.positions, membership))
        except MessageRefused as error:
            self._failed(attempt, error.published)
            self._outbox.refuse([attempt.carried[index] for index in error.indexes], str(error))
            # however many are refused, one after the other: request_ids are recorded and the lease holds meanwhile
            await self._one_batch(LEDGERS)
            return True
        except MetadataTooLarge as error:
            self._failed(attempt, error.published)
            self._partitions.shrink()
            return True
        except CommitUnknown:
            self._undecided = attempt
            self._leasehold.forfeit()
            raise
        except CommitAborted as error:
            self._failed(attempt, error.published)
            raise
        self._leasehold.committed(started)
        self._stands(attempt)
        if problem:
            raise problem
        return more or left

    def _attempt(self, chosen: Sequence[Ready], membership: Membership) -> tuple[Attempt, bool, CommitAborted | None]:
        """A batch of these outcomes, and of the ledgers that say something new; whether there are more of those; and what is
        wrong with partitions that had to be left out, because their ledger does not fit."""
        finished = {ready.record.source for ready in chosen}
        owned = {
            where: partition
            for where, partition in self._partitions.items()
            if membership.owned.get(where) == partition.number and not partition.refused
        }
        changed = [where for where, partition in owned.items() if partition.changed and where not in finished]
        touched = [where for where in owned if where in finished] + changed[:LEDGERS_AT_ONCE]
        if not touched and self._leasehold.wanted:
            touched = list(owned)[:1]  # an unchanged offset shows as well that this worker can commit
        recorded = {where: self._recorded.pop(where, ()) for where in touched}
        attempt = attempt_of(chosen, {where: owned[where] for where in touched}, recorded, self._partitions.budget)
        too_long = [where for where in touched if where not in attempt.positions]
        for waiter in [waiter for where in too_long for waiter in recorded[where] if not waiter.done()]:
            waiter.set_exception(HeldBackError())
        return attempt, len(changed) > LEDGERS_AT_ONCE, self._too_long(too_long)

    def _too_long(self, partitions: Sequence[TopicPartition]) -> CommitAborted | None:
        if not partitions:
            return None
        return CommitAborted(
            f"the ledger of {partitions[0]} does not fit into {self._partitions.budget} characters: raise the brokers' "
            "offset.metadata.max.bytes"
        )

    async def _decide(self, attempt: Attempt, membership: Membership) -> None:
        """Find out whether the last batch stands (rule 4): what is committed is either what it carried, or what stood before it.
        Raises CommitAborted where that cannot be told yet."""
        await self._sink.settle()
        owned = [w for w, partition in attempt.partitions.items() if membership.owned.get(w) == partition.number]
        stands = attempt.is_in(await self._source.recall(owned))
        self._undecided = None
        if stands:
            self._stands(attempt)  # without the lease: it began long ago
        else:
            self._failed(attempt, ())

    def _stands(self, attempt: Attempt) -> None:
        """The batch is committed: tell those who wait."""
        self._outbox.stands(attempt.outcomes)
        for where, partition in attempt.partitions.items():
            partition.committed = attempt.positions[where]
            partition.settled = True
        for waiter in [waiter for waiters in attempt.recorded.values() for waiter in waiters]:
            if not waiter.done():
                waiter.set_result(None)
        self._metadata_bytes = sum(len(position.metadata) for position in attempt.positions.values())
        self.when_settled()

    def _failed(self, attempt: Attempt, published: Collection[int]) -> None:
        """The batch does not stand. These of its messages are durable all the same: only their positions are left to commit."""
        self._outbox.set_aside([attempt.carried[index] for index in sorted(published)])
        for where, partition in attempt.partitions.items():
            partition.changed = True
            self._recorded[where] += attempt.recorded[where]
