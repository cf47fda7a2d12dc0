"""Text from a topic on a terminal: it may hold anything, and must not do anything."""

from datetime import UTC, datetime


def printable(text: str, most: int | None = None) -> str:
    """The text in one line, with escapes in place of control characters, of what turns the direction of writing, and of what has
    no glyph; cut after `most` characters."""
    cut = text if most is None or len(text) <= most else text[: max(0, most - 1)] + "…"
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in cut)


def printable_bytes(raw: bytes | None, most: int | None = None) -> str:
    """UTF-8 as text, anything else as `hex:00ff`, none as `-`."""
    if raw is None:
        return "-"
    if most is not None:
        raw = raw[: 4 * most]
    try:
        return printable(raw.decode(), most)
    except UnicodeDecodeError:
        return printable(f"hex:{raw.hex()}", most)


def when(epoch: float) -> str:
    """A time in UTC, to the second."""
    try:
        return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"epoch {epoch:.0f} s"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii", "replace")
