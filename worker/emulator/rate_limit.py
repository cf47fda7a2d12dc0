"""The account's request limit: a fixed window or a token bucket. Time comes in as an argument, in seconds."""

import math
from datetime import UTC, datetime
from typing import Protocol

from worker.emulator.config import EmulatorConfig


class RateLimit(Protocol):
    """Counts requests against a limit."""

    def refused_until(self, now: float) -> float | None:
        """Count one request. None: let it pass; else when the next one can pass."""


class FixedWindow:
    """`limit` requests in each window; a window opens with the first request after the last one closed."""

    def __init__(self, limit: int, window: float) -> None:
        self._limit = limit
        self._window = window
        self._closes_at = -math.inf
        self._count = 0

    def refused_until(self, now: float) -> float | None:
        """None while the window has room, else when it closes."""
        if now >= self._closes_at:
            self._closes_at = now + self._window
            self._count = 0
        if self._count >= self._limit:
            return self._closes_at
        self._count += 1
        return None


class TokenBucket:
    """`limit` tokens at most, `limit` new ones evenly over each window; starts full."""

    def __init__(self, limit: int, window: float) -> None:
        self._limit = float(limit)
        self._per_second = limit / window
        self._tokens = self._limit
        self._seen_at: float | None = None
        self._next_at = math.inf

    def refused_until(self, now: float) -> float | None:
        """None while there is a token, else when there will be one."""
        if self._seen_at is not None:
            self._tokens = min(self._limit, self._tokens + (now - self._seen_at) * self._per_second)
        self._seen_at = now
        # A client that comes back exactly at the time it was told must not miss it by a rounding error.
        if self._tokens >= 1.0 or now >= self._next_at:
            self._tokens = max(0.0, self._tokens - 1.0)
            self._next_at = math.inf
            return None
        self._next_at = now + (1.0 - self._tokens) / self._per_second
        return self._next_at


def rate_limit_of(config: EmulatorConfig) -> RateLimit | None:
    """The limit that the configuration describes, unused; None for no limit."""
    if config.requests_per_minute == 0:
        return None
    window = config.rate_limit_window_seconds
    limit = max(1, int(config.requests_per_minute * window / 60.0))
    return FixedWindow(limit, window) if config.rate_limit == "fixed" else TokenBucket(limit, window)


def reset_header(style: str, utc: float) -> tuple[tuple[str, str], ...]:
    """`x-rate-limit-reset-at-utc` for the Unix time `utc`, rounded up so that it is never early; empty for `none`."""
    if style == "none":
        return ()
    if style == "epoch_milliseconds":
        value = str(math.ceil(utc * 1000.0))
    elif style == "iso":
        value = datetime.fromtimestamp(math.ceil(utc), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    else:
        value = str(math.ceil(utc))
    return (("x-rate-limit-reset-at-utc", value),)
