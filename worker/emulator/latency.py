"""How long an emulated job takes, from acceptance to its end."""

import math
import random
from dataclasses import dataclass

_WANTED = "lognormal:mean=0.7,sigma=0.5, constant:0.2 or exponential:mean=0.7 (seconds)"


@dataclass(frozen=True, slots=True)
class LatencyLaw:
    """A distribution of total latencies in seconds; `mean` is the arithmetic mean for every kind."""

    kind: str
    mean: float
    sigma: float = 0.0

    def sample(self, rng: random.Random) -> float:
        """One total latency in seconds, never negative."""
        if self.mean == 0.0 or self.kind == "constant":
            return self.mean
        if self.kind == "exponential":
            return rng.expovariate(1.0 / self.mean)
        # E[lognormal(mu, sigma)] = exp(mu + sigma^2 / 2), so this mu makes `mean` the arithmetic mean.
        return rng.lognormvariate(math.log(self.mean) - self.sigma**2 / 2.0, self.sigma)


def parse_latency(text: str) -> LatencyLaw:
    """Read `lognormal:mean=M,sigma=S`, `constant:SECONDS` or `exponential:mean=M`.

    Raises ValueError with what is wanted.
    """
    kind, _, arguments = text.partition(":")
    try:
        if kind == "constant":
            return LatencyLaw(kind, _seconds(arguments))
        values = dict(part.split("=", 1) for part in arguments.split(","))
        if kind == "exponential" and values.keys() == {"mean"}:
            return LatencyLaw(kind, _seconds(values["mean"]))
        if kind == "lognormal" and values.keys() == {"mean", "sigma"}:
            sigma = _seconds(values["sigma"])
            if sigma <= 5.0:
                return LatencyLaw(kind, _seconds(values["mean"]), sigma)
    except ValueError:
        pass
    raise ValueError(f"not understood; write {_WANTED}")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1e6:
        raise ValueError(text)
    return value
