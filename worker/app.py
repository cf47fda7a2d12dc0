"""The composition root: adapters and stages put together into one worker, started, watched and drained."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.extraction import InputMapping, compile_mapping
from worker.core.halting import Cause
from worker.core.pace import Pace
from worker.core.partitions import Partitions
from worker.core.polling import PollSchedule
from worker.errors import ApiError, CommitAborted, Refused, Unanswered
from worker.gate.gate import Gate
from worker.model import TopicPartition
from worker.pipeline import Pipeline
from worker.ports import Clock, Codec, EmbeddingApi, Observer, Sink, Source
from worker.settings import InputSettings, Settings
from worker.stages.commit import Commit
from worker.stages.consume import Consume
from worker.stages.decode import Decode
from worker.stages.poll import Poll
from worker.stages.publish import Publish
from worker.stages.submit import Submit

LOOK = 0.2
"""Seconds between two looks whether `until_end` is reached."""

LOOK_AT_GROUP = 2.0
"""Seconds between two such looks while others have something left to do: each asks the brokers."""

COMMITS_FAIL = 10.0
"""Seconds without a commit after which the worker is not ready; a rebalance or a broker's restart is over by then."""

CLOSE = 10.0
"""Most seconds that one adapter may take to close."""

STALLED = 60.0
"""Seconds without a poll of the consumer after which the process should be restarted (the group waits for 300)."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What a worker stands on. `partition_count`: all partitions of the input topics, whoever owns them."""

    source: Source
    sink: Sink
    codec: Codec
    api: EmbeddingApi
    clock: Clock
    observer: Observer
    partition_count: int


