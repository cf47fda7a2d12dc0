"""The flags that select dead letters: the same for `dead-letters` and `replay`."""

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from worker.core.letter_filter import LetterFilter, key_from, place_from, reasons_from, time_from
from worker.errors import ConfigurationError
from worker.replay import dead_letter_topics
from worker.settings import Settings
from worker.settings.checks import kafka_names

Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="REASON", help="Of this reason; several: again, or with commas."),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="Failed at or after: 2026-01-31T12:00:00Z, 2026-01-31, or how long ago: 2h, 3d."
    ),
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Failed before; written as for --since.")]
Keys = Annotated[list[str] | None, typer.Option("--key", metavar="KEY", help="Of this key: text, or hex:00ff; again.")]
Offsets = Annotated[
    list[str] | None,
    typer.Option(
        "--offset",
        metavar="PARTITION:OFFSET",
        help="At this place of the dead-letter topic, as `list` shows it; again.",
    ),
]
Match = Annotated[str, typer.Option("--match", metavar="TEXT", help="With this text in the detail, case ignored.")]
DeadLetterTopics = Annotated[
    list[str] | None,
    typer.Option("--topic", metavar="TOPIC", help="Dead-letter topic, instead of those of the settings; again."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


def topics_from(settings: Settings, names: Sequence[str] | None) -> tuple[str, ...]:
    """The dead-letter topics to read. Raises ConfigurationError."""
    if not names:
        return dead_letter_topics(settings)
    try:
        return kafka_names(names)
    except ValueError as error:
        raise ConfigurationError(f"--topic {', '.join(names)}: want {error}") from None


def filter_from(
    topics: Sequence[str],
    reasons: Sequence[str] | None,
    since: str | None,
    until: str | None,
    keys: Sequence[str] | None,
    offsets: Sequence[str] | None,
    match: str,
) -> LetterFilter:
    """What the flags select. Raises ConfigurationError."""
    now = time.time()
    chosen = LetterFilter(
        reasons=reasons_from(reasons or ()),
        since=None if since is None else time_from(since, now, "--since"),
        until=None if until is None else time_from(until, now, "--until"),
        keys=frozenset(key_from(key) for key in keys or ()),
        places=frozenset(place_from(place, topics) for place in offsets or ()),
        match=match,
    )
    if chosen.since is not None and chosen.until is not None and chosen.since >= chosen.until:
        raise ConfigurationError("--since is not before --until: nothing can be between them")
    return chosen
