"""Partitions whose next offset is not in the topic: retention has passed it, or it was never there. For the consumer's thread
only."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.clients import Log
from worker.adapters.kafka.seeking import sought
from worker.adapters.kafka.topic_watch import TopicWatch
from worker.model import TopicPartition
from worker.settings.sections import OnOutOfRange

_READ_SECONDS: Final = 0.5
_AGAIN_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 10.0


class Range(NamedTuple):
    """What the topic holds: its first offset and the next one to be written."""

    begin: int
    end: int


@dataclass(slots=True)
class _Met:
    offset: int
    since: float
    due: float


class OutOfRange:
    """Each stands until the topic's id is confirmed and the topic's range is known; then it goes on elsewhere, or halts.

    Only what retention has taken is skipped, and only where the setting says so: an offset above the end (a reset gone wrong,
    records that the brokers lost) would have everything done and paid again at `earliest`.
    """

    def __init__(
        self,
        consumer: Consumer,
        watch: TopicWatch,
        policy: OnOutOfRange,
        log: Log,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._watch = watch
        self._policy = policy
        self._log = log
        self._monotonic = monotonic
        self._met: dict[TopicPartition, _Met] = {}
        self._halted: dict[TopicPartition, str] = {}

    def meet(self, source: TopicPartition, offset: int) -> None:
        """The brokers say that this offset of an owned partition is not in the topic."""
        if source not in self._halted:
            now = self._monotonic()
            self._met[source] = _Met(offset, now, now)

    def drop(self, source: TopicPartition) -> None:
        """The partition has gone."""
        self._met.pop(source, None)
        self._halted.pop(source, None)

    def waiting(self) -> Sequence[str]:
        """Why these stand, one sentence each; without those of the last ten seconds."""
        now = self._monotonic()
        unsure = [
            f"{source}: offset {met.offset} is out of range, and for {now - met.since:.0f} s no broker has told the id of the "
            "topic and what it holds: look at the brokers"
            for source, met in self._met.items()
            if now - met.since > _PATIENCE_SECONDS
        ]
        return [*self._halted.values(), *unsure]

    def moved(self) -> Mapping[TopicPartition, int]:
        """Those that go on, and where: the consumer stands there, and may be paused. Blocks for half a second at most."""
        if not self._met:
            return {}
        self._watch.hasten()
        now = self._monotonic()
        for source, met in tuple(self._met.items()):
            if now < met.due or not self._watch.confirms(source.topic, met.since):
                continue
            met.due = now + _AGAIN_SECONDS
            held = self._range(source)
            if held is None:
                break
            target = self._judged(source, met.offset, held)
            if target is None:
                del self._met[source]
            elif sought(self._consumer, source, target):
                self._tell(source, met.offset, target)
                del self._met[source]
                return {source: target}
        return {}

    def _judged(self, source: TopicPartition, offset: int, held: Range) -> int | None:
        """Where to go on; None: nowhere."""
        if held.begin <= offset <= held.end:
            return offset  # the topic has changed meanwhile
        if offset < held.begin and self._policy is not OnOutOfRange.HALT:
            return held.begin if self._policy is OnOutOfRange.EARLIEST else held.end
        self._halted[source] = sentence = halted(source, offset, held)
        self._log(logging.ERROR, sentence)
        return None

    def _tell(self, source: TopicPartition, offset: int, target: int) -> None:
        if target != offset:
            self._log(
                logging.WARNING,
                f"{source}: {target - offset} records are lost: retention has passed offset {offset}, and by "
                f"kafka.on_out_of_range={self._policy} it goes on at {target}",
            )

    def _range(self, source: TopicPartition) -> Range | None:
        try:
            bounds = self._consumer.get_watermark_offsets(ClientPartition(*source), timeout=_READ_SECONDS)
        except KafkaException:
            return None
        return None if bounds is None else Range(*bounds)


def halted(source: TopicPartition, offset: int, held: Range) -> str:
    """What to tell an operator of a partition that stands."""
    reset = "kafka-consumer-groups --reset-offsets while no worker runs"
    if offset > held.end:
        return (
            f"{source} stands: its offset {offset} lies above the end of the topic, {held.end} (an offset reset to the wrong "
            f"place, or records that the brokers lost): choose where to go on with {reset}"
        )
    return (
        f"{source} stands: its offset {offset} is not in the topic any more, {held.begin - offset} records are lost (retention): "
        f"set WORKER_KAFKA__ON_OUT_OF_RANGE=earliest to go on at {held.begin}, or latest for new records only, and start the "
        f"worker again; or use {reset}"
    )
