"""`embedding-worker replay`: dead letters back to the input."""

from typing import Annotated

import typer
from rich.console import Console

from worker.adapters.kafka import Topics
from worker.commands.configuration import ConfigFile, Flags, run_until_done, settings_from
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
from worker.commands.opening import no_log
from worker.commands.replay.stage import Consent, Stage
from worker.core.replay_plan import FORCIBLE, MAX_REPLAYS
from worker.errors import ConfigurationError
from worker.replay import Order, Terms, cost_of_a_call, open_replay
from worker.settings import Settings
from worker.settings.checks import kafka_name

PATIENCE = 10.0
"""Seconds to wait for a broker."""


def replay(
    config: ConfigFile = None,
    flags: Flags = None,
    reasons: Reasons = None,
    since: Since = None,
    until: Until = None,
    keys: Keys = None,
    offsets: Offsets = None,
    match: Match = "",
    topics: DeadLetterTopics = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Replay so many at the most.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Letters a second at the most.")] = None,
    to: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Replay to this topic instead of each letter's own.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Refuse a plan estimated above so many USD.")] = None,
    max_replays: Annotated[
        int, typer.Option(min=1, max=1_000, help="Leave out events that were replayed so often already.")
    ] = MAX_REPLAYS,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Take in what is pointless, superseded, replayed already or too often, or in another plan."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, write nothing.")] = False,
    resume: Annotated[str | None, typer.Option(metavar="ID", help="Go on with a plan that was interrupted.")] = None,
    abandon: Annotated[
        str | None, typer.Option(metavar="ID", help="Give a plan up; others may have its letters then.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Produce dead letters to the input again: original key, value and headers.

    Prints a plan first: what is selected, what is left out and why, what it will cost; then asks, or takes --yes. Once confirmed,
    each letter of the plan is replayed exactly once, whatever happens: an interrupted replay goes on with --resume. The worker's
    own consumer group is left alone. Exit codes: 0 all done, 1 some letters were refused for their size, 2 a wrong flag, or not
    confirmed, 3 brokers or topics are not ready, 4 interrupted, 130 or 143 stopped by a signal (both: go on with --resume).
    """
    settings = settings_from(config, flags)
    topic_names = topics_from(settings, topics)
    chosen = filter_from(topic_names, reasons, since, until, keys, offsets, match)
    selecting = [reasons, since, until, keys, offsets, match, topics, limit, to, max_cost, force, dry_run]
    if (resume or abandon) and (any(selecting) or (resume and abandon)):
        raise ConfigurationError(
            "--resume and --abandon take a plan as it is: only --rate, --yes and --json go with them"
        )
    force_all = FORCIBLE if force else frozenset()
    terms = Terms(settings.topics.input, chosen, topic_from(settings, to), force_all, max_replays)
    stage = Stage(Console(stderr=True, highlight=False), Console(highlight=False), rate, as_json=as_json)
    run_until_done(Topics(settings.kafka, no_log).wait_reachable(stage.tell, PATIENCE))
    with open_replay(settings, no_log) as replays:
        if abandon:
            stage.give_up(replays, abandon)
        elif resume:
            stage.resume(replays, resume)
        else:
            order = Order(terms, topic_names, limit, cost_of_a_call(settings))
            stage.replay(replays, order, Consent(max_cost, yes=yes, dry_run=dry_run))


def topic_from(settings: Settings, name: str | None) -> str | None:
    """The topic of --to. Raises ConfigurationError for one that cannot be meant."""
    if name is None:
        return None
    try:
        kafka_name(name)
    except ValueError as error:
        raise ConfigurationError(f"--to {name}: want {error}") from None
    if name == settings.topics.output:
        raise ConfigurationError(f"--to {name}: that is the output topic, for vectors; want one that a worker reads")
    return name
