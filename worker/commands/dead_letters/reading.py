"""Reads dead letters for a command."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from worker.adapters.kafka import KafkaArchive, Topics
from worker.commands.configuration import run_until_done
from worker.commands.opening import no_log
from worker.commands.progress import ProgressBar
from worker.core.letter_filter import LetterFilter
from worker.replay.letters import Found, Letters, spans_in
from worker.settings import Settings

PATIENCE = 10.0
"""Seconds to wait for a broker."""


@contextmanager
def opened_archive(settings: Settings, bar: ProgressBar) -> Iterator[KafkaArchive]:
    """The topics, once a broker answers. Raises ConfigurationError and StartError."""
    run_until_done(Topics(settings.kafka, no_log).wait_reachable(bar.line, PATIENCE))
    archive = KafkaArchive(settings.kafka, no_log)
    try:
        yield archive
    finally:
        archive.close()


def records(settings: Settings, topics: Sequence[str], chosen: LetterFilter) -> Iterator[Found]:
    """Everything that may hold a letter that the filter takes, with progress on stderr. Raises as above."""
    with ProgressBar(Console(stderr=True, highlight=False)) as bar, opened_archive(settings, bar) as archive:
        spans = spans_in(archive, topics, chosen)
        bar.phase("reading dead letters", sum(end - begin for begin, end in spans.values()))
        yield from Letters(archive, {}, bar).each(spans)
