"""The command `run` and no other: a worker that starts loads neither emulator nor demo, a fifth of all its imports."""

from worker.commands import run
from worker.commands.frame import frame

application = frame()
application.command()(run.run)
