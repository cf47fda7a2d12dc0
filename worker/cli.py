"""The command line. Exit codes: 0 done, 1 something went wrong, 2 a setting is wrong, 3 the surroundings are not ready, 4 ended
before it was done (a replay that can be resumed; `run --until-end` before its end), 130 Ctrl-C."""

import os
import sys
from collections.abc import Callable

from worker.errors import ConfigurationError, EndNotReached, ReplayInterrupted, StartError, WorkerError

INTERRUPTED = 130
STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""The standard streams with their modes, in the order of their file descriptors."""


def main() -> None:
    """Run a command and end the process with its exit code."""
    open_closed_streams()
    try:
        # half a second, in which Ctrl-C must be no traceback either
        load()()
    except ConfigurationError as error:
        end(error, 2)
    except StartError as error:
        end(error, 3)
    except (ReplayInterrupted, EndNotReached) as error:
        end(error, 4)
    except WorkerError as error:
        end(error, 1)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def load() -> Callable[[], None]:
    """The application that the arguments ask for."""
    if sys.argv[1:2] == ["run"]:
        from worker.commands.run_alone import application as run  # noqa: PLC0415

        return run
    from worker.commands.application import application  # noqa: PLC0415

    return application


def open_closed_streams() -> None:
    """Nothing is read from, and nowhere written to, a standard stream that was closed (`2>&-`). Else its file descriptor would be
    the next socket's, and Python's stream is None."""
    for descriptor, (name, mode) in enumerate(STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            # the lowest that is free, as those below are open by now
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - as long as the process


def end(error: WorkerError, code: int) -> None:
    """Say what went wrong, a line per problem, and leave."""
    for line in getattr(error, "problems", (str(error),)):
        sys.stderr.write(f"error: {line}\n")
    raise SystemExit(code)
