"""The two readings that come before every decision: of the letters, and of what has come to the input since."""

from collections.abc import Mapping, Sequence
from typing import Final

from worker.core.newer_events import NewerEvents
from worker.core.replay_fates import Judge
from worker.core.replay_plan import Fate, Plan, Share, Terms
from worker.errors import ConfigurationError
from worker.model import TopicPartition
from worker.replay.letters import Letters, Spans
from worker.replay.ports import Archive, Watch

MOST_LETTERS: Final = 1_000_000
"""In one plan: about 300 bytes of memory each."""

_UNREAD: Final = frozenset({Fate.SUPERSEDED, Fate.REPLAYED})
"""Fates that the input is read for."""


def spans_of(shares: Mapping[TopicPartition, Share]) -> Spans:
    """What of the dead-letter topics a plan looks at."""
    return {source: (share.begin, share.horizon) for source, share in shares.items()}


def asked_about(letters: Letters, spans: Spans, terms: Terms, watch: Watch) -> NewerEvents:
    """The letters that may be replayed, known to what will read the input. Raises ConfigurationError where they are too many,
    and StartError."""
    watch.phase("reading dead letters", _size(spans))
    newer = NewerEvents()
    for found in letters.each(spans):
        letter = found.letter
        if letter is None:
            continue
        if terms.by_itself(letter) is not Fate.SENT:
            newer.heed(letter)
            continue
        newer.want(letter, letters.key(letter), found.order)
        if len(newer) > MOST_LETTERS:
            raise ConfigurationError(
                f"more than {MOST_LETTERS} dead letters are selected: replay them in parts, with --since and --until, --reason, "
                "or --offset"
            )
    return newer


def ranges_to_read(newer: NewerEvents, archive: Archive, terms: Terms, partitions: Mapping[str, int]) -> Spans:
    """What of the input has to be read, from the oldest event that is asked about to its end now. Raises StartError."""
    if terms.force >= _UNREAD:
        return {}
    starts = {
        source: start
        for source, start in newer.starts.items()
        if source.topic in terms.inputs and source.partition < partitions.get(source.topic, 0)
    }
    bounds = archive.bounds(list(starts))
    return {
        source: (max(start, bounds[source][0]), bounds[source][1])
        for source, start in starts.items()
        if start < bounds[source][1]
    }


def read_input(newer: NewerEvents, archive: Archive, ranges: Spans, watch: Watch) -> None:
    """Learn what has come since. Raises StartError."""
    watch.phase("looking for newer events on the input", _size(ranges))
    for source, (begin, end) in sorted(ranges.items()):
        position = begin
        for records in archive.scan(source, begin, end):
            for record in records:
                newer.see(record)
            if records:
                watch.advance(records[-1].offset + 1 - position)
                position = records[-1].offset + 1
        watch.advance(end - position)


def judge_of(plan: Plan, letters: Letters, archive: Archive, earlier: Sequence[Plan], watch: Watch) -> Judge:
    """The judge of a plan that exists already: reads the same again, and so decides the same. Raises StartError."""
    newer = asked_about(letters, spans_of(plan.shares), plan.terms, watch)
    read_input(newer, archive, plan.ranges, watch)
    return Judge(plan.terms, newer, earlier)


def _size(spans: Spans) -> int:
    return sum(end - begin for begin, end in spans.values())
