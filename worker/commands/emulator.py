"""`embedding-worker emulator`: the Segmind v2 API on a local port."""

import asyncio
import json
import signal
from typing import Annotated

import typer

from worker.commands.configuration import run_until_done
from worker.commands.output import say
from worker.core.listening import in_url, refusal
from worker.emulator.config import EmulatorConfig, InvalidConfigError, reconfigured
from worker.emulator.server import Emulator
from worker.errors import ConfigurationError, StartError


def emulator(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8089,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    latency: Annotated[
        str | None,
        typer.Option(help="How long jobs take: constant:0.2, exponential:mean=1, lognormal:mean=0.7,sigma=0.5."),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="The account's rate limit; 0: none.")] = None,
    credits_usd: Annotated[float | None, typer.Option("--credits", help="The account's balance in USD.")] = None,
    config: Annotated[
        str, typer.Option(metavar="JSON", help="Any other fields, as GET /_emulator/config shows them.")
    ] = "{}",
) -> None:
    """Run a stand-in for the Segmind v2 API, so that nothing is paid while you try things out.

    The first line on stdout is `url=http://HOST:PORT`: set WORKER_API__BASE_URL to it. Any non-empty API key is accepted.
    Texts may hold markers: [[block]] is refused as unsafe content, [[fail]] always fails, [[flaky]] fails once, [[slow:5]]
    takes five seconds, [[hang]] never ends.

    While it runs: GET /_emulator/stats counts requests and bills, PATCH /_emulator/config changes what it does (for example
    {"error_rate": 0.1} or {"credits": 0}), POST /_emulator/reset forgets all jobs.
    """
    try:
        named = {"latency": latency, "requests_per_minute": requests_per_minute, "credits": credits_usd}
        given = {name: value for name, value in named.items() if value is not None}
        configured = reconfigured(EmulatorConfig(), fields_of(config) | given)
    except (InvalidConfigError, TypeError) as error:
        raise ConfigurationError(f"emulator: {error}") from None
    run_until_done(serve(host, port, configured))


def fields_of(config: str) -> dict[str, object]:
    """The fields that --config names. Raises ConfigurationError."""
    try:
        fields = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"emulator: --config is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ConfigurationError('emulator: --config wants a JSON object, such as {"price": 0.001}')
    return fields


async def serve(host: str, port: int, config: EmulatorConfig) -> None:
    """Serve until SIGINT or SIGTERM."""
    server = Emulator(config)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        url = await server.start(host, port)
    except OSError as error:
        reason, is_host = refusal(error)
        fix = "--host wants a name or address of this machine" if is_host else "try --port 0"
        raise StartError(f"emulator: {in_url(host)}:{port} cannot be opened ({reason}); {fix}") from None
    try:
        say(f"url={url}")
        await ended.wait()
    finally:
        await server.close()
