"""How fast the API may be asked: one budget for submits and polls, in requests per minute.

A token bucket behind a gate. The bucket holds one second's worth of requests, at least one: with a limit of L a minute,
a bucket of C lets at most L + C requests through in any 60 seconds, and the account's limit is counted in fixed
windows, so a larger bucket would be a sure 429. A smaller one would lose budget whenever the event loop wakes a little
late.

A 429 shuts the gate and halves the learned limit. Each clean minute in which the budget was really used doubles it
again, up to the configured limit where there is one. An idle minute proves nothing: had it counted, a quiet night would
raise the limit without end, and the morning would start with a storm of 429s.
"""

from math import inf

_UNKNOWN_LIMIT = 60.0
"""Requests a minute to start from where no limit is configured."""
_LOWEST_LIMIT = 1.0
_MINUTE = 60.0
_USED = 0.5
"""The part of a minute's budget that must have been answered to prove it: the learned limit is thus at most four times
what a clean minute has carried."""
_LONGEST_SHUT = 300.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_SHORT_WAIT = 0.001
"""Seconds: the least worth waiting, so that rounding never makes a caller turn without time passing."""
_LONGEST_WAIT = 1.0
"""Seconds: a token may be an hour away for a replica that owns next to nothing, yet its share can grow at any time."""
_ROUNDING = 1e-9
_FETCH_MINUTES = 15.0
"""Results live for an hour: what is in flight must be fetched well within it, slowdowns included."""


class Pace:
    """The budget of one replica. All times are monotonic seconds, given by the caller, and never go back.

    Who asks first gets the token: the caller asks for polls before submits, because polls free work.
    """

    def __init__(self, now: float, requests_per_minute: float | None, share: float = 1.0) -> None:
        """`requests_per_minute` is the account's limit, above 0 (None: not known); `share` is the part of it that
        belongs to this replica, 0 to 1. The bucket starts with a single token: a worker that crashes in a loop gets no
        bursts."""
        self._configured = inf if requests_per_minute is None else requests_per_minute
        self._limit = _UNKNOWN_LIMIT if requests_per_minute is None else requests_per_minute
        self._share = _clamped(share)
        self._tokens = 1.0
        self._filled_at = now
        self._opens_at = -inf
        self._pauses = 0
        self._period_start = now
        self._period_answers = 0

    @property
    def requests_per_minute(self) -> float:
        """The budget that holds now: the learned limit times the share."""
        return self._limit * self._share

    def take(self, now: float) -> float:
        """0.0: granted, a token is taken. Otherwise the seconds until it is worth asking again: while the gate is shut,
        until it opens; else until there is a token, but 1 s at most."""
        if now < self._opens_at:
            return max(_SHORT_WAIT, self._opens_at - now)
        self._fill(now)
        if self._tokens >= 1.0 - _ROUNDING:
            self._tokens = max(0.0, self._tokens - 1.0)
            return 0.0
        rate = self.requests_per_minute / _MINUTE
        missing = 1.0 - self._tokens
        return max(_SHORT_WAIT, missing / rate) if rate * _LONGEST_WAIT > missing else _LONGEST_WAIT

    def throttled(self, now: float, reset_in: float | None, unit: float, started: float) -> float:
        """A 429 came for a request started at `started`; returns the seconds for which the gate is shut from now on.

        `reset_in`: seconds until the API opens again, as it says itself (believed up to 300; past or zero: a short
        pause); None: not said, an exponential pause of 1 s doubling to 60 s. `unit`, 0 to 1, jitters both pauses
        between half and all of their length. All 429s of requests started before the gate opened again belong to one
        burst: the first one lowers the limit, the others can only shut the gate for longer, where the API says so.
        """
        if started < self._opens_at:
            if reset_in is not None and reset_in > 0.0:
                self._shut(now, min(_LONGEST_SHUT, reset_in))
            return max(0.0, self._opens_at - now)
        self._fill(now)
        self._limit = max(self._limit / 2, min(_LOWEST_LIMIT, self._limit))
        if reset_in is None:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._pauses, 10)) * _jitter(unit)
            self._pauses += 1
        elif reset_in > 0.0:
            pause = min(_LONGEST_SHUT, reset_in)
        else:
            pause = _FIRST_PAUSE * _jitter(unit)
        self._shut(now, pause)
        return self._opens_at - now

    def answered(self, now: float) -> None:
        """An answer other than 429 came: ends the series of pauses and, after a clean minute, may raise the limit.

        While the gate is shut it says nothing: the request was granted before the 429.
        """
        if now < self._opens_at:
            return
        self._pauses = 0
        self._period_answers += 1
        elapsed = now - self._period_start
        if elapsed < _MINUTE:
            return
        self._fill(now)
        if self._period_answers >= _USED * self.requests_per_minute * elapsed / _MINUTE:
            self._limit = min(self._configured, self._limit * 2)
        self._new_period(now)

    def set_share(self, now: float, share: float) -> None:
        """The partitions owned have changed: `share` is owned / all partitions of the input topics, 0 to 1."""
        self._fill(now)
        self._share = _clamped(share)
        self._new_period(max(now, self._opens_at))

    def in_flight_limit(self, requests_per_job: float) -> int:
        """How many jobs the pace can fetch in 15 minutes, at least 1, where each takes `requests_per_job` more."""
        return max(1, int(_FETCH_MINUTES * self.requests_per_minute / max(1.0, requests_per_job)))

    def _shut(self, now: float, seconds: float) -> None:
        self._opens_at = max(self._opens_at, now + seconds)
        self._new_period(self._opens_at)

    def _new_period(self, start: float) -> None:
        self._period_start = start
        self._period_answers = 0

    def _fill(self, now: float) -> None:
        per_second = self.requests_per_minute / _MINUTE
        gathered = self._tokens + max(0.0, now - self._filled_at) * per_second
        self._tokens = min(gathered, max(1.0, per_second))
        self._filled_at = max(now, self._filled_at)


def _jitter(unit: float) -> float:
    return 0.5 + 0.5 * _clamped(unit)


def _clamped(value: float) -> float:
    return min(1.0, max(0.0, value))
