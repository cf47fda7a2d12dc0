"""All commands of the CLI, as one application."""

from worker.commands import check, embed, emulator, run, topics
from worker.commands.dead_letters import command as dead_letters
from worker.commands.demo import command as demo
from worker.commands.frame import frame
from worker.commands.pending import command as pending
from worker.commands.replay import command as replay

application = frame()
application.command()(run.run)
application.command()(demo.demo)
application.command()(embed.embed)
application.command()(check.check)
application.command()(pending.pending)
application.add_typer(topics.application, name="topics")
application.add_typer(dead_letters.application, name="dead-letters")
application.command()(replay.replay)
application.command()(emulator.emulator)
