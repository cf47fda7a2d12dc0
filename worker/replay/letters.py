"""A plan's letters, read in one order always, with their originals; and the record that goes back to the input."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.core.dead_letters import ORIGIN, PREFIX, Letter, ValueState, letter_in
from worker.core.letter_filter import LetterFilter
from worker.core.replay_plan import Terms, can_be_fetched
from worker.core.times import rfc3339
from worker.model import Headers, Message, Record, TopicPartition
from worker.replay.ports import Archive, Watch
from worker.stages.publish import carried

Spans = Mapping[TopicPartition, tuple[int, int]]
"""First offset and end of what is looked at, by partition."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record of the dead-letter topic. `letter` None: it is none. `order` tells which of two came first."""

    record: Record
    letter: Letter | None
    order: int


class Letters:
    """Reads dead letters, and the originals of those that hold none, from the topics of which `partitions` tells how many they
    have: a letter names its topic itself, and must not have just any topic read."""

    def __init__(self, archive: Archive, partitions: Mapping[str, int], watch: Watch) -> None:
        self._archive = archive
        self._partitions = partitions
        self._watch = watch

    def each(self, spans: Spans) -> Iterator[Found]:
        """All records of these spans of offsets, partition by partition; tells the watch of the offsets."""
        for number, (source, (begin, end)) in enumerate(sorted(spans.items())):
            position = begin
            for found in self.within(source, number, begin, end):
                yield found
                self._watch.advance(found.record.offset + 1 - position)
                position = found.record.offset + 1
            self._watch.advance(end - position)

    def within(self, source: TopicPartition, number: int, begin: int, end: int) -> Iterator[Found]:
        """All records of one span, that of the `number`th partition of those that a plan looks at."""
        for records in self._archive.scan(source, begin, end):
            for record in records:
                yield Found(record, letter_in(record), number * 2**64 + record.offset)

    def original(self, letter: Letter) -> Record | None:
        """The record as it stood on the input; None where it is gone, or what stands in its place cannot be shown to be it."""
        if letter.value is ValueState.KEPT:
            return letter.record
        if letter.source.partition >= self._partitions.get(letter.source.topic, 0):
            return None
        record = self._archive.record(letter.source, letter.offset)
        if record is None or not (letter.record.key is None or letter.record.key == record.key):
            return None
        if letter.timestamp_ms < 0 or record.timestamp_ms < 0:
            return record if letter.record.key is not None else None
        return record if letter.timestamp_ms == record.timestamp_ms else None

    def key(self, letter: Letter) -> bytes | None:
        """The key of the letter's event; a letter that was too large for its topic may have lost it."""
        if letter.value is ValueState.KEPT or letter.record.key is not None:
            return letter.record.key
        original = self.original(letter)
        return original.key if original is not None else None


def spans_in(archive: Archive, topics: Sequence[str], chosen: LetterFilter) -> Spans:
    """What of the dead-letter topics has to be looked at for letters that the filter takes. Raises StartError."""
    counts = archive.partition_counts(topics)
    bounds = archive.bounds([TopicPartition(name, number) for name in topics for number in range(counts[name])])
    if not chosen.places:
        return bounds
    spans = {}
    for source, (low, high) in bounds.items():
        offsets = [place.offset for place in chosen.places if place.source == source and low <= place.offset < high]
        if offsets:
            spans[source] = (min(offsets), max(offsets) + 1)
    return spans


def message_of(letter: Letter, original: Record, terms: Terms, partitions: int, now: float) -> Message:
    """The record that goes back. `partitions`: of the topic it goes to; `now` in seconds since the epoch."""
    target = terms.target(letter)
    own = target == letter.source.topic and letter.source.partition < partitions
    return Message(
        target,
        original.key,
        original.value,
        carried(original.headers) + _marks(letter, now),
        partition=letter.source.partition if own else None,
    )


def _marks(letter: Letter, now: float) -> Headers:
    facts: dict[str, object] = {"replays": letter.replays + 1}
    if can_be_fetched(letter, now):
        facts |= {
            "request_id": letter.request_id,
            "submitted_at": rfc3339(letter.submitted_at or 0.0),
            "text_sha256": letter.text_sha256,
            "job": letter.job,
        }
    marks = tuple((PREFIX + name, str(fact).encode()) for name, fact in facts.items())
    return (*marks, (ORIGIN, str(letter.event).encode()))
