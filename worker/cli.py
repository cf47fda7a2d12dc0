"""The command line. Exit codes: 0 done, 1 something went wrong, 2 a setting is wrong, 3 the surroundings are not ready, 4 ended
before it was done (a replay that can be resumed; `run --until-end` before its end), 130 Ctrl-C."""

import sys

from worker.errors import ConfigurationError, EndNotReached, ReplayInterrupted, StartError, WorkerError

INTERRUPTED = 130


def main() -> None:
    """Run a command and end the process with its exit code."""
    try:
        # half a second, in which Ctrl-C must be no traceback either
        from worker.commands.application import application  # noqa: PLC0415

        application()
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


def end(error: WorkerError, code: int) -> None:
    """Say what went wrong, a line per problem, and leave."""
    for line in getattr(error, "problems", (str(error),)):
        sys.stderr.write(f"error: {line}\n")
    raise SystemExit(code)
