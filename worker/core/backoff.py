"""How long to wait before the next attempt."""

_LARGEST_EXPONENT = 62
"""Keeps the power finite whatever the attempt; long before it the cap has taken over."""


def delay(attempt: int, unit: float, *, base: float = 0.5, cap: float = 60.0) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1; less counts as 1). `unit` is random in [0, 1).

        ceiling = min(cap, base * 2 ** (attempt - 1))
        floor   = min(cap, base) / 2
        delay   = floor + unit * (ceiling - floor)

    The "full jitter" of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), random(0, ceiling), with a floor:
    clients are spread over nearly the whole interval, and none comes back at once.
    """
    ceiling = min(cap, base * 2.0 ** min(max(attempt - 1, 0), _LARGEST_EXPONENT))
    floor = min(cap, base) / 2
    return floor + unit * (ceiling - floor)


def decorrelated(before: float, unit: float, *, base: float, cap: float) -> float:
    """Seconds to wait after a wait of `before` seconds that was in vain. `unit` is random in [0, 1).

        delay = min(cap, base + unit * (3 * before - base))

    "Decorrelated jitter" of the same article: it grows by a half on average, and callers that failed together do not come back
    together.
    """
    return min(cap, base + unit * max(0.0, 3.0 * before - base))
