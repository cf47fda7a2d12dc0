"""The book of a run: who owned what, what was paid, committed and published. Those who check the promises read in it and write
the first broken one into `broken`; the run ends there.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.simulation.api import Post
from tests.simulation.scenario import Scenario
from tests.simulation.scheduler import SimulatedProcess
from tests.simulation.trace import Trace
from tests.simulation.workload import Event
from worker.core.ledger import BLANK, Finished, Ledger, Mark
from worker.model import OutcomeKind, Position, Reason

HAND_OVER = 30.0
"""Seconds before the end of an ownership in which a disturbance excuses that it did not end in order."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that does not hold."""

    promise: str
    sentence: str
    about: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.promise}: {self.sentence}"


@dataclass(slots=True)
class Ownership:
    """One process has one partition. `number` grows over all of them; `settled`: it has committed a ledger; `leaving`: it was
    asked to give it back; `ended`: how it went (None: it has not); `posted`: its newest POST of each event."""

    number: int
    process: SimulatedProcess
    partition: int
    since: float
    leaving: bool = False
    settled: bool = False
    until: float | None = None
    ended: str | None = None
    posted: dict[int, Post] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Visible:
    """An outcome that a `read_committed` consumer sees."""

    event: int
    kind: OutcomeKind
    reason: Reason | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit that stands. `process` asked for it at `asked_at` (None: the first commit of a group); all by partition."""

    process: SimulatedProcess | None
    asked_at: float
    positions: Mapping[int, Position]
    ledgers: Mapping[int, Ledger | object]
    outcomes: Sequence[Visible]


class Book:
    """What has happened. `ledgers`: the newest that is decided, by partition; `recorded`: every request_id that was ever in one;
    `last_commit`: when each process asked for its last commit that stands."""

    def __init__(self, scenario: Scenario, trace: Trace, now: Callable[[], float]) -> None:
        self.scenario = scenario
        self.trace = trace
        self.now = now
        self.broken: Broken | None = None
        self.events = {event.number: event for event in scenario.events}
        self.offsets: dict[int, int] = {}
        self.placed: defaultdict[int, dict[int, Event]] = defaultdict(dict)
        self.posts: defaultdict[int, list[Post]] = defaultdict(list)
        self.outcomes: defaultdict[int, list[Visible]] = defaultdict(list)
        self.ledgers: dict[int, Ledger] = {}
        self.recorded: set[str] = set()
        self.found_intents: dict[int, set[int]] = {}
        self.last_commit: dict[SimulatedProcess, float] = {}
        self.ownerships: list[Ownership] = []
        self.commits = 0
        self._current: dict[tuple[SimulatedProcess, int], Ownership] = {}
        self._disturbed: list[tuple[float, float]] = []

    def fail(self, promise: str, sentence: str, *about: object) -> None:
        """A promise is broken; the first one counts."""
        if self.broken is None:
            self.broken = Broken(promise, sentence, about)
            self.trace.add("", f"*** {promise}: {sentence}", *about)

    def disturbed(self, seconds: float) -> None:
        """Broker, API or a process does not answer as it should, from now on for so long."""
        self._disturbed.append((self.now(), self.now() + seconds))

    # ---- the input

    def placed_at(self, event: Event, offset: int) -> None:
        """An event stands in its input partition."""
        self.offsets[event.number] = offset
        self.placed[event.partition][offset] = event

    def mark(self, event: Event) -> Mark | Finished:
        """What the newest ledger says of an event."""
        ledger = self.ledgers.get(event.partition)
        return ledger.recall(self.offsets[event.number]) if ledger else BLANK

    def is_finished(self, event: Event) -> bool:
        """Whether the newest ledger says that it is."""
        return isinstance(self.mark(event), Finished)

    def unfinished(self) -> list[Event]:
        """The events in the input that are not finished."""
        return [event for event in self.events.values() if event.number in self.offsets and not self.is_finished(event)]

    def all_finished(self) -> bool:
        """Whether the input has ended and everything in it is finished."""
        return len(self.offsets) == len(self.events) and not self.unfinished()

    def may_be_missing(self, event: Event) -> bool:
        """Whether it may have no outcome: there is nothing to be said of it, or a newer one of its key has come."""
        if event.key is None and event.value is None:
            return True
        if not self.scenario.settings.guarantees.supersede or event.key is None or event.number not in self.offsets:
            return False
        offset = self.offsets[event.number]
        newer = (other for at, other in self.placed[event.partition].items() if at > offset and other.key == event.key)
        return any(other.supersedes for other in newer)

    # ---- who owns what

    def assigned(self, process: SimulatedProcess, partition: int) -> None:
        """A partition goes to a process."""
        for owned in self._current.values():
            if owned.partition == partition and owned.until is None:
                owned.until, owned.ended = self.now(), "taken away"
        owned = Ownership(len(self.ownerships), process, partition, self.now())
        self.ownerships.append(owned)
        self._current[process, partition] = owned
        marks = {event.number: self.mark(event) for event in self.placed[partition].values()}
        self.found_intents[partition] = {n for n, mark in marks.items() if isinstance(mark, Mark) and mark.intent}

    def leaves(self, process: SimulatedProcess, partition: int) -> None:
        """A partition is asked back."""
        self._current[process, partition].leaving = True

    def ended(self, process: SimulatedProcess, partition: int, how: str) -> None:
        """A partition leaves a process; the first word counts."""
        owned = self._current.get((process, partition))
        if owned and owned.until is None:
            owned.until, owned.ended = self.now(), how

    def all_ended(self, process: SimulatedProcess, how: str) -> None:
        """All partitions leave a process."""
        for owned in self.owned_by(process):
            self.ended(process, owned.partition, how)

    def last_owned(self, process: SimulatedProcess, partition: int) -> Ownership | None:
        """Its present ownership, or its last one: a zombie does not know that it has ended."""
        return self._current.get((process, partition))

    def owned_by(self, process: SimulatedProcess) -> list[Ownership]:
        """What a process has at the moment."""
        return [owned for owned in self._current.values() if owned.process is process and owned.until is None]

    def ended_in_order(self, owned: Ownership) -> bool:
        """Whether it goes on, or was handed over with nothing to excuse that something was left out."""
        if owned.until is None:
            return True
        until = owned.until
        disturbed = any(begins < until and ends > until - HAND_OVER for begins, ends in self._disturbed)
        return owned.ended == "handed over" and not disturbed
