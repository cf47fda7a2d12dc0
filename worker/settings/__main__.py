"""`python -m worker.settings` prints the table of settings; with a file's name it renews the table in that file."""

import sys
from collections.abc import Sequence
from pathlib import Path

from worker.settings.table import markdown, updated


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 2 if the file cannot take the table."""
    if not arguments:
        sys.stdout.write(markdown())
        return 0
    path = Path(arguments[0])
    try:
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
