"""What the commands share: where settings come from, and how a coroutine is run."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from worker.errors import ConfigurationError
from worker.settings import API_KEY, API_KEY_FILE, SecretSource, Settings, load

Result = TypeVar("Result")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", help="Settings file; the environment and --set win over it."),
]
Flags = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, e.g. kafka.group_id=mine; wins over everything."),
]


def settings_from(config: Path | None, flags: list[str] | None) -> Settings:
    """The settings of this call. Raises ConfigurationError."""
    given = {}
    for flag in flags or []:
        name, separator, value = flag.partition("=")
        if not separator:
            # not shown: what has no name may be a secret as a whole
            raise ConfigurationError("--set: a flag without `=`: want NAME=VALUE, e.g. --set kafka.group_id=mine")
        given[name.strip()] = value
    return load(os.environ, config_file=config, flags=given)


def api_key_of(settings: Settings) -> SecretSource:
    """Where the API key comes from. Raises ConfigurationError if there is none."""
    if settings.api_key is None:
        raise ConfigurationError(f"{API_KEY} or {API_KEY_FILE} must be set: the API key, as Segmind's console shows it")
    return settings.api_key


def run_until_done(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the fastest event loop there is."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's, where it is to be had (not on Windows)."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop
    return new_event_loop
