"""Standard output, which may be a full disk or a pipe that nobody reads any more."""

import os
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
        forget_stdout()
        raise typer.Exit(1) from None
    except OSError as error:
        forget_stdout()
        raise WorkerError(f"cannot write to stdout: {error.strerror or error}") from None


def forget_stdout() -> None:
    """Send what is still in the buffer nowhere: the interpreter writes it when it ends, and would complain once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def say(line: str) -> None:
    """A line to stdout. Raises as `writing`."""
    with writing():
        typer.echo(line)
