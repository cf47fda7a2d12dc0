"""`embedding-worker topics create`: the topics that the settings name."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from worker.adapters.kafka import Topics
from worker.commands.configuration import ConfigFile, Flags, run_until_done, settings_from
from worker.commands.opening import no_log
from worker.commands.output import say
from worker.errors import ConfigurationError, StartError
from worker.settings import Settings

LOOKS = 50
LOOK = 0.2
"""Seconds between two looks: a topic is made by the controller, and each broker hears of it a moment later."""

application = typer.Typer(help="The topics that the settings name.", no_args_is_help=True)


@application.callback()
def topics() -> None:
    """The topics that the settings name."""


@application.command()
def create(
    config: ConfigFile = None,
    flags: Flags = None,
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="Partitions of each topic.")] = 12,
    replication: Annotated[
        int, typer.Option(min=-1, help="Replicas of each partition; -1: the broker's default.")
    ] = -1,
    max_message_bytes: Annotated[
        int,
        typer.Option(
            min=1024, help="Largest message of output and dead-letter topics; a dead letter holds its input whole."
        ),
    ] = 8_388_608,
) -> None:
    """Create the input, output and dead-letter topics (with `topics.content_blocked` where it is set) that do not exist yet;
    those that exist are left as they are.

    Give input and output the same number of partitions, so that an event and its vector are in the same one. A replica works on
    at most 120 records of a partition at once, and there can be no more replicas than input partitions.
    """
    if replication == 0:
        raise ConfigurationError("--replication 0: want 1 or more, or -1 for the broker's default")
    settings = settings_from(config, flags)
    for line in run_until_done(created(settings, partitions, replication, max_message_bytes)):
        say(line)


async def created(settings: Settings, partitions: int, replication: int, max_message_bytes: int) -> Sequence[str]:
    """Create what is missing; a line for each topic. Raises StartError."""
    admin = Topics(settings.kafka, no_log)
    await admin.wait_reachable(lambda line: typer.echo(line, err=True))
    outputs = settings.topics.outcomes
    made = {*await admin.create(settings.topics.input, partitions, replication)}
    made |= {*await admin.create(outputs, partitions, replication, {"max.message.bytes": str(max_message_bytes)})}
    counts = await described(admin, [*settings.topics.input, *outputs])
    return [f"{'created' if name in made else 'exists '} {name} ({count} partitions)" for name, count in counts.items()]


async def described(admin: Topics, names: Sequence[str]) -> Mapping[str, int]:
    """Partitions of each topic, all of which exist. Raises StartError where brokers do not tell of one within ten seconds."""
    for _ in range(LOOKS):
        try:
            return await admin.describe(names)
        except StartError:
            await asyncio.sleep(LOOK)
    return await admin.describe(names)
