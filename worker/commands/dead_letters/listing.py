"""`embedding-worker dead-letters list`."""

import heapq
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import typer

from worker.commands.dead_letters.printable import printable, printable_bytes, when
from worker.commands.dead_letters.reading import records
from worker.commands.output import writing
from worker.core.dead_letters import Letter
from worker.core.letter_filter import LetterFilter
from worker.core.times import rfc3339
from worker.settings import Settings

KEY_WIDTH = 24
DETAIL_WIDTH = 100


class _Row(NamedTuple):
    """What sorts a line, and the line: the letter's value is not kept."""

    failed_at: float
    order: int
    line: str


def print_list(
    settings: Settings, topics: Sequence[str], chosen: LetterFilter, limit: int, *, oldest: bool, as_json: bool
) -> None:
    """The newest (or oldest) so many, a line each. Raises ConfigurationError and StartError."""
    rows: list[tuple[Any, _Row]] = []
    sign = -1 if oldest else 1
    for found in records(settings, topics, chosen):
        letter = found.letter
        if letter is None or not chosen.takes(letter):
            continue
        rank = (sign * letter.failed_at, sign * found.order)
        if len(rows) == limit and rank <= rows[0][0]:
            continue
        line = json.dumps(document(letter)) if as_json else text(letter, with_topic=len(topics) > 1)
        entry = (rank, _Row(letter.failed_at, found.order, line))
        heapq.heappush(rows, entry) if len(rows) < limit else heapq.heapreplace(rows, entry)
    with writing():
        for _, row in sorted(rows, reverse=True):
            typer.echo(row.line)


def place_of(letter: Letter, *, with_topic: bool) -> str:
    """Where the letter stands, as `show` and --offset take it."""
    source = letter.record.source
    return f"{source.topic + ':' if with_topic else ''}{source.partition}:{letter.record.offset}"


def text(letter: Letter, *, with_topic: bool) -> str:
    """A line for a person."""
    key = printable_bytes(letter.record.key, KEY_WIDTH)
    place = place_of(letter, with_topic=with_topic)
    return (
        f"{place:<12} {when(letter.failed_at)} {printable(letter.reason):<16} {key:<{KEY_WIDTH}} "
        f"{printable(letter.detail, DETAIL_WIDTH)}"
    ).rstrip()


def document(letter: Letter) -> dict[str, object]:
    """A letter for a script, without its value. Keys that are not UTF-8 are written as `hex:00ff`."""
    record = letter.record
    return {
        "topic": record.source.topic,
        "partition": record.source.partition,
        "offset": record.offset,
        "reason": letter.reason,
        "detail": letter.detail,
        "retryable": letter.retryable,
        "failed_at": rfc3339(letter.failed_at),
        "key": None if record.key is None else printable_bytes(record.key),
        "value_bytes": None if record.value is None else len(record.value),
        "value": letter.value.value,
        "model": letter.model or None,
        "request_id": letter.request_id,
        "submitted_at": None if letter.submitted_at is None else rfc3339(letter.submitted_at),
        "replays": letter.replays,
        "source": {"topic": letter.source.topic, "partition": letter.source.partition, "offset": letter.offset},
    }
