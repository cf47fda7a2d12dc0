"""How long the partitions that a fault struck got nothing submitted. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.money import LAST_BYTES, Incident, Post
from tests.chaos.schedule import STORMS

_OWNED: Final = 5.0
"""Seconds before a fault in which a worker has POSTed for every partition that it owns."""


@dataclass(frozen=True, slots=True)
class Stall:
    """`partition` had no POST for `seconds`, from the fault on; the one of the victim's partitions that waited longest."""

    incident: Incident
    partition: int
    seconds: float


def stall(one: Incident, posts: Sequence[Post], partitions: Mapping[str, int]) -> Stall | None:
    """How long it took until the last of the victim's partitions (of all, for a broker) had its next POST; None where there were
    none, and for storms, which strike requests and not partitions. `posts` are in order of time; `partitions`: by text."""
    if one.kind in STORMS:
        return None
    struck = {
        partitions[post.text]
        for post in posts
        if one.began - _OWNED <= post.at <= one.began + LAST_BYTES and one.worker in {-1, post.worker}
    }
    resumed: dict[int, float] = {}
    for post in posts:
        if post.at > one.began + LAST_BYTES:
            resumed.setdefault(partitions[post.text], post.at)
    stalls = [Stall(one, where, resumed[where] - one.began) for where in struck if where in resumed]
    return max(stalls, key=lambda found: found.seconds, default=None)
