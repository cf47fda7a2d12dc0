"""The two runs: chaos, and a rolling restart. Each has topics, a group and an emulator of its own."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from confluent_kafka import KafkaException

from tests.chaos.feeder import Feeder
from tests.chaos.fleet import Fleet
from tests.chaos.injector import Injector
from tests.chaos.money import Account, Incident, Post, account
from tests.chaos.outcomes import Outcomes, compare
from tests.chaos.schedule import Kind, Plan, schedule
from tests.chaos.workload import events
from tests.integration.events import Event, Place, sha256
from tests.integration.setup import Setup
from tests.kafka.backend import Broker

PARTITIONS: Final = 6
WORKERS: Final = 3
LATENCY: Final = "lognormal:mean=1.2,sigma=0.6"

_SETTLE_SECONDS: Final = 400.0
"""It takes five minutes until several events that are refused alike are blamed, where nothing succeeds behind them."""
_PAUSE: Final = 0.25

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run has shown. `bills`: by the SHA-256 of the text, as the emulator counts them; `unexpected`: processes that ended
    unbidden and the like; `left`: records that were never committed; `seconds`: of wall time."""

    name: str
    placed: Mapping[Place, Event]
    outcomes: Outcomes
    account: Account
    incidents: Sequence[Incident]
    posts: Sequence[Post]
    bills: Mapping[str, int]
    idle: int
    unexpected: Sequence[str]
    left: int
    seconds: float
    logs: Path

    @property
    def repeated(self) -> int:
        """Bills beyond the first of their text."""
        return sum(self.bills.values()) - len(self.bills)

    @property
    def unpaid(self) -> int:
        """Texts that have a vector, and no bill: the counting itself would be wrong."""
        lost = {*self.outcomes.lost}
        paid = {
            event.text
            for place, event in self.placed.items()
            if event.text and event.ends == "vector" and place not in lost
        }
        return sum(sha256(text) not in self.bills for text in paid)


def chaos(broker: Broker, directory: Path, plan: Plan, say: Say, settings: Mapping[str, str]) -> Result:
    """Everything that can be done to a group of workers, by the plan."""
    with _Stage("chaos", broker, directory, plan, settings) as stage:
        injector = stage.injector(say)
        stage.fleet.start()
        injector.run(schedule(plan))
        return stage.result(injector, say)


def rolling(broker: Broker, directory: Path, plan: Plan, say: Say, settings: Mapping[str, str], turns: int) -> Result:
    """No fault at all: each worker in turn is told to stop, and its successor started, `turns` times over."""
    with _Stage("rolling", broker, directory, plan, settings) as stage:
        injector = stage.injector(say)
        stage.fleet.start()
        for member in stage.fleet.members:
            member.process.wait_ready()
        steps, chance = turns * WORKERS, random.Random(f"rolling {plan.seed}")
        for step in range(steps):
            # running jobs, in every worker, at a moment that is not always the same
            injector.idle_along(step / steps, (step + 1) / steps, chance.uniform(1.5, 3.0))
            began = time.monotonic()
            member = stage.fleet.members[step % WORKERS]
            stage.fleet.restart_in_turn(member)
            injector.note(Incident(Kind.TERM, member.number, began, time.monotonic()))
        injector.idle_along(1.0, 1.0, 1.0)
        return stage.result(injector, say)


class _Stage:
    """Topics, emulator, feeder and fleet of one run. A context manager: no process is left over."""

    def __init__(self, name: str, broker: Broker, directory: Path, plan: Plan, settings: Mapping[str, str]) -> None:
        self._name, self._broker, self._plan = name, broker, plan
        self._began = time.monotonic()
        mark = uuid4().hex[:8]
        topics = (f"{name}-input-{mark}", f"{name}-output-{mark}", f"{name}-dead-letter-{mark}")
        for topic in topics:
            broker.create_topic(topic, PARTITIONS, {})
        directory.mkdir(parents=True, exist_ok=True)
        self.setup = Setup(broker.bootstrap_servers, directory, topics)
        emulator = self.setup.emulator(module="tests.chaos.emulator", latency=LATENCY, seed=plan.seed)
        self.fleet = Fleet(self.setup, emulator, WORKERS, plan.session_timeout, dict(settings))
        self._feeder = Feeder(broker.bootstrap_servers, self.setup.input, events(plan.events, plan.seed))

    def __enter__(self) -> "_Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.setup.close()

    def injector(self, say: Say) -> Injector:
        """What does the damage."""
        return Injector(self.fleet, self._feeder, self._broker, lambda line: say(f"{self._name} {line}"))

    def result(self, injector: Injector, say: Say) -> Result:
        """Let the workers finish, end them, and look at what there is."""
        self._feeder.finish()
        left = self._settled(say)
        self.fleet.end()
        injector.refresh()
        setup, placed, incidents = self.setup, self._feeder.placed, injector.diary.incidents
        output, dead_letters = setup.reader.read(setup.output), setup.reader.read(setup.dead_letter)
        return Result(
            self._name,
            placed,
            compare(setup.input, placed, output, dead_letters),
            account(injector.posts, incidents, self._plan.lease_cap, self.fleet.leases(), self._plan.session_timeout),
            incidents,
            injector.posts,
            self.fleet.emulator.bills(),
            injector.diary.idle,
            self.fleet.unexpected,
            left,
            time.monotonic() - self._began,
            setup.directory,
        )

    def _settled(self, say: Say) -> int:
        """Wait until the group has committed everything; how much it has not."""
        deadline, left = time.monotonic() + _SETTLE_SECONDS, -1
        say(f"{self._name}: all {len(self._feeder.placed)} events are fed; waiting for the last outcomes")
        while left and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            self.fleet.look_after()
            try:
                left = self.setup.lag()
            except KafkaException:
                left = -1
        return left
