"""Carries a schedule out: feeds events, does the damage when its time has come, and keeps a diary of it."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.feeder import Feeder
from tests.chaos.fleet import Fleet, Member
from tests.chaos.money import Incident, Post
from tests.chaos.schedule import CALM, STORMS, Injection, Kind
from tests.kafka.backend import Broker

_TICK: Final = 0.05
_SAY_EVERY: Final = 10.0
_BUSY: Final = 0.6
"""Seconds since its last POST for which a worker counts as busy."""
_PATIENCE: Final = 15.0
"""Seconds that a fault waits for a busy victim before it takes an idle one."""


@dataclass(slots=True)
class Diary:
    """What was done. `idle`: how many victims had nothing in flight."""

    incidents: list[Incident] = field(default_factory=list)
    idle: int = 0


@dataclass(slots=True)
class Injector:
    """One run. `say` prints progress."""

    fleet: Fleet
    feeder: Feeder
    broker: Broker
    say: Callable[[str], None]
    diary: Diary = field(default_factory=Diary)
    posts: list[Post] = field(default_factory=list)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _said: float = 0.0

    def run(self, injections: Sequence[Injection]) -> None:
        """Everything, in order; returns when the last fault is over."""
        for number, injection in enumerate(injections):
            since, waited = time.monotonic(), 0.0
            while waited < injection.gap or not self._struck(injection, waited - injection.gap):
                # ever slower while a victim is waited for: there has to be something left for the faults to come
                self._tick((number + 1 - math.exp(-waited / injection.gap)) / len(injections))
                waited = time.monotonic() - since
        while self._later:
            self._tick(1.0)

    def idle_along(self, start: float, end: float, seconds: float) -> None:
        """Feed from progress `start` to `end` while so much time passes."""
        began = time.monotonic()
        while (waited := time.monotonic() - began) < seconds:
            self._tick(start + (end - start) * waited / seconds)

    def refresh(self) -> None:
        """Fetch the POSTs that were accepted since the last time."""
        for at, key, text, billed, lost in self.fleet.emulator.posts(len(self.posts)):
            self.posts.append(Post(at, int(key.removeprefix("SG_"), 16), text, billed, lost))

    def _tick(self, progress: float) -> None:
        time.sleep(_TICK)
        self.feeder.feed(progress)
        self.fleet.look_after()
        now = time.monotonic()
        for due in [entry for entry in self._later if entry[0] <= now]:
            self._later.remove(due)
            due[1]()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            self.refresh()
            done = len(self.diary.incidents)
            self._tell(f"{self.feeder.fed} events fed, {len(self.posts)} POSTs, {done} faults")

    def _struck(self, injection: Injection, patience: float) -> bool:
        """Whether it has been done; False: there is no busy victim yet."""
        if injection.kind not in {Kind.KILL, Kind.ZOMBIE, Kind.TERM}:
            self._damage(injection)
            return True
        candidates = [one for one in self.fleet.members if one.at_work]
        self.refresh()
        now = time.monotonic()
        recent = {post.worker for post in self.posts[-500:] if now - post.at < _BUSY}
        busy = [one for one in candidates if one.number in recent]
        if not busy and candidates and patience > _PATIENCE:
            busy, self.diary.idle = candidates, self.diary.idle + 1
        if busy:
            self._strike(injection, busy[int(injection.choice * len(busy))])
        return bool(busy)

    def _strike(self, injection: Injection, victim: Member) -> None:
        blow = {Kind.KILL: self.fleet.kill, Kind.ZOMBIE: self.fleet.stop, Kind.TERM: self.fleet.dismiss}
        blow[injection.kind](victim)
        began, lasts = time.monotonic(), 0.0
        if injection.kind is Kind.ZOMBIE:
            lasts = injection.lasts
            self._later.append((began + lasts, lambda: self.fleet.wake(victim)))
        self.note(Incident(injection.kind, victim.number, began, began + lasts))

    def _damage(self, injection: Injection) -> None:
        began = time.monotonic()
        if injection.kind in STORMS:
            self.fleet.emulator.change(**STORMS[injection.kind])
            self._later.append((began + injection.lasts, lambda: self.fleet.emulator.change(**CALM)))
            self.note(Incident(injection.kind, -1, began, began + injection.lasts))
            return
        self.broker.stop(kill=injection.kind is Kind.BROKER_KILL)
        self.broker.start()
        self.note(Incident(injection.kind, -1, began, time.monotonic()))

    def note(self, incident: Incident) -> None:
        """Enter it in the diary."""
        self.diary.incidents.append(incident)
        whom = f" of worker {incident.worker}" if incident.worker >= 0 else ""
        self._tell(f"{incident.kind}{whom}")

    def _tell(self, line: str) -> None:
        self.say(f"{time.monotonic() - self._began:4.0f} s: {line}")
