"""Standard output, which may be a full disk or a pipe that nobody reads any more."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from worker.errors import WorkerError


@contextmanager
def writing() -> Iterator[None]:
    """Around whatever prints to stdout. Raises WorkerError where stdout takes nothing, and leaves quietly with exit code 1
    where its reader is gone (`| head`)."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except OSError as error:
        raise WorkerError(f"cannot write to stdout: {error.strerror or error}") from None


def say(line: str) -> None:
    """A line to stdout. Raises as `writing`."""
    with writing():
        typer.echo(line)
