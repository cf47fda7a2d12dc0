"""`embedding-worker check`: is everything there that the worker needs? One line each, with the fix."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.pretty import Pretty

from worker.adapters.clock import SystemClock
from worker.adapters.kafka import Topics, first_offsets, without_offsets
from worker.commands.configuration import ConfigFile, Flags, run_until_done, settings_from
from worker.commands.embed import explained
from worker.commands.opening import no_log, open_api, open_codec
from worker.commands.output import writing
from worker.core.api_url import is_clear_text
from worker.core.endings import Call
from worker.core.pace import Pace
from worker.errors import ApiError, ConfigurationError, StartError, WorkerError
from worker.model import Credits, TopicPartition
from worker.settings import Settings, masked

PATIENCE = 5.0
"""Seconds to wait for a broker: a person is waiting."""

API_PATIENCE = 10.0
"""Seconds to wait for the API, whatever `api.timeout` says."""

NEEDS: Mapping[str, Sequence[str]] = MappingProxyType({"topics": ("brokers",), "group": ("brokers", "topics")})
"""What would only repeat the problem of another line."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `exit_code` 0: fine."""

    subject: str
    detail: str
    exit_code: int = 0


def check(
    config: ConfigFile = None,
    flags: Flags = None,
    show: Annotated[bool, typer.Option("--show", help="Print the effective settings too, secrets masked.")] = False,
) -> None:
    """Check settings, schemas, brokers, topics, limits and the API key, without paying anything.

    Exit codes: 0 all is well, 2 a setting is wrong, 3 brokers, topics or the API are not ready.
    """
    settings = settings_from(config, flags)
    console = Console(highlight=False)
    if show:
        with writing():
            console.print(Pretty(masked(settings), expand_all=True))
    findings = run_until_done(checked(settings, lambda finding: report(console, finding)))
    worst = [finding.exit_code for finding in findings if finding.exit_code]
    if worst:
        raise typer.Exit(min(worst))


def report(console: Console, finding: Finding) -> None:
    """One line for a person."""
    mark = "[red]failed[/red]" if finding.exit_code else "[green]ok    [/green]"
    with writing():
        console.print(f"{mark} {finding.subject:9} {escape(finding.detail)}", soft_wrap=True)


async def checked(settings: Settings, say: Callable[[Finding], None]) -> list[Finding]:
    """Look at everything, also after something was found wrong."""
    checks: tuple[tuple[str, Callable[[Settings], Awaitable[str]]], ...] = (
        ("settings", look_at_settings),
        ("schemas", look_at_schemas),
        ("brokers", look_at_brokers),
        ("topics", look_at_topics),
        ("group", look_at_group),
        ("api", look_at_api),
    )
    findings: list[Finding] = []
    for subject, look in checks:
        if any(found.exit_code and found.subject in NEEDS.get(subject, ()) for found in findings):
            continue
        try:
            finding = Finding(subject, await look(settings))
        except ConfigurationError as error:
            finding = Finding(subject, str(error), 2)
        except WorkerError as error:
            finding = Finding(subject, str(error), 3)
        findings.append(finding)
        say(finding)
    return findings


async def look_at_settings(settings: Settings) -> str:
    """They were checked when they were read, but for librdkafka's; what follows from them is worth a line."""
    await Topics(settings.kafka, no_log).try_properties()
    pace = Pace(0.0, settings.pace.requests_per_minute)
    limit = (
        "learned, from 60" if settings.pace.requests_per_minute is None else f"{settings.pace.requests_per_minute:g}"
    )
    in_flight = min(settings.limits.in_flight, pace.in_flight_limit(4.0))
    unread = "".join(f"; {line}" for line in settings.unread)
    return f"pace {limit} requests a minute, at most {in_flight} records in flight at that pace{unread}"


async def look_at_schemas(settings: Settings) -> str:
    """They must parse."""
    open_codec(settings)
    return f"input {settings.input.schema_file or 'text_event.avsc (built in)'}, text from `{settings.input.text}`"


async def look_at_brokers(settings: Settings) -> str:
    """One must answer."""
    brokers = await Topics(settings.kafka, no_log).wait_reachable(lambda _: None, PATIENCE)
    return f"{settings.kafka.bootstrap_servers} answers, {brokers} broker{'s' if brokers != 1 else ''}"


async def look_at_topics(settings: Settings) -> str:
    """All must exist."""
    names = [*settings.topics.input, *settings.topics.outcomes]
    counts = await Topics(settings.kafka, no_log).describe(names)
    return ", ".join(f"{name} ({count} partitions)" for name, count in counts.items())


async def look_at_group(settings: Settings) -> str:
    """Where it would begin, and how much waits for it."""
    topics = Topics(settings.kafka, no_log)
    counts = await topics.describe(settings.topics.input)
    partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    bounds = await topics.offsets(partitions)
    committed = await topics.committed(partitions)
    new = without_offsets(partitions, committed)
    first = first_offsets(settings.kafka, {where: bounds[where] for where in new})
    start = settings.kafka.start_from or "the beginning (empty)"
    if not committed:
        return f"{settings.kafka.group_id} is new, starts from {start}"
    places = first | {where: position.offset for where, position in committed.items()}
    waiting = sum(max(0, end - places.get(where, begin)) for where, (begin, end) in bounds.items())
    names = ", ".join(dict.fromkeys(where.topic for where in new))
    starts = f"; new to it: {names}, starts from {start}" if names else ""
    return f"{settings.kafka.group_id} has {waiting} records before it{starts}"


async def look_at_api(settings: Settings) -> str:
    """The free credits call shows that the origin answers, takes the key and knows of money."""
    unsafe = "; the key goes there in clear text: use https" if is_clear_text(settings.api.base_url) else ""
    balance = await balance_told(settings, unsafe)
    dollars = f"{balance.credits:.2f} USD and {balance.free_credits:.2f} USD free"
    if balance.credits + balance.free_credits <= 0.0:
        raise StartError(
            f"{settings.api.base_url} takes the key, but the account is out of credits ({dollars}): top up{unsafe}"
        )
    return f"{settings.api.base_url} takes the key, {dollars}{unsafe}"


async def balance_told(settings: Settings, unsafe: str) -> Credits:
    """The account's balance. Raises StartError where none is told; `unsafe` ends its text."""
    api = open_api(settings, SystemClock())
    try:
        async with asyncio.timeout(API_PATIENCE):
            return await api.credits()
    except TimeoutError:
        raise StartError(
            f"{settings.api.base_url}: the API has not answered within {API_PATIENCE:g} s: check WORKER_API__BASE_URL, "
            f"WORKER_API__PROXY and the network{unsafe}"
        ) from None
    except ApiError as error:
        raise StartError(f"{settings.api.base_url}: {explained(Call.STATUS, error)}{unsafe}") from None
    finally:
        await api.close()
