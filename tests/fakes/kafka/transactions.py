"""The transaction coordinator: who may write under a transactional.id, and what becomes of each transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from tests.fakes.kafka.faults import Faults
from tests.fakes.kafka.log import Log, Part
from tests.fakes.kafka.offsets import GroupOffsets
from worker.model import Position, Record, TopicPartition


class Fenced(Exception):
    """A newer producer has the transactional.id, or the transaction has timed out: fatal."""


class Producer(NamedTuple):
    """What `init` gives to a client."""

    transactional_id: str
    epoch: int


class Transaction:
    """`committed` is None while it is open. `complete`: all markers are there."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.committed: bool | None = None
        self.complete = False
        self.records: list[Record] = []
        self.parts: dict[TopicPartition, tuple[Log, Part]] = {}
        self.offsets: dict[str, tuple[GroupOffsets, dict[TopicPartition, Position]]] = {}
        self.markers = 0
        self.timer: asyncio.TimerHandle | None = None
        self.when_complete: list[asyncio.Future[None]] = []


@dataclass(frozen=True, slots=True)
class Decided:
    """What became final at one moment: a transaction at its coordinator (committed or aborted, the markers are still to come), or
    a plain offset commit (`transactional_id` None, no records). `at`: loop time in seconds; `positions`: by group."""

    at: float
    transactional_id: str | None
    committed: bool
    records: Sequence[Record]
    positions: Mapping[str, Mapping[TopicPartition, Position]]


@dataclass(slots=True)
class _State:
    epoch: int = -1
    transaction: Transaction | None = field(default=None)


class Coordinator:
    """`decided` hears of each decision, `shown` of each partition that has got a marker."""

    def __init__(
        self,
        faults: Faults,
        timeout: float,
        decided: Callable[[Decided], None],
        shown: Callable[[TopicPartition], None],
    ) -> None:
        self.timeout = timeout
        self.markers_take_offsets = True
        self._faults = faults
        self._decided = decided
        self._shown = shown
        self._states: dict[str, _State] = {}

    def init(self, transactional_id: str) -> Producer:
        """Fences the producers before, aborts what they have open. To be used when `busy` says that all markers are there."""
        state = self._states.setdefault(transactional_id, _State())
        state.epoch += 1
        if state.transaction is not None and state.transaction.committed is None:
            self._decide(state.transaction, committed=False)
        return Producer(transactional_id, state.epoch)

    def busy(self, transactional_id: str) -> Transaction | None:
        """The transaction whose markers are still to come (or that is open): no other one can begin."""
        transaction = self._states[transactional_id].transaction
        return None if transaction is None or transaction.complete else transaction

    def join(self, transaction: Transaction) -> None:
        """A request of a transaction arrives: its first one opens it. Raises Fenced."""
        producer = transaction.producer
        state = self._states[producer.transactional_id]
        if state.epoch != producer.epoch or transaction.committed is not None:
            raise Fenced(f"the producer {producer.transactional_id} is fenced, or its transaction has timed out")
        if state.transaction is not transaction:
            if state.transaction is not None and not state.transaction.complete:
                raise Fenced("CONCURRENT_TRANSACTIONS")
            state.transaction = transaction
            loop = asyncio.get_running_loop()
            seconds = self.timeout + self._faults.delays("timeout")
            transaction.timer = loop.call_later(seconds, self._time_out, state, transaction)

    def end(self, transaction: Transaction, *, committed: bool) -> None:
        """EndTxn. Raises Fenced."""
        self.join(transaction)
        self._decide(transaction, committed=committed)

    def _time_out(self, state: _State, transaction: Transaction) -> None:
        if transaction.committed is None:
            state.epoch += 1
            self._decide(transaction, committed=False)

    def _decide(self, transaction: Transaction, *, committed: bool) -> None:
        transaction.committed = committed
        if transaction.timer is not None:
            transaction.timer.cancel()
        positions = {group: dict(sent) for group, (_, sent) in transaction.offsets.items()}
        at = asyncio.get_running_loop().time()
        name = transaction.producer.transactional_id
        self._decided(Decided(at, name, committed, tuple(transaction.records), positions))
        marks = [partial(self._mark_part, transaction, where) for where in transaction.parts]
        marks += [partial(self._mark_offsets, transaction, group) for group in transaction.offsets]
        transaction.markers = len(marks)
        for mark in marks:
            delay = self._faults.next_marker_delay()
            if delay > 0:
                asyncio.get_running_loop().call_later(delay, mark)
            else:
                mark()
        if not marks:
            self._complete(transaction)

    def _mark_part(self, transaction: Transaction, where: TopicPartition) -> None:
        log, part = transaction.parts[where]
        log.decide(part, committed=bool(transaction.committed), marker=self.markers_take_offsets)
        self._shown(where)
        self._marked(transaction)

    def _mark_offsets(self, transaction: Transaction, group: str) -> None:
        offsets, sent = transaction.offsets[group]
        offsets.mark(transaction, sent)
        self._marked(transaction)

    def _marked(self, transaction: Transaction) -> None:
        transaction.markers -= 1
        if not transaction.markers:
            self._complete(transaction)

    def _complete(self, transaction: Transaction) -> None:
        transaction.complete = True
        for waiting in transaction.when_complete:
            if not waiting.done():
                waiting.set_result(None)


async def completed(transaction: Transaction) -> None:
    """Wait until all markers are there."""
    if not transaction.complete:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        transaction.when_complete.append(waiting)
        await waiting
