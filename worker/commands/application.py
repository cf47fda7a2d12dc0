"""All commands of the CLI, as one application."""

import typer

from worker.commands import check, embed, emulator, run, topics
from worker.commands.dead_letters import command as dead_letters
from worker.commands.demo import command as demo
from worker.commands.pending import command as pending
from worker.commands.replay import command as replay

application = typer.Typer(
    name="embedding-worker",
    help="Text events in from Kafka, Segmind embeddings out to Kafka; no event is lost.",
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
application.command()(pending.pending)
application.add_typer(topics.application, name="topics")
application.add_typer(dead_letters.application, name="dead-letters")
application.command()(replay.replay)
application.command()(emulator.emulator)
