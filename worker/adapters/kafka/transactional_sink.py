"""The port `Sink` with exactly-once delivery: outcomes and offsets in one transaction."""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Final, TypeVar

from worker.adapters.kafka.bridge import CommandQueue
from worker.adapters.kafka.clients import Log
from worker.adapters.kafka.properties import transactional_properties
from worker.adapters.kafka.transactions import OVERDUE_SECONDS, Transactions
from worker.errors import CommitAborted, CommitUnknown, StartError
from worker.model import Batch
from worker.settings.sections import KafkaSettings

T = TypeVar("T")

_CONNECT_SECONDS: Final = 20.0
"""The first transaction of a cluster has to make a topic first."""
_CLOSE_SECONDS: Final = 3.0
_IDLE_SECONDS: Final = 60.0


class TransactionalSink:
    """Commits batches one after the other, on a thread of its own that is given up where the client does not return.

    `commit_timeout`: seconds after which a commit without answer counts as unknown.
    """

    def __init__(self, settings: KafkaSettings, *, log: Log, commit_timeout: float = 10.0) -> None:
        self._settings = settings
        self._log = log
        self._commit_timeout = commit_timeout
        self._id = f"{settings.group_id}-{uuid.uuid4()}"
        self._properties = transactional_properties(settings, self._id)
        self._desk: _Desk | None = None
        self._undecided = self._closed = False
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Connect, and take the transactional id. Raises StartError and ConfigurationError."""
        try:
            await self._asked(lambda transactions: transactions.connect(_CONNECT_SECONDS))
        except CommitAborted as problem:
            raise StartError(
                f"{self._settings.bootstrap_servers}: {problem}: check the brokers' transaction.state.log.replication.factor, "
                "and the user's rights"
            ) from None

    async def commit(self, batch: Batch) -> None:
        """See the port. Raises CommitAborted too where an earlier outcome is unknown and not settled."""
        # a caller that is cancelled leaves it running: the next one waits for it
        await asyncio.shield(asyncio.ensure_future(self._commit(batch)))

    async def settle(self) -> None:
        """See the port. Takes about five seconds at most."""
        async with self._one_at_a_time:
            await self._asked(lambda transactions: transactions.connect())
            self._undecided = False

    async def close(self) -> None:
        """See the port. What is under way is abandoned after three seconds."""
        self._closed = True
        desk, self._desk = self._desk, None
        if desk is None:
            return
        freed = asyncio.wrap_future(desk.commands.call(desk.transactions.drop))
        done, _ = await asyncio.wait([freed], timeout=_CLOSE_SECONDS)
        if not done:
            freed.cancel()
            desk.transactions.abandon()
            self._log(logging.WARNING, "the transaction under way was abandoned: the brokers do not answer")
        desk.commands.close()

    async def _commit(self, batch: Batch) -> None:
        async with self._one_at_a_time:
            if self._undecided:
                raise CommitAborted("the outcome of an earlier transaction is not known yet")
            try:
                await self._asked(lambda transactions: transactions.commit(batch))
            except CommitUnknown:
                self._undecided = True
                raise

    async def _asked(self, question: "Callable[[Transactions], T]") -> T:
        """Run a function on the thread; where the client does not return in time, thread and producer are left behind."""
        if self._closed:
            raise CommitAborted("the sink is closed already")
        desk = self._desk
        if desk is None:
            desk = self._desk = _Desk(Transactions(self._properties, self._commit_timeout, self._log))
        transactions = desk.transactions
        transactions.due = time.monotonic() + OVERDUE_SECONDS
        answer = asyncio.wrap_future(desk.commands.call(lambda: question(transactions)))
        while not answer.done() and (left := transactions.due - time.monotonic()) > 0:
            await asyncio.wait([answer], timeout=left)
        if answer.done():
            return answer.result()
        answer.cancel()
        self._desk = None
        may_stand = transactions.abandon()
        desk.commands.close()
        self._log(logging.ERROR, "the Kafka client did not return from a transaction's call: its producer is given up")
        if may_stand:
            raise CommitUnknown("the transaction may have been committed: the client did not return")
        raise CommitAborted("the client did not return from a transaction's call")


class _Desk:
    """A thread, and what may be done on it. A daemon, so that a call which never returns cannot keep the process from ending."""

    def __init__(self, transactions: Transactions) -> None:
        self.transactions = transactions
        self.commands = CommandQueue()
        threading.Thread(target=self._run, name="kafka-transactions", daemon=True).start()

    def _run(self) -> None:
        while not self.commands.closed:
            self.commands.serve(_IDLE_SECONDS)
        self.transactions.drop()
