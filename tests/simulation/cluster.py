"""The fake broker in a run: the input, the faults of commits, session timeouts, and the book's eye on every decision."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from random import Random
from typing import Any

from tests.fakes.broker import Decided, FakeBroker, FakeSource, Unknown
from tests.simulation.book import Book, Committed, Visible
from tests.simulation.commit_checks import CommitChecks
from tests.simulation.ports import SimulatedSink
from tests.simulation.scenario import Scenario
from tests.simulation.scheduler import Scheduler, SimulatedProcess
from tests.simulation.workload import HEADER, LARGEST_VECTOR, Event
from worker.core.ledger import Ledger, Place
from worker.core.ledger_codec import decode
from worker.model import OutcomeKind, Position, Reason, Record, TopicPartition
from worker.ports import Sink
from worker.settings.sections import StartFrom

INPUT, OUTPUT, DEAD = "texts", "embeddings", "embeddings.dead-letter"

HARM = 5.0
"""Seconds for which a commit whose outcome is unknown may delay others."""

FAULTY_STEPS = frozenset({"begin", "commit"})
"""The first step of a commit, with and without a transaction."""


class Cluster:
    """A broker with its group, and all that is drawn about it."""

    def __init__(self, scenario: Scenario, loop: Scheduler, random: Random, book: Book) -> None:
        self.met: Counter[str] = Counter()
        self._latency, self._marker_delay = scenario.broker_latency, scenario.marker_delay
        self.broker = FakeBroker({INPUT: scenario.partitions, OUTPUT: scenario.partitions, DEAD: 1})
        self.broker.offset_metadata_max = scenario.metadata_limit
        self.broker.faults.max_bytes[OUTPUT] = LARGEST_VECTOR
        self.broker.faults.delays = self._delay
        self.broker.faults.marker_delay = lambda: random.random() * self._marker_delay
        self.broker.watchers.append(self._decided)
        self._scenario = scenario
        self._loop = loop
        self._random = random
        self._book = book
        self._trace = book.trace
        self.checks = CommitChecks(book)
        self._group = scenario.settings.kafka.group_id
        self._commit_faults = scenario.commit_faults
        self._last_commit_faults = scenario.last_commit_faults
        self._sinks: dict[SimulatedProcess, tuple[str, SimulatedSink]] = {}
        self._read: dict[TopicPartition, int] = {}
        self._made = 0
        self._committing: SimulatedProcess | None = None

    # ---- the input

    def produce(self, event: Event) -> int:
        """An event arrives; returns its offset."""
        where = TopicPartition(INPUT, event.partition)
        if event.gap:
            self.broker.skip(where, event.gap)
        header = ((HEADER, b"%d" % event.number),)
        return self.broker.publish(INPUT, event.key, event.value, header, partition=event.partition).offset

    # ---- ports

    def source(self) -> FakeSource:
        """A member to be."""
        return self.broker.source(self._group, [INPUT], start_from=StartFrom.EARLIEST)

    def sink(self, source: FakeSource) -> tuple[str, Sink]:
        """The sink of the same process, and its transactional id."""
        if not self._scenario.exactly_once:
            return "", self.broker.sink(source.commit, source.connection)
        self._made += 1
        name = f"producer-{self._made}"
        return name, self.broker.transactional_sink(source, name)

    def knows(self, process: SimulatedProcess, name: str, sink: SimulatedSink, source: FakeSource) -> None:
        """Whose commits they are. A refused commit does not tell a consumer that it was expelled: its next heartbeat does."""
        self._sinks[process] = (name, sink)
        commit, noticed = source._commit, source.noticed

        def commit_of_this(positions: Mapping[TopicPartition, Position], group: Any) -> None:
            self._committing = process
            commit(positions, group)

        def noticed_later() -> None:
            heartbeat = self._random.random() * self._scenario.session_timeout / 3
            self._loop.call_later(heartbeat, noticed, context=self._loop.world.context.copy())

        hand_back = source.hand_back

        async def hand_back_all(partitions: Collection[TopicPartition]) -> bool:
            """What the listener has not heard of goes at once: it must not hear of it while it hands back the others."""
            holdings = source._holdings
            holdings.forget([where for where in partitions if where not in holdings.owned])
            return await hand_back(partitions)

        source.hand_back = hand_back_all  # type: ignore[method-assign]
        source._commit = commit_of_this  # type: ignore[method-assign]
        source.noticed = noticed_later  # type: ignore[method-assign]

    # ---- faults

    async def rebalance(self) -> None:
        """For no reason."""
        await self.broker.rebalance(self._group)

    def asked_back(self) -> None:
        """Partitions are asked back from somebody: now and then the last commits fail."""
        if self._random.random() < self._last_commit_faults:
            self.broker.faults.abort_commit += self._random.choice((1, 8))
            self.met["last commit refused"] += 1

    def calm(self) -> None:
        """Commits fail no more, and are quick: transactions that are too slow for the lease halt a worker, as they should."""
        self._commit_faults = self._last_commit_faults = 0.0
        self._latency, self._marker_delay = min(self._latency, 0.02), min(self._marker_delay, 0.05)

    def _delay(self, step: str) -> float:
        if step in FAULTY_STEPS and self._random.random() < self._commit_faults:
            self._order_fault()
        if step == "timeout":
            return 2.0 * self._random.random()
        if step == "late":
            return 5.0 * self._random.random()
        return self._latency * self._random.random()

    def _order_fault(self) -> None:
        faults, kind = self.broker.faults, self._random.randrange(6)
        if kind > 1:  # a commit that fails at once is tried again at once: that excuses nothing
            self._book.disturbed(HARM)
        if kind == 0:
            faults.abort_publish += 1
            self.met["produce error"] += 1
        elif kind == 1:
            faults.abort_commit += 1
            self.met["offset commit refused"] += 1
        elif kind == 2:
            faults.fail_settle += 1
            faults.fail_recall += 1
        elif self._scenario.exactly_once:
            unknown = (Unknown.APPLIED, Unknown.LOST, Unknown.LATE)[kind - 3]
            faults.unknown_commit.append(unknown)
            self.met[f"commit unknown ({unknown})"] += 1

    # ---- what is decided

    def _decided(self, decided: Decided) -> None:
        positions = {where.partition: at for where, at in decided.positions.get(self._group, {}).items()}
        process, asked_at = self._asked_by(decided)
        who = process.name if process else "the group's start"
        if not decided.committed:
            self._trace.add("broker", f"aborts the transaction of {who}")
            return
        records = decided.records if decided.transactional_id else self._newly_published()
        outcomes = [self._visible(record) for record in records]
        for partition, position in positions.items():
            self._trace.add(
                "broker",
                f"commit of {who}: partition {partition} {self.shown(partition, position)}",
                f"partition {partition}",
            )
        ledgers = {partition: self.read(partition, position) for partition, position in positions.items()}
        self.checks.stands(Committed(process, asked_at, positions, ledgers, outcomes))

    def _asked_by(self, decided: Decided) -> tuple[SimulatedProcess | None, float]:
        if decided.transactional_id is None:
            process, self._committing = self._committing, None
        else:
            process = next(process for process, (name, _) in self._sinks.items() if name == decided.transactional_id)
        in_hand = self._sinks[process][1].in_hand if process else None
        return process, in_hand[0] if in_hand else 0.0

    def _newly_published(self) -> list[Record]:
        """At least once: what has appeared since the last look."""
        found: list[Record] = []
        for where in self.broker.partitions((OUTPUT, DEAD)):
            records = self.broker.log(where).records
            found += records[self._read.get(where, 0) :]
            self._read[where] = len(records)
        return found

    def _visible(self, record: Record) -> Visible:
        headers = dict(record.headers)
        number = int(headers[HEADER] or b"-1")
        if record.source.topic == DEAD:
            return Visible(number, OutcomeKind.DEAD_LETTER, Reason((headers["dlq.reason"] or b"").decode()), None)
        if record.value is None:
            return Visible(number, OutcomeKind.TOMBSTONE, None, None)
        return Visible(number, OutcomeKind.VECTOR, None, json.loads(record.value)["request_id"])

    # ---- ledgers

    def read(self, partition: int, position: Position) -> Ledger | object:
        """What stands in a committed position."""
        place = Place(self.broker.cluster, self.broker.topic_id(INPUT), partition)
        return decode(position.metadata, place, position.offset)

    def shown(self, partition: int, position: Position) -> str:
        """The same, for reading."""
        ledger = self.read(partition, position)
        if not isinstance(ledger, Ledger):
            return f"offset {position.offset}, no ledger"
        marks = [
            f"{offset}={'intent ' if mark.intent else ''}{(mark.request_id or '-')[:8]}{' claimed' * mark.claims}"
            for offset, mark in ledger.entries
        ]
        return f"offset {ledger.offset}, end {ledger.end}{', clean' if ledger.clean else ''} [{', '.join(marks)}]"

    def found(self) -> dict[int, int]:
        """How often a `read_committed` consumer finds each event."""
        found = Counter(
            dict(record.headers)[HEADER] for topic in (OUTPUT, DEAD) for record in self.broker.records(topic)
        )
        return {int(number or b"-1"): count for number, count in found.items()}
