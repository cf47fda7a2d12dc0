"""The composition root: adapters and stages put together into one worker, started, watched and drained."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.extraction import InputMapping, compile_mapping
from worker.core.halting import Cause
from worker.core.pace import Pace
from worker.core.partitions import Partitions
from worker.core.polling import PollSchedule
from worker.errors import ApiError, Refused
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
        pipeline = Pipeline(
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
            pipeline.run,
            self._commit.now,
            submit.may_be_left,
            lambda owned: owned / max(1, ports.partition_count),
        )
        self._gate.when_healed = self._consume.admit_more

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
        return reasons

    async def run(self, stop: asyncio.Event, until: Mapping[TopicPartition, int] | None = None) -> None:
        """Work until `stop` is set, or until all below the offsets `until` is finished. Then drain, commit and leave.

        Raises what ended it otherwise: a bug (as it is), StartError, or the source's or sink's fatal WorkerError.
        """
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._gate.run()),
            asyncio.create_task(self._commit.run()),
        ]
        try:
            await self._ports.sink.start()
            await self._look_at_api()
            await self._ports.source.start(self._consume)
            self._started = True
            endings: list[asyncio.Task[Any]] = [
                asyncio.create_task(stop.wait()),
                asyncio.create_task(self._ports.source.wait_failed()),
            ]
            if until is not None:
                endings.append(asyncio.create_task(self._reached(until)))
            tasks += endings
            done, _ = await asyncio.wait({*tasks, self._consume.crashed}, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
            await self._drain()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()

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
        except ApiError as error:
            self._gate.halt(unreachable(error))

    async def _reached(self, until: Mapping[TopicPartition, int]) -> None:
        """Return when every owned partition has been read up to `until` and nothing is in work."""
        while True:
            await self._ports.clock.sleep(LOOK)
            positions = await self._ports.source.positions()
            if positions and self._consume.idle and all(positions[where] >= until.get(where, 0) for where in positions):
                return

    async def _drain(self) -> None:
        self._draining = True
        await self._consume.drain(self._settings.limits.drain)
        await self._commit.now()

    async def _close(self) -> None:
        await self._ports.source.close()
        await self._consume.abandon()
        await self._ports.sink.close()
        await self._ports.api.close()


def unreachable(error: ApiError) -> Cause:
    """The API could not be reached when the worker started."""
    sentence = f"unreachable: the API does not answer ({error}): check api.base_url; intake resumes by itself"
    return Cause("unreachable", sentence, polls_too=True)


def input_mapping(settings: InputSettings) -> InputMapping:
    """Where the event lies in an input record."""
    return InputMapping(settings.text, settings.id, settings.max_text_bytes)
