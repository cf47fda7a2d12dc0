"""Reading `x-rate-limit-reset-at-utc`, the one published header of a 429. Its format is not published."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FARTHEST = 300.0
"""Seconds. A reset farther off is not believed: the limits are per minute."""
_EPOCH = re.compile(r"[0-9]{10}([0-9]{3})?(\.[0-9]*)?")
"""Ten digits are seconds (the years 2001 to 2286), thirteen are milliseconds; any other number is no time of today."""


def reset_at(header: str, server_date: str | None, now_epoch: float) -> float | None:
    """The time at which the rate limit opens again, in seconds since the epoch by the local clock whose time is
    `now_epoch`.

    `header` may be epoch seconds, epoch milliseconds, ISO 8601 (UTC where it names no zone) or an HTTP date. It is read
    against `server_date`, the `Date` header of the same answer, so that a wrong local clock does no harm; without a
    readable `Date`, against `now_epoch`. A `Date` has its fraction of a second cut off, so the answer is up to a second
    late, never early. At most 300 s ahead; may lie in the past. None for anything else; never raises.
    """
    reset = _parse(header)
    if reset is None:
        return None
    date = None if server_date is None else _http_date(server_date)
    return now_epoch + min(_FARTHEST, reset - (now_epoch if date is None else date))


def _parse(text: str) -> float | None:
    text = text.strip()
    number = _EPOCH.fullmatch(text)
    if number is not None:
        return float(text) / (1000.0 if number[1] else 1.0)
    if text.isdigit():
        return None
    iso = _iso(text.removesuffix(" UTC"))
    return _http_date(text) if iso is None else iso


def _iso(text: str) -> float | None:
    try:
        return _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _http_date(text: str) -> float | None:
    try:
        return _utc(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError):
        return None


def _utc(moment: datetime) -> float:
    """Seconds since the epoch; a time without a zone is UTC."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
