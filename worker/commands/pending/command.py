"""`embedding-worker pending`: which jobs run, as the group's committed offsets have it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from worker.adapters.clock import SystemClock
from worker.adapters.kafka import GroupOffsets, GroupReading, Topics
from worker.commands.configuration import ConfigFile, Flags, run_until_done, settings_from
from worker.commands.opening import no_log, open_api, open_codec
from worker.commands.output import writing
from worker.commands.pending.listing import Listing
from worker.commands.pending.states import Answers, polite_rate, states_of
from worker.commands.pending.transfer import export_to, import_from
from worker.core.ledger import job_of
from worker.core.pending import PartitionState, state_of
from worker.errors import ConfigurationError
from worker.settings import Settings

PATIENCE = 10.0
"""Seconds to wait for a broker: a person is waiting."""


def pending(
    config: ConfigFile = None,
    flags: Flags = None,
    topics: Annotated[
        list[str] | None, typer.Option("--topic", metavar="TOPIC", help="Instead of topics.input; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Ask the API for the state of each job; free, but uses up rate limit.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            min=0.01,
            max=1000.0,
            help="With --fetch: calls a second. Default: a tenth of pace.requests_per_minute, at most 1.",
        ),
    ] = None,
    export_file: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Write the committed offsets with their ledgers to a new file."),
    ] = None,
    import_file: Annotated[
        Path | None,
        typer.Option("--import", metavar="FILE", help="Commit what --export has written; all workers must be stopped."),
    ] = None,
    from_group: Annotated[
        str | None,
        typer.Option("--from-group", metavar="GROUP", help="With --import: the file may be of this other group."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --import: do not ask.")] = False,
) -> None:
    """Show the jobs that run: what the group's committed offsets remember of them. Joins no group and changes nothing (but for
    --import).

    For each job: topic, partition, offset of its event, request_id, age, attempt, and the time until the API forgets its result.
    With `guarantees.on_unknown_submit=dead_letter` also the intents to submit, and after crashes the claims of records that may
    be at fault. Exit codes: 0 done, 1 something went wrong (or the answer was no), 2 a wrong setting or a file that
    cannot be used, 3 brokers, topics or the group are not ready.
    """
    require_sense(fetch=fetch, as_json=as_json, export_file=export_file, import_file=import_file)
    if topics:
        flags = [*(flags or []), f"topics.input={json.dumps(topics)}"]
    settings = settings_from(config, flags)
    if export_file:
        run_until_done(export_to(settings, export_file, PATIENCE))
    elif import_file:
        only = settings.topics.input if topics else None
        run_until_done(import_from(settings, import_file, from_group, only, PATIENCE, yes=yes))
    else:
        run_until_done(listed(settings, rate or polite_rate(settings.pace), as_json=as_json, fetch=fetch))


def require_sense(*, fetch: bool, as_json: bool, export_file: Path | None, import_file: Path | None) -> None:
    """Raises ConfigurationError for options that do not go together."""
    if export_file and import_file:
        raise ConfigurationError("pending: --export and --import do not go together: run one after the other")
    if (export_file or import_file) and (fetch or as_json):
        raise ConfigurationError(
            "pending: --fetch and --json are for the list: leave them out with --export and --import"
        )


async def listed(settings: Settings, rate: float, *, as_json: bool, fetch: bool) -> None:
    """Print the list. Raises ConfigurationError, StartError."""
    await Topics(settings.kafka, no_log).wait_reachable(lambda line: typer.echo(line, err=True), PATIENCE)
    reading = await GroupOffsets(settings.kafka, no_log).read(settings.topics.input, stable=False)
    clock = SystemClock()
    states = states_in(settings, reading)
    answers: Answers | None = None
    if fetch:
        api = open_api(settings, clock)
        try:
            answers = await states_of(states, api, rate, clock, lambda line: typer.echo(line, err=True))
        finally:
            await api.close()
    listing = Listing(settings.kafka.group_id, reading.cluster, clock.epoch(), states, answers)
    with writing():
        if as_json:
            typer.echo(json.dumps(listing.as_object()))
        else:
            listing.show(Console(highlight=False))


def states_in(settings: Settings, reading: GroupReading) -> Sequence[PartitionState]:
    """Each partition as a worker with these settings would find it. Raises ConfigurationError."""
    job = job_of(settings.api, settings.input, open_codec(settings).bare_schema)
    ids: Mapping[str, str] = reading.topics
    return [
        state_of(where, position, reading.cluster, ids[where.topic], job)
        for where, position in sorted(reading.positions.items())
    ]
