"""The port `Sink` on the in-memory Kafka, exactly once: one transaction of messages and positions."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from tests.fakes.kafka.connection import Connection, Result, Unreachable
from tests.fakes.kafka.faults import Faults, Unknown
from tests.fakes.kafka.group import GroupMetadata
from tests.fakes.kafka.sink import no_topic
from tests.fakes.kafka.transactions import Coordinator, Fenced, Producer, Transaction, completed
from worker.errors import CommitAborted, CommitUnknown, MessageRefused, MetadataTooLarge, StartError
from worker.model import Batch, Message, Position, Record, TopicPartition

# as in the adapter: how long markers of what was before are waited for, and a commit under way by `close`
_START_SECONDS: Final = 20.0
_SETTLE_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 3.0


class Transacting(Protocol):
    """What a transactional sink needs of the broker."""

    faults: Faults
    coordinator: Coordinator

    def produce(self, message: Message, transaction: Transaction | None = None) -> Record: ...

    def send_offsets(
        self, transaction: Transaction, positions: Mapping[TopicPartition, Position], group: GroupMetadata
    ) -> None: ...


class FakeTransactionalSink:
    """Begin, produce, send offsets and end are requests of their own: anything can happen between two of them.

    A commit goes on when its caller is cancelled, as on a thread. `unknown`: what becomes of this sink's next EndTxns, before
    `faults.unknown_commit` is asked. `unsettled`: `settle` has to be called before the next commit.
    """

    def __init__(self, broker: Transacting, transactional_id: str, connection: Connection) -> None:
        self.connection = connection
        self.connection.when_cut.append(self._die)
        self.transactional_id = transactional_id
        self.unknown: deque[Unknown] = deque()
        self.unsettled = False
        self._broker = broker
        self._producer: Producer | None = None
        self._transaction: Transaction | None = None
        self._open = False
        self._one_at_a_time = asyncio.Lock()
        self._commits: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """See the port. Waits for the markers of what was open under its transactional.id."""
        try:
            await self._connect(_START_SECONDS)
        except CommitAborted as error:
            raise StartError(str(error)) from None
        self._open = True

    async def commit(self, batch: Batch) -> None:
        """See the port. Raises CommitAborted too where an earlier outcome is unknown and not settled."""
        await self.connection.gate()
        commit = asyncio.ensure_future(self._commit_alone(batch))
        self._commits.add(commit)
        commit.add_done_callback(self._forget)
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            if not self.connection.alive:
                await self.connection.gate()
            raise

    async def settle(self) -> None:
        """A new producer under the same transactional.id. Takes about five seconds at most."""
        await self.connection.gate()
        async with self._one_at_a_time:
            self._check_open()
            faults = self._broker.faults
            if faults.fail_settle:
                faults.fail_settle -= 1
                raise CommitAborted("no producer can be made: a fault was ordered")
            self._producer = None
            await self._connect(_SETTLE_SECONDS)
            self.unsettled = False

    async def close(self) -> None:
        """See the port. What is under way has three seconds."""
        await self.connection.gate()
        self._open = False
        if self._commits:
            commits = tuple(self._commits)
            await asyncio.wait(commits, timeout=_CLOSE_SECONDS)
            self._die()
            await asyncio.gather(*commits, return_exceptions=True)
        if self._producer is not None and self.connection.reaches:
            self._abort_what_is_open()
        self._producer = None

    def _die(self) -> None:
        for commit in self._commits:
            commit.cancel()

    def _forget(self, commit: "asyncio.Task[None]") -> None:
        self._commits.discard(commit)
        if not commit.cancelled():
            commit.exception()  # nobody may be left to hear of it

    def _check_open(self) -> None:
        if not self._open:
            raise CommitAborted("the sink is not started, or closed already")

    async def _connect(self, seconds: float) -> Producer:
        """A new producer. Raises CommitAborted."""
        coordinator = self._broker.coordinator
        try:
            producer = await self._request("init", lambda: coordinator.init(self.transactional_id))
            async with asyncio.timeout(seconds):
                while (busy := coordinator.busy(self.transactional_id)) is not None:
                    await completed(busy)
                    await self.connection.gate()
        except Unreachable as error:
            raise CommitAborted(str(error)) from None
        except TimeoutError:
            raise CommitAborted("no transaction can be begun: the one before has no markers yet") from None
        self._producer = producer
        self._transaction = None
        return producer

    async def _commit_alone(self, batch: Batch) -> None:
        async with self._one_at_a_time:
            self._check_open()
            if self.unsettled:
                raise CommitAborted("the outcome of an earlier transaction is not known yet")
            group = _checked(batch)
            producer = self._producer or await self._connect(_SETTLE_SECONDS)
            try:
                transaction = await self._sent(producer, batch, group)
            except (Fenced, Unreachable) as error:
                self._producer = None
                raise CommitAborted(f"the transaction was aborted: {error}") from None
            await self._end(transaction)

    async def _sent(self, producer: Producer, batch: Batch, group: GroupMetadata | None) -> Transaction:
        """A transaction to which nothing is missing but its end. Raises Fenced and Unreachable."""
        faults = self._broker.faults
        await self._begin(producer)
        transaction = self._transaction = Transaction(producer)
        try:
            await asyncio.sleep(faults.publish_delay)
            if faults.abort_publish:
                faults.abort_publish -= 1
                raise CommitAborted("messages not delivered: a fault was ordered")
            if batch.messages:
                await self._request("produce", lambda: self._produce(transaction, batch.messages))
            if group is not None:
                await asyncio.sleep(faults.commit_delay)
                await self._request("offsets", lambda: self._send(transaction, batch.positions, group))
        except (CommitAborted, MessageRefused, MetadataTooLarge):
            await self._request("abort", self._abort_what_is_open)
            raise
        return transaction

    async def _begin(self, producer: Producer) -> None:
        """Wait until the transaction before has its markers."""
        await asyncio.sleep(self._broker.faults.delays("begin"))
        await self.connection.gate()
        self._abort_what_is_open()
        while (busy := self._broker.coordinator.busy(producer.transactional_id)) is not None:
            await completed(busy)
            await self.connection.gate()

    async def _end(self, transaction: Transaction) -> None:
        """Raises CommitUnknown."""
        faults = self._broker.faults
        coordinator = self._broker.coordinator
        ordered = self.unknown or faults.unknown_commit
        unknown = ordered.popleft() if ordered else None
        self.unsettled = True  # until the answer is there, also if this is cancelled
        try:
            if unknown is Unknown.LATE:
                loop = asyncio.get_running_loop()
                loop.call_later(faults.delays("late"), self._end_late, transaction)
            elif unknown is not Unknown.LOST:
                await self._request("end", lambda: coordinator.end(transaction, committed=True))
        except (Fenced, Unreachable) as error:
            raise CommitUnknown(f"the transaction may have been committed: {error}") from None
        if unknown is not None:
            raise CommitUnknown("the transaction may have been committed: EndTxn had no answer")
        self.unsettled = False

    def _end_late(self, transaction: Transaction) -> None:
        try:
            self._broker.coordinator.end(transaction, committed=True)
        except Fenced:
            return

    def _produce(self, transaction: Transaction, messages: Sequence[Message]) -> None:
        faults = self._broker.faults
        self._broker.coordinator.join(transaction)
        refused: list[int] = []
        for index, message in enumerate(messages):
            if not faults.takes(message.topic, message.key, message.value):
                refused.append(index)
                continue
            try:
                self._broker.produce(message, transaction)
            except KeyError:
                raise no_topic(message.topic) from None
        if refused:
            raise MessageRefused(f"{len(refused)} message(s) refused for good", refused)

    def _send(
        self, transaction: Transaction, positions: Mapping[TopicPartition, Position], group: GroupMetadata
    ) -> None:
        faults = self._broker.faults
        self._broker.coordinator.join(transaction)
        if faults.abort_commit:
            faults.abort_commit -= 1
            raise CommitAborted("the offset commit was refused: a fault was ordered")
        self._broker.send_offsets(transaction, positions, group)

    def _abort_what_is_open(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None and transaction.committed is None:
            try:
                self._broker.coordinator.end(transaction, committed=False)
            except Fenced:
                return

    async def _request(self, step: str, effect: Callable[[], Result]) -> Result:
        delays = self._broker.faults.delays
        return await self.connection.request(effect, delays(step), delays(f"{step}.answer"))


def _checked(batch: Batch) -> GroupMetadata | None:
    """What the offsets are sent with; None: there are none. Raises CommitAborted for what brokers would take unfenced."""
    if not batch.positions:
        return None
    group = batch.membership.group
    if not isinstance(group, GroupMetadata) or group.generation < 0 or not group.member_id:
        raise CommitAborted("this worker is in no consumer group at the moment")
    strange = batch.positions.keys() - batch.membership.owned.keys()
    if strange:
        raise CommitAborted(f"{', '.join(map(str, sorted(strange)))}: not this worker's at the moment")
    return group
