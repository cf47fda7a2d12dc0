"""What a seed stands for: settings, input, weather and faults, all drawn before the run begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tests.simulation.api import Weather
from tests.simulation.workload import Event, contested, drawn
from worker.settings import Settings, load

EPOCH = 1_800_000_000.0
"""Seconds since 1970 at the start of every run, by a right clock."""

SLOTS = ("A", "B", "C")
"""The machines that workers run on."""


CONTESTED = 0.12
"""The part of the seeds in which partitions change hands all the time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at a virtual time. `slot`: the machine that it happens to; `seconds`: for how long, or how late;
    `number`: what else it needs."""

    at: float
    kind: str
    slot: str = ""
    seconds: float = 0.0
    number: int = 0

    def __str__(self) -> str:
        where = f" of {self.slot}" if self.slot else ""
        long = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind}{where}{long}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run to be. `lasts`: seconds until the faults end; `dies_at`: the callback after which a process of a slot is killed, one
    number for each of its incarnations (none: no such crash); `after_posts`: by the number of a POST what happens to the process
    that makes it, `at` seconds later."""

    seed: int
    partitions: int
    workers: int
    settings: Settings
    environment: Mapping[str, str]
    events: Sequence[Event]
    weather: Weather
    faults: Sequence[Fault]
    lasts: float
    metadata_limit: int
    limit_told: bool
    batch_bytes: int
    session_timeout: float
    broker_latency: float
    jitter: float
    commit_faults: float
    last_commit_faults: float
    marker_delay: float
    dies_at: Mapping[str, Sequence[int]] = field(default_factory=dict)
    after_posts: Mapping[int, Fault] = field(default_factory=dict)

    @property
    def strict(self) -> bool:
        """Whether nothing may ever be paid twice."""
        return self.settings.guarantees.on_unknown_submit == "dead_letter"

    @property
    def ample_metadata(self) -> bool:
        """Whether the broker takes as much metadata as the worker believes at first."""
        return self.limit_told or self.metadata_limit >= 4096

    @property
    def exactly_once(self) -> bool:
        """Whether outcomes and offsets are in one transaction."""
        return self.settings.guarantees.delivery == "exactly_once"


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    random = Random(seed)
    partitions, workers = random.randint(1, 4), random.randint(2, 3)
    lasts = random.choice((8.0, 15.0, 30.0))
    environment = _settings(random)
    session_timeout = random.choice((6.0, 10.0, 45.0))
    metadata_limit = random.choice((4096, 4096, 4096, 4096, 512, 256))
    strict = (
        environment["WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT"] == "dead_letter"
    )  # intents are never left out of a ledger
    scenario = Scenario(
        seed=seed,
        partitions=partitions,
        workers=workers,
        settings=load(environment),
        environment=environment,
        # without transactions a newer outcome of the same key, in the same batch, is out when an older one is refused
        events=drawn(
            random,
            partitions=partitions,
            lasts=lasts,
            refused=environment["WORKER_GUARANTEES__DELIVERY"] == "exactly_once",
        ),
        weather=_weather(random),
        faults=_faults(random, workers, lasts, session_timeout),
        lasts=lasts,
        batch_bytes=random.choice((8_000_000, 8_000_000, 600)),
        metadata_limit=metadata_limit,
        limit_told=random.random() < 0.4 or (strict and metadata_limit < 512),
        session_timeout=session_timeout,
        broker_latency=random.choice((0.005, 0.02, 0.1, 0.25)),
        jitter=random.choice((0.0, 0.0, 0.05)),
        commit_faults=random.choice((0.0, 0.0, 0.05, 0.2)),
        last_commit_faults=random.choice((0.0, 0.8)),
        marker_delay=random.choice((0.0, 0.05, 1.0)),
        dies_at=_crashes(random),
        after_posts=_after_posts(random, session_timeout),
    )
    return _contested(scenario, random) if random.random() < CONTESTED else scenario


def _contested(scenario: Scenario, random: Random) -> Scenario:
    """Partitions change hands all the time while leases are long: who POSTs although another one has taken over?"""
    limits = {"WORKER_LIMITS__IN_FLIGHT": "256", "WORKER_LIMITS__IN_FLIGHT_PER_PARTITION": "120"}
    environment = {**scenario.environment, **limits, "WORKER_PACE__REQUESTS_PER_MINUTE": "60000"}
    moves = random.choices(("expel", "expel and pass on"), k=6)
    return replace(
        scenario,
        settings=load(environment),
        environment=environment,
        events=contested(random, partitions=scenario.partitions, lasts=30.0),
        weather=Weather(latency=0.05, slowness=0.3),
        faults=(),
        lasts=30.0,
        session_timeout=45.0,
        broker_latency=random.choice((0.1, 0.25)),
        marker_delay=0.0,
        commit_faults=0.0,
        last_commit_faults=0.0,
        dies_at={},
        after_posts={
            random.randrange(4, 60): Fault(0.5 * random.random(), move, seconds=random.random()) for move in moves
        },
    )


