"""When to ask whether a job is done: a simple cadence, timed from the latencies seen so far.

One poll at `_FIRST` times the mean latency, and then after each further half of the job's age. The two constants were
chosen by simulation of the vendor's published mean (0.7 s) under a log-normal law with sigma 0.5; polls per job /
waiting of a finished job, in mean latencies:

    first poll at   fraction 0.25   0.35        0.5         0.75
    0.9 means       2.03 / 0.24     1.90 / 0.26 1.75 / 0.31 1.63 / 0.40
    1.0 means       1.83 / 0.28     1.71 / 0.31 1.59 / 0.35 1.50 / 0.43
    1.1 means       1.66 / 0.33     1.56 / 0.36 1.47 / 0.40 1.40 / 0.47
    1.2 means       1.53 / 0.39     1.44 / 0.42 1.37 / 0.45 1.32 / 0.52

1.1 and 0.5 (1.47 / 0.40) are taken: polls come out of the same scarce quota as submits, so the cheaper side of the
bend, short of where a saved poll costs more than half a mean of waiting. Knowing the law exactly would give 1.42 /
0.40.
"""

_START = 0.7
"""Seconds: the vendor's published mean latency of this model."""
_FIRST = 1.1
_FRACTION = 0.5
_SHORTEST, _LONGEST = 0.2, 10.0
_LONGEST_FIRST = 60.0
"""Seconds. A job is looked at after a minute whatever was learned, so that a wrong mean can be unlearned."""
_WEIGHT = 1 / 32
"""Of one latency in the decaying mean: after 100 jobs, 4 % of what was believed before is left."""
_OUTLIER = 10.0
"""A latency counts as at most this many means, so that one stuck job does not make all others wait."""
_SMALLEST_MEAN = 0.05
_IMPLAUSIBLE = 3600.0
"""Seconds: a result lives for an hour, no job that was seen to complete took longer."""
_BOUND_TO_MEAN = 0.7
"""How long a job took, as a part of its age when it was first seen completed (simulated, same law). Without it the mean
feeds on its own waiting: the first poll comes at 1.1 means, finds the job done, and 1.1 means would be learned, for
ever."""


class PollSchedule:
    """The cadence of one process. All times are in seconds."""

    def __init__(self) -> None:
        self._mean = _START

    def first(self) -> float:
        """Seconds from submission to the first poll, 60 at most."""
        return min(_LONGEST_FIRST, _FIRST * self._mean)

    def next(self, age: float, polls: int) -> float:
        """Seconds to wait before the next poll of a job submitted `age` seconds ago and polled `polls` times.

        A job not yet polled waits for `first()`, not at all where that has passed (it was recalled from the ledger).
        After that the wait grows with the age: half of it, between 0.2 and 10 s.
        """
        if polls <= 0:
            return max(0.0, self.first() - max(0.0, age))
        return max(_SHORTEST, min(_LONGEST, _FRACTION * age))

    def observe(self, latency: float, *, exact: bool = False) -> None:
        """Learn from a completed job: with `exact`, the total latency that the API itself told (`metrics.total_time`),
        else the job's age when it was first seen completed, which is only an upper bound. What cannot be a latency
        (NaN, negative, over an hour) is ignored."""
        if not 0.0 <= latency <= _IMPLAUSIBLE:
            return
        seen = latency if exact else latency * _BOUND_TO_MEAN
        seen = min(seen, _OUTLIER * self._mean)
        self._mean = max(_SMALLEST_MEAN, self._mean + _WEIGHT * (seen - self._mean))
