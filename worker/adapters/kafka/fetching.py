"""What the consumer has fetched of the owned partitions, and how far it has handed that over. For the consumer's thread only."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.clients import Log
from worker.adapters.kafka.out_of_range import OutOfRange
from worker.adapters.kafka.records import judge, partition_of, record_of
from worker.adapters.kafka.topic_watch import TopicWatch
from worker.model import Record, TopicPartition
from worker.settings.sections import OnOutOfRange

# how long a command waits at most for a poll that finds nothing; 100 wake-ups a second cost under 1 % of a core
POLL_SECONDS: Final = 0.01
_HELD_SECONDS: Final = 0.001
_ROUND_RECORDS: Final = 1_000
_ROUND_BYTES: Final = 4 * 1024 * 1024
_WAKE_SECONDS: Final = 0.1
_WAKE_PARTITIONS: Final = 8
_PATIENCE_SECONDS: Final = 10.0
"""The ids of topics are asked for every 0.2 s while records are held."""


@dataclass(slots=True)
class _Owned:
    number: int
    next_offset: int
    paused: bool = True


class _Held(NamedTuple):
    record: Record
    polled: float


class Fetching:
    """The owned partitions, each under the number of its assignment. Records are held until the watch trusts their topic."""

    def __init__(
        self,
        consumer: Consumer,
        watch: TopicWatch,
        log: Log,
        on_out_of_range: OnOutOfRange,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._watch = watch
        self._log = log
        self._monotonic = monotonic
        self._owned: dict[TopicPartition, _Owned] = {}
        self._held: list[_Held] = []
        self._out_of_range = OutOfRange(consumer, watch, on_out_of_range, log, monotonic)

    @property
    def owned(self) -> Collection[TopicPartition]:
        """All owned partitions."""
        return tuple(self._owned)

    @property
    def numbers(self) -> Mapping[TopicPartition, int]:
        """The number of each assignment."""
        return {source: owned.number for source, owned in self._owned.items()}

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset to be handed over."""
        found = {source: owned.next_offset for source, owned in self._owned.items()}
        for record, _ in self._current(self._held):
            found[record.source] = min(record.offset, found[record.source])
        return found

    def own(self, source: TopicPartition, number: int, offset: int) -> None:
        """The consumer stands at the offset where the partition begins."""
        self._owned[source] = _Owned(number, offset)

    def disown(self, sources: Collection[TopicPartition]) -> None:
        """These have gone, with all that was fetched of them."""
        for source in sources:
            self._owned.pop(source, None)
            self._out_of_range.drop(source)
        self._held = self._current(self._held)

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Drops what was fetched of these already; it is fetched again after `resume`."""
        self._consumer.pause(self._client_side(partitions))
        self._mark(partitions, paused=True)
        first: dict[TopicPartition, int] = {}
        for record, _ in self._held:
            if record.source in partitions:
                first.setdefault(record.source, record.offset)
        for source, offset in first.items():
            try:
                self._consumer.seek(ClientPartition(*source, offset))
            except KafkaException:
                continue  # held records may come in spite of the pause, but none may be lost
            self._owned[source].next_offset = offset
            self._held = [held for held in self._held if held.record.source != source]

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch these.

        librdkafka's thread of a broker sleeps for up to a second while every partition there is paused, and a resume does
        not wake it (measured: 0.25 to 0.9 s until the next record); a question sent to that broker does (1 to 25 ms).
        """
        resumed = self._client_side(partitions)
        self._consumer.resume(resumed)
        self._mark(partitions, paused=False)
        for partition in resumed[:_WAKE_PARTITIONS]:
            try:
                self._consumer.get_watermark_offsets(partition, timeout=_WAKE_SECONDS)
            except KafkaException:
                return

    def waiting(self) -> Sequence[str]:
        """What stands, one sentence each: partitions whose offset is out of range, and topics whose id no broker confirms."""
        now = self._monotonic()
        counts = Counter(record.source.topic for record, polled in self._held if now - polled > _PATIENCE_SECONDS)
        unconfirmed = [
            f"{topic}: {count} records are held back, for no broker has confirmed the id of the topic for more than "
            f"{_PATIENCE_SECONDS:.0f} s: look whether the topic still exists and the user may describe it"
            for topic, count in counts.items()
        ]
        return [*self._out_of_range.waiting(), *unconfirmed]

    def round(self) -> list[Record]:
        """Everything the client holds ready, up to a bound; nothing while it may be of a topic that was made anew. Raises
        StartError where the consumer cannot go on."""
        polled = self._poll()
        now = self._monotonic()
        self._held = self._current([*self._held, *(_Held(record, now) for record in polled)])
        self._go_on()
        if not self._held:
            return []
        self._watch.hasten()
        trusted = [record for record, polled in self._held if self._watch.trusts(record.source.topic, polled)]
        self._held = [held for held in self._held if not self._watch.trusts(held.record.source.topic, held.polled)]
        return trusted

    def _poll(self) -> list[Record]:
        records: list[Record] = []
        count, size = len(self._held), sum(held.record.size for held in self._held)
        seconds = _HELD_SECONDS if self._held else POLL_SECONDS
        if count >= _ROUND_RECORDS or size >= _ROUND_BYTES:
            time.sleep(seconds)
        while count < _ROUND_RECORDS and size < _ROUND_BYTES:
            message = self._consumer.poll(seconds)
            if message is None:
                break
            seconds = 0
            record = self._taken(message)
            if record is not None:
                records.append(record)
                count, size = count + 1, size + record.size
        return records

    def _taken(self, message: Message) -> Record | None:
        source = partition_of(message)
        owned = self._owned.get(source)
        error = message.error()
        if error is not None:
            self._failed(error, message)
            return None
        # what lies below the position was fetched before a seek took effect
        if owned is None or (message.offset() or 0) < owned.next_offset:
            return None
        record = record_of(message, source, owned.number)
        owned.next_offset = record.offset + 1
        return record

    def _failed(self, error: KafkaError, message: Message) -> None:
        source, offset = partition_of(message), message.offset() or 0
        owned = self._owned.get(source)
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            if owned is not None:
                # the end lies behind transaction markers, which yield no record
                owned.next_offset = max(owned.next_offset, offset)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            if owned is not None:
                self._out_of_range.meet(source, owned.next_offset if offset < 0 else offset)
        else:
            self._watch.hasten()
            judge(error, self._log)

    def _go_on(self) -> None:
        """With partitions whose offset was out of range."""
        for source, offset in self._out_of_range.moved().items():
            owned = self._owned[source]
            owned.next_offset = offset
            if not owned.paused:
                self._consumer.resume([ClientPartition(*source)])

    def _mark(self, partitions: Collection[TopicPartition], *, paused: bool) -> None:
        for source in partitions:
            if source in self._owned:
                self._owned[source].paused = paused

    def _current(self, held: Collection[_Held]) -> list[_Held]:
        numbers = self.numbers
        return [one for one in held if numbers.get(one.record.source) == one.record.assignment]

    def _client_side(self, partitions: Collection[TopicPartition]) -> list[ClientPartition]:
        return [ClientPartition(*source) for source in partitions if source in self._owned]
