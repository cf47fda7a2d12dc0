"""Times as people and other programs read them."""

from datetime import UTC, datetime


def rfc3339(epoch: float) -> str:
    """A time in UTC with milliseconds; `epoch` in seconds since 1970."""
    try:
        return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"epoch {epoch:.0f} s"
