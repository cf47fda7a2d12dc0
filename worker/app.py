"""The composition root: adapters and stages put together into one worker, started, watched and drained."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.dead_letter_budget import DeadLetterBudget
from worker.core.extraction import InputMapping, compile_mapping
from worker.core.lease import Lease, lease_cap
from worker.core.ledger import job_of
from worker.core.pace import Pace
from worker.core.partitions import Partitions
from worker.core.polling import PollSchedule
from worker.errors import EndNotReached, WorkerError
from worker.gate.gate import Gate
from worker.gate.leasehold import Leasehold
from worker.gate.outbox import Outbox
from worker.gate.spend_guard import SpendGuard
from worker.gate.trials import Trials
from worker.model import Record, TopicPartition
from worker.notices import Spend
from worker.obstacles import obstacles
from worker.pipeline import Pipeline
from worker.ports import Clock, Codec, EmbeddingApi, Observer, Sink, Source
from worker.settings import InputSettings, OnOutage, OnUnknownSubmit, OnUnreadableLedger, Settings
from worker.stages.adopt import Adopt
from worker.stages.commit import Commit
from worker.stages.consume import Consume
from worker.stages.decode import Decode
from worker.stages.poll import Poll
from worker.stages.publish import Publish
from worker.stages.recall import Recall
from worker.stages.submit import Submit
from worker.until_end import UntilEnd

CLOSE = 10.0
"""Most seconds that one adapter may take to close."""

STALLED = 60.0
"""Seconds without a poll of the consumer after which the process should be restarted (the group waits for 300)."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What a worker stands on. `partition_count`: all partitions of the input topics, whoever owns them. `session_timeout`: the
    group's, in seconds; it has to be the same in all workers of the group. `metadata_limit`: characters that brokers take with an
    offset, as far as they tell; a smaller one is learned. `bare_schema`: names the schema that bare records are read by."""

    source: Source
    sink: Sink
    codec: Codec
    api: EmbeddingApi
    clock: Clock
    observer: Observer
    partition_count: int
    session_timeout: float = 15.0
    metadata_limit: int = 4096
    bare_schema: str = ""


STOPPED = "stopped before the end of the input: what is done stays done, run it again for the rest"
"""Why a run until the end that was told to stop has not reached it."""


class Worker:
    """One consumer-group member. Must be made inside a running event loop; `run` may be called once."""

    def __init__(self, settings: Settings, ports: Ports, chance: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._ports = ports
        self._draining = False
        self._started = False
        api, limits, clock, observer = settings.api, settings.limits, ports.clock, ports.observer
        guarantees = settings.guarantees
        cap = lease_cap(ports.session_timeout)
        strict = guarantees.on_unknown_submit is OnUnknownSubmit.DEAD_LETTER
        discard = guarantees.on_unreadable_ledger is OnUnreadableLedger.DISCARD
        job = job_of(api, settings.input, ports.bare_schema)
        self._partitions = Partitions(job, cap, ports.metadata_limit, discard=discard, strict=strict)
        self._leasehold = Leasehold(Lease(cap), clock, observer)
        pace = Pace(clock.monotonic(), settings.pace.requests_per_minute)
        counts_outages = guarantees.on_outage is OnOutage.DEAD_LETTER
        self._gate = Gate(
            pace, ports.api, clock, observer, chance, counts_outages=counts_outages, connections=api.connections
        )
        dead = settings.dead_letters
        self._trials = Trials(DeadLetterBudget(dead.share, dead.window, dead.run), self._gate, clock)
        self._guard = SpendGuard(self._partitions, self._gate, clock, observer, settings.spend)
        outbox = Outbox(self._partitions)
        self._commit = Commit(
            ports.source, ports.sink, self._partitions, outbox, self._leasehold, clock, observer, limits.commit_interval
        )
        recall = Recall(self._partitions, self._commit.recorded, self._commit.want, guarantees.on_unknown_submit)
        submit = Submit(
            ports.api,
            self._gate,
            self._leasehold,
            self._trials,
            self._guard,
            self._partitions,
            clock,
            observer,
            api.attempts,
            chance,
            recorded=self._commit.recorded,
            changed=self._commit.want,
            strict=strict,
        )
        self._pipeline = Pipeline(
            recall,
            Decode(ports.codec, compile_mapping(input_mapping(settings.input)), api),
            Adopt(self._partitions, job, clock, observer, self._commit.want),
            submit,
            Poll(ports.api, self._gate, self._guard, PollSchedule(), clock, observer, api.deadline, chance),
            Publish(ports.codec, settings.topics, dead, api.model, job, clock),
            self._commit,
            self._gate,
            self._trials,
            attempts=api.attempts,
            supersede=guarantees.supersede,
            clock=clock,
            observer=observer,
        )
        self._consume = Consume(
            ports.source,
            self._partitions,
            self._gate,
            self._trials,
            limits,
            clock,
            observer,
            journey=self._pipeline.run,
            is_finished=recall.is_finished,
            is_decided=outbox.holds,
            commit_now=self._commit.now,
            commit_first=self._commit.urge,
            owns=self._owns,
            left=self._left,
            ordering=guarantees.ordering,
            drain=guarantees.drain,
        )
        recall.when_survived = self._consume.suspect_survived
        submit.when_answered = self._consume.look_again
        self._commit.when_settled = self._consume.admit_more
        self._leasehold.renew = self._commit.urge
        self._gate.when_healed = self._consume.admit_more
        self._gate.when_stuck = self._consume.admit_another
        self._trials.when_due = self._consume.admit_more
        self._trials.when_turned = self._budget_turned

    @property
    def in_flight(self) -> int:
        """Records in work."""
        return self._consume.in_flight

    def not_live(self) -> Sequence[str]:
        """Why this process should be restarted; that it answers at all shows that its event loop turns."""
        if self._consume.crashed.done():
            return ["crashed: the worker met a bug and is ending"]
        stalled = self._ports.source.stalled()
        if stalled > STALLED:
            return [f"stalled: the Kafka consumer has not polled for {stalled:.0f} s"]
        return []

    def not_ready(self) -> Sequence[str]:
        """Why this worker does not take events now, one sentence each; empty: it does."""
        reasons = [] if self._started else ["starting: the worker has not joined its group yet"]
        if self._started and not len(self._partitions) and not self._ports.source.waiting():
            reasons.append("no partitions: the group has assigned none to this worker (more replicas than partitions?)")
        if self._draining:
            reasons.append("draining: the worker is stopping")
        ports = self._ports
        standing = obstacles(self._gate, self._commit, self._partitions, self._leasehold, ports.source, ports.clock)
        return [*reasons, *standing, *filter(None, [self._pipeline.stuck])]

    async def run(self, stop: asyncio.Event, until: Mapping[TopicPartition, int] | None = None) -> None:
        """Work until `stop` is set, or until all below the offsets `until` is finished. Then drain, commit and leave.

        Raises what ended it otherwise: a bug (as it is), StartError, or the source's or sink's fatal WorkerError; and
        EndNotReached, drained, where `until` is not reached: it was told to stop, or there are too many dead letters.
        """
        starting = asyncio.create_task(self._start())
        endings: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._gate.run()),
            asyncio.create_task(self._trials.run()),
            asyncio.create_task(self._commit.run()),
            asyncio.create_task(stop.wait()),
        ]
        try:
            await self._first_of(starting, *endings)
            end: asyncio.Task[bool] | None = None
            if starting.done():
                endings.append(asyncio.create_task(self._ports.source.wait_failed()))
                if until is not None:
                    looking = UntilEnd(
                        self._ports.source,
                        self._consume,
                        self._gate,
                        self._trials,
                        self._ports.clock,
                        self._settings.api.deadline,
                    )
                    end = asyncio.create_task(looking.reached(until))
                    endings.append(end)
                await self._first_of(*endings)
            starting.cancel()
            reached = end is not None and end.done() and end.result()
            why = "" if stop.is_set() else self._trials.last_words
            await self._drain()
            if until is not None and not reached:
                raise EndNotReached(why or STOPPED)
        except WorkerError:
            raise
        except Exception as error:
            self._consume.crash(error)
            raise
        finally:
            for task in (starting, *endings):
                task.cancel()
            await asyncio.gather(starting, *endings, return_exceptions=True)
            await self._close()

    async def _start(self) -> None:
        await self._ports.sink.start()
        await self._gate.look()
        await self._ports.source.start(self._consume)
        self._started = True

    async def _first_of(self, *tasks: asyncio.Task[Any]) -> None:
        """Return when one of them has ended; raises what it raised, or the bug that a record has met."""
        done, _ = await asyncio.wait({*tasks, self._consume.crashed}, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()

    def spend(self) -> Spend:
        """What this worker spends."""
        return self._guard.spend()

    def _owns(self, owned: int) -> None:
        """So many partitions: they are its share of what the account may do and spend."""
        share = owned / max(1, self._ports.partition_count)
        self._gate.set_share(share)
        self._guard.owns(share)

    def _left(self, record: Record) -> None:
        """A record is in work no more."""
        self._trials.left(record)
        self._guard.left()

    def _budget_turned(self) -> None:
        """Ledgers say whether their owner has too many dead letters: the next one goes on from there."""
        if self._partitions.exceed(self._trials.exceeded):
            self._commit.want()

    async def _drain(self) -> None:
        self._draining = True
        ends = self._ports.clock.monotonic() + self._settings.limits.drain
        await self._consume.drain(self._settings.limits.drain)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(1.0, ends - self._ports.clock.monotonic())):
                await self._commit.now()

    async def _close(self) -> None:
        for step in (
            self._ports.source.close,
            self._consume.abandon,
            self._commit.close,
            self._ports.sink.close,
            self._ports.api.close,
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE):
                    await step()


def input_mapping(settings: InputSettings) -> InputMapping:
    """Where the event lies in an input record."""
    return InputMapping(settings.text, settings.id, settings.max_text_bytes)