def _settings(random: Random) -> dict[str, str]:
    ordering = random.choice(("key", "key", "key", "none"))
    return {
        "WORKER_PACE__REQUESTS_PER_MINUTE": random.choice(("60000", "60000", "600")),
        "WORKER_GUARANTEES__DELIVERY": "at_least_once" if random.random() < 0.12 else "exactly_once",
        "WORKER_GUARANTEES__ORDERING": ordering,
        "WORKER_GUARANTEES__SUPERSEDE": "true" if ordering == "key" and random.random() < 0.25 else "false",
        "WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT": random.choice(("resubmit", "resubmit", "dead_letter")),
        "WORKER_GUARANTEES__DRAIN": random.choice(("leave", "leave", "wait")),
        "WORKER_LIMITS__IN_FLIGHT": random.choice(("2", "8", "256")),
        "WORKER_LIMITS__IN_FLIGHT_PER_PARTITION": random.choice(("1", "3", "8", "120")),
        "WORKER_LIMITS__OFFSET_SPAN": random.choice(("3", "10", "1000")),
        "WORKER_LIMITS__COMMIT_INTERVAL": random.choice(("0.1", "0.1", "0.5")),
    }


def _weather(random: Random) -> Weather:
    rough = random.random() < 0.5
    return Weather(
        latency=random.choice((0.02, 0.1, 0.1, 1.5)),
        slowness=random.choice((0.3, 1.0, 1.0, 4.0)),
        hanging_jobs=random.choice((0.0, 0.0, 0.1)),
        answers_lost=random.choice((0.0, 0.02, 0.1)) if rough else 0.0,
        requests_lost=random.choice((0.0, 0.02, 0.1)) if rough else 0.0,
        errors=random.choice((0.0, 0.02, 0.1)) if rough else 0.0,
        garbage=random.choice((0.0, 0.02)) if rough else 0.0,
        outage_status=random.choice((None, 502, 503)),
        storm_tells_reset=random.random() < 0.7,
        result_of_running=random.choice((None, None, 400)),
        uuids=random.random() < 0.8,
    )


def _crashes(random: Random) -> dict[str, Sequence[int]]:
    """Some processes die after so many callbacks: a number drawn evenly over the magnitudes, as most things happen early."""
    if random.random() < 0.4:
        return {}
    return {
        slot: [int(2 ** (4 + 8 * random.random())) for _ in range(random.choice((1, 1, 2, 4)))]
        for slot in SLOTS
        if random.random() < 0.6
    }


def _after_posts(random: Random, session_timeout: float) -> dict[int, Fault]:
    """Where it hurts most: right after a POST has started."""
    if random.random() < 0.3:
        return {}
    weights = {"expel": 6, "expel and pass on": 3, "freeze": 2, "kill": 2, "stop": 8, "rebalance": 3}
    kinds = random.choices([*weights], [*weights.values()], k=random.choice((1, 2, 4)))
    return {
        random.randrange(24): replace(
            _fault(random, kind, 1, 1.0, session_timeout), at=random.choice((0.01, 0.1, 1.0)) * random.random()
        )
        for kind in kinds
    }


OF_ONE = frozenset({"kill", "freeze", "stop", "leave", "expel", "expel and pass on", "clock step"})
"""The faults that happen to one machine."""

RATES: Mapping[str, float] = {
    "kill": 0.6,
    "freeze": 0.8,
    "stop": 0.6,
    "rolling restart": 0.15,
    "join": 0.3,
    "leave": 0.3,
    "rebalance": 0.5,
    "expel": 0.9,
    "broker outage": 0.3,
    "API outage": 0.3,
    "429 storm": 0.3,
    "clock step": 0.3,
    "all down": 0.12,
}
"""Of each kind, how many a run has on average, at most three."""


def _faults(random: Random, workers: int, lasts: float, session_timeout: float) -> Sequence[Fault]:
    calm = random.random() < 0.08
    faults = [
        _fault(random, kind, workers, lasts, session_timeout)
        for kind, rate in RATES.items()
        for _ in range(3)
        if not calm and random.random() < rate / 3
    ]
    return sorted(faults, key=lambda fault: fault.at)


def _fault(random: Random, kind: str, workers: int, lasts: float, session_timeout: float) -> Fault:
    at, slot = lasts * random.random(), random.choice(SLOTS[:workers])
    seconds: tuple[float, ...] = {
        "kill": (0.1, 2.0, 15.0),
        "stop": (0.1, 2.0, 15.0),
        "leave": (5.0, 20.0),
        "broker outage": (0.5, 3.0, 12.0),
        "API outage": (1.0, 5.0, 20.0),
        "429 storm": (1.0, 5.0, 20.0),
        "all down": (30.0, 3700.0),
    }.get(kind, (0.0,))
    long = random.choice(seconds)
    if kind == "freeze":
        expelled = random.random() < 0.75
        long = session_timeout * (1.05 + random.random() if expelled else 0.9 * random.random())
    if kind == "expel and pass on":
        long = random.random()
    number = random.choice((-120, -30, 30, 120)) if kind == "clock step" else random.randint(0, 1)
    return Fault(at, kind, slot if kind in OF_ONE else "", long, number)
