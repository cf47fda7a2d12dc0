"""The command line. Exit codes: 0 done, 1 something went wrong, 2 a setting is wrong, 3 the surroundings are not ready."""

import sys

import typer

from worker.commands import check, embed, emulator, run, topics
from worker.commands.demo import command as demo
from worker.errors import ConfigurationError, StartError, WorkerError

application = typer.Typer(
    name="embedding-worker",
    help="Text events in from Kafka, Segmind embeddings out: never lost, never paid twice for what was recorded.",
    epilog="Start with: embedding-worker demo. Settings: WORKER_* variables, --config FILE.toml or --set NAME=VALUE.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
application.command()(run.run)
application.command()(demo.demo)
application.command()(embed.embed)
application.command()(check.check)
application.add_typer(topics.application, name="topics")
application.command()(emulator.emulator)


def main() -> None:
    """Run a command and end the process with its exit code."""
    try:
        application()
    except ConfigurationError as error:
        end(error, 2)
    except StartError as error:
        end(error, 3)
    except WorkerError as error:
        end(error, 1)


def end(error: WorkerError, code: int) -> None:
    """Say what went wrong, a line per problem, and leave."""
    for line in getattr(error, "problems", (str(error),)):
        sys.stderr.write(f"error: {line}\n")
    raise SystemExit(code)
