"""Which bills were repeated, and which fault each of them is owed to. Pure.

The ground: `POST`s as the emulator accepted them, and the faults as they were injected, both by CLOCK_MONOTONIC of one machine.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from tests.chaos.schedule import OUTAGES, UNCLEAN, Kind

IN_FLIGHT: Final = 0.6
"""Seconds that a POST and the commit of its request_id may take on top of the lease."""
LAST_BYTES: Final = 2.0
"""Seconds in which a busy emulator may still take what a worker had sent before it was killed or stopped: below the shortest
stop."""
WAKING: Final = 0.5
"""Seconds after it wakes in which a stopped worker's requests may still arrive that it had begun before: the lease was checked,
the bytes were not yet written. What it begins when it is awake is not excused."""
RECOVERY: Final = 10.0
"""Seconds after a broker is back in which its clients may still be without it: librdkafka's longest reconnect backoff."""


@dataclass(frozen=True, slots=True)
class Post:
    """An accepted submit: by which worker (number), of which text (SHA-256 in hex), whether its job is billed when done, and
    whether its answer was lost on purpose."""

    at: float
    worker: int
    text: str
    billed: bool
    answer_lost: bool


@dataclass(frozen=True, slots=True)
class Incident:
    """What was done, from `began` to `ended`; `worker`: to whom (-1: to nobody in particular)."""

    kind: Kind
    worker: int
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Repeat:
    """A text that was paid again: `second` is the bill too many."""

    first: Post
    second: Post


@dataclass(slots=True)
class Account:
    """`by_incident`: repeated bills; `exposed`: POSTs that the incident could have made repeated, which is its bound;
    `ages`: seconds from the repeated POST to its incident; `unowed`: repeats that no fault excuses."""

    by_incident: Counter[Incident] = field(default_factory=Counter)
    exposed: dict[Incident, int] = field(default_factory=dict)
    ages: list[float] = field(default_factory=list)
    answers_lost: int = 0
    lost_repeated: int = 0
    unowed: list[Repeat] = field(default_factory=list)

    @property
    def repeated(self) -> int:
        """All repeated bills."""
        return self.by_incident.total() + self.lost_repeated + len(self.unowed)

    @property
    def bound(self) -> int:
        """How many repeated bills the incidents and lost answers could have caused at most."""
        return sum(self.exposed.values()) + self.answers_lost


def repeats(posts: Iterable[Post]) -> list[Repeat]:
    """Every bill beyond the first of its text, with the one before it."""
    by_text: defaultdict[str, list[Post]] = defaultdict(list)
    for post in posts:
        if post.billed:
            by_text[post.text].append(post)
    return [Repeat(first, second) for same in by_text.values() for first, second in pairwise(same)]


def account(
    posts: Sequence[Post],
    incidents: Sequence[Incident],
    lease_cap: float,
    leases: Mapping[int, float] | None = None,
    session_timeout: float = math.inf,
) -> Account:
    """Whose fault each repeated bill is. `leases`: the longest effective one of each worker in seconds, where that is known to be
    shorter than the cap. `session_timeout`: an outage of the brokers that lasts longer takes every worker's partitions from it.
    """
    unclean = [one for one in incidents if one.kind in UNCLEAN or expels_all(one, session_timeout)]
    known = leases or {}
    starts = {one: exposed_since(one, incidents, min(lease_cap, known.get(one.worker, lease_cap))) for one in unclean}
    found = Account(answers_lost=sum(post.billed and post.answer_lost for post in posts))

    def exposed(one: Incident, post: Post) -> bool:
        if one.kind in OUTAGES:
            return starts[one] <= post.at <= one.ended
        return one.worker == post.worker and starts[one] <= post.at <= one.began + LAST_BYTES

    def in_flight(one: Incident, post: Post) -> bool:
        return one.kind is Kind.ZOMBIE and one.worker == post.worker and 0.0 <= post.at - one.ended <= WAKING

    for one in unclean:
        found.exposed[one] = sum(post.billed and (exposed(one, post) or in_flight(one, post)) for post in posts)
    for repeat in repeats(posts):
        first = repeat.first
        owed = next((one for one in unclean if exposed(one, first) or in_flight(one, repeat.second)), None)
        if owed is not None and repeat.second.at >= owed.began:
            found.by_incident[owed] += 1
            found.ages.append(owed.began - first.at)
        elif first.answer_lost:
            found.lost_repeated += 1
        else:
            found.unowed.append(repeat)
    return found


def expels_all(one: Incident, session_timeout: float) -> bool:
    """Whether the brokers were away for so long that the group takes every member for dead: all partitions are taken over without
    a hand-over, and what was POSTed under the last lease and is not on record is repeated."""
    return one.kind in OUTAGES and one.ended - one.began >= session_timeout


def exposed_since(one: Incident, incidents: Sequence[Incident], lease: float) -> float:
    """From when on the victim's POSTs may have been unrecorded: one lease before the fault; where no broker took commits at that
    time, one lease before that began."""
    reach = one.began - lease - IN_FLIGHT
    outages = [other for other in incidents if other.kind in OUTAGES and other is not one]
    for outage in sorted(outages, key=lambda other: -other.began):
        if outage.began <= one.began and reach <= outage.ended + RECOVERY:
            reach = min(reach, outage.began - lease - IN_FLIGHT)
    return reach