class Worker:
    """One consumer-group member. Must be made inside a running event loop; `run` may be called once."""

    def __init__(self, settings: Settings, ports: Ports, chance: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._ports = ports
        self._draining = False
        self._started = False
        self._partitions = Partitions()
        api, limits, clock, observer = settings.api, settings.limits, ports.clock, ports.observer
        pace = Pace(clock.monotonic(), settings.pace.requests_per_minute)
        self._gate = Gate(pace, ports.api, clock, observer, chance)
        self._commit = Commit(ports.source, ports.sink, self._partitions, clock, observer, limits.commit_interval)
        submit = Submit(ports.api, self._gate, self._partitions, clock, observer, api.attempts, chance)
        self._pipeline = Pipeline(
            Decode(ports.codec, compile_mapping(input_mapping(settings.input)), api),
            submit,
            Poll(ports.api, self._gate, PollSchedule(), clock, observer, api.deadline, chance),
            Publish(ports.codec, settings.topics, api.model, clock),
            self._commit,
            attempts=api.attempts,
            clock=clock,
            observer=observer,
        )
        self._consume = Consume(
            ports.source,
            self._partitions,
            self._gate,
            limits,
            observer,
            self._pipeline.run,
            self._commit.now,
            submit.may_be_left,
            lambda owned: owned / max(1, ports.partition_count),
        )
        self._gate.when_healed = self._consume.admit_more
        self._gate.when_refused_again = self._consume.admit_another

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
        reasons = []
        if not self._started:
            reasons.append("starting: the worker has not joined its group yet")
        elif not len(self._partitions):
            reasons.append("no partitions: the group has assigned none to this worker (more replicas than partitions?)")
        if self._draining:
            reasons.append("draining: the worker is stopping")
        if self._gate.halted:
            reasons.append(f"halted for {self._gate.halted_seconds:.0f} s: {self._gate.halted}")
        failing = self._commit.failing
        if failing and (seconds := self._ports.clock.monotonic() - failing.since) > COMMITS_FAIL:
            reasons.append(f"commits have failed for {seconds:.0f} s: {failing.detail}")
        if self._pipeline.stuck:
            reasons.append(self._pipeline.stuck)
        return reasons

    async def run(self, stop: asyncio.Event, until: Mapping[TopicPartition, int] | None = None) -> None:
        """Work until `stop` is set, or until all below the offsets `until` is finished. Then drain, commit and leave.

        Raises what ended it otherwise: a bug (as it is), StartError, or the source's or sink's fatal WorkerError.
        """
        starting = asyncio.create_task(self._start())
        endings: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._gate.run()),
            asyncio.create_task(self._commit.run()),
            asyncio.create_task(stop.wait()),
        ]
        try:
            await self._first_of(starting, *endings)
            if starting.done():
                endings.append(asyncio.create_task(self._ports.source.wait_failed()))
                if until is not None:
                    endings.append(asyncio.create_task(self._reached(until)))
                await self._first_of(*endings)
            starting.cancel()
            await self._drain()
        finally:
            for task in (starting, *endings):
                task.cancel()
            await asyncio.gather(starting, *endings, return_exceptions=True)
            await self._close()

    async def _start(self) -> None:
        await self._ports.sink.start()
        await self._look_at_api()
        await self._ports.source.start(self._consume)
        self._started = True

    async def _first_of(self, *tasks: asyncio.Task[Any]) -> None:
        """Return when one of them has ended; raises what it raised, or the bug that a record has met."""
        done, _ = await asyncio.wait({*tasks, self._consume.crashed}, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()

    async def _look_at_api(self) -> None:
        """Without a usable API the worker starts all the same: halted, and healing by itself."""
        try:
            await self._ports.api.credits()
        except Refused as error:
            if error.status in {401, 403}:
                sentence = f"api_key: the API refuses the key ({error}): set SEGMIND_API_KEY; intake resumes by itself"
                self._gate.halt(Cause("api_key", sentence, polls_too=True))
            elif error.status >= 500:
                self._gate.halt(unreachable(error))
        except Unanswered as error:
            self._gate.halt(unreachable(error))
        except ApiError:
            return  # it answers, if not as the contract says: the calls that matter will tell

    async def _reached(self, until: Mapping[TopicPartition, int]) -> None:
        """Return when all below the offsets `until` is finished, by this worker or by others of its group.

        What this worker owns is finished when it has been read and nothing is in work. Of the rest only the committed offset is
        known, which stays below an end that consists of transaction markers: where it has not moved for longer than a job may
        take (`api.deadline`, and a minute for its partition to change hands), nothing is left there, or nobody can do it.
        """
        clock, patience = self._ports.clock, self._settings.api.deadline + 60.0
        known: Mapping[TopicPartition, int] = {}
        moved, pause = clock.monotonic(), LOOK
        while True:
            await clock.sleep(pause)
            others, pause = await self._not_owned(until), LOOK
            if others is None or self._gate.halted:
                moved = clock.monotonic()
            if others is None:
                continue
            found = {**known, **await self._ports.source.committed(others)} if others else known
            if all(found.get(where, -1) >= until[where] for where in others):
                return
            if found != known:
                known, moved = found, clock.monotonic()
            if clock.monotonic() - moved > patience:
                return
            pause = LOOK_AT_GROUP

    async def _not_owned(self, until: Mapping[TopicPartition, int]) -> Sequence[TopicPartition] | None:
        """Those that this worker does not own and that held anything; None while something is left in those that it owns."""
        try:
            positions = await self._ports.source.positions()
        except CommitAborted:
            return None  # it is out of the group, and joins again
        if not self._consume.idle or any(positions[where] < until.get(where, 0) for where in positions):
            return None
        return [where for where, end in until.items() if end > 0 and where not in positions]

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


def unreachable(error: ApiError) -> Cause:
    """The API could not be reached when the worker started."""
    sentence = f"unreachable: the API does not answer ({error}): check api.base_url; intake resumes by itself"
    return Cause("unreachable", sentence, polls_too=True)


def input_mapping(settings: InputSettings) -> InputMapping:
    """Where the event lies in an input record."""
    return InputMapping(settings.text, settings.id, settings.max_text_bytes)
