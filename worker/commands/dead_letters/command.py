"""`embedding-worker dead-letters`: what stands on the dead-letter topics."""

from typing import Annotated

import typer

from worker.commands.configuration import ConfigFile, Flags, settings_from
from worker.commands.dead_letters import listing, stats
from worker.commands.dead_letters import show as showing
from worker.commands.dead_letters.options import (
    AsJson,
    DeadLetterTopics,
    Keys,
    Match,
    Offsets,
    Reasons,
    Since,
    Until,
    filter_from,
    topics_from,
)
from worker.core.letter_filter import place_from

MOST_LISTED = 100_000

application = typer.Typer(help="Look at dead letters.", no_args_is_help=True)


@application.callback()
def dead_letters() -> None:
    """Look at dead letters: how many of what, which, and one of them whole. Reads only, and joins no consumer group."""


@application.command("stats")
def stats_command(
    config: ConfigFile = None,
    flags: Flags = None,
    reasons: Reasons = None,
    since: Since = None,
    until: Until = None,
    keys: Keys = None,
    match: Match = "",
    topics: DeadLetterTopics = None,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by reason, by day (UTC) and by model."""
    settings = settings_from(config, flags)
    names = topics_from(settings, topics)
    stats.print_stats(settings, names, filter_from(names, reasons, since, until, keys, None, match), as_json=as_json)


@application.command("list")
def list_command(
    config: ConfigFile = None,
    flags: Flags = None,
    reasons: Reasons = None,
    since: Since = None,
    until: Until = None,
    keys: Keys = None,
    offsets: Offsets = None,
    match: Match = "",
    topics: DeadLetterTopics = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LISTED, help="List so many at the most.")] = 20,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first, instead of the newest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line instead of text.")] = False,
) -> None:
    """List dead letters, a line each, the newest first."""
    settings = settings_from(config, flags)
    names = topics_from(settings, topics)
    chosen = filter_from(names, reasons, since, until, keys, offsets, match)
    listing.print_list(settings, names, chosen, limit, oldest=oldest, as_json=as_json)


@application.command("show")
def show_command(
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="As `dead-letters list` shows it.")],
    config: ConfigFile = None,
    flags: Flags = None,
    topics: DeadLetterTopics = None,
    full: Annotated[bool, typer.Option("--full", help="Do not cut long texts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: its headers, and its value decoded by the input's schema."""
    settings = settings_from(config, flags)
    names = topics_from(settings, topics)
    showing.print_letter(settings, place_from(place, names), full=full, as_json=as_json)
