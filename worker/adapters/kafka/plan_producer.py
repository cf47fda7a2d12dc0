"""Messages and a plan's progress in one transaction. Blocks, but never for ever."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final, TypeVar

from confluent_kafka import Consumer

from worker.adapters.kafka.bridge import CommandQueue
from worker.adapters.kafka.clients import Log, open_consumer
from worker.adapters.kafka.properties import archive_properties, transactional_properties
from worker.adapters.kafka.transactions import OVERDUE_SECONDS, Transactions
from worker.errors import CommitUnknown
from worker.model import Batch, Membership, Message, Position, TopicPartition
from worker.settings.sections import KafkaSettings

T = TypeVar("T")

_CONNECT_SECONDS: Final = 20.0
_COMMIT_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.1


class PlanProducer:
    """Commits under a plan's group, whose name is the `transactional.id` too: whoever connects last with it fences all others.

    The offsets are those of a group that has no members: brokers take such a commit (generation -1) from anybody, and it is the
    transactional id alone that fences. So after every connection, also after one that the client had to make anew, `expected` is
    called: it reads what is committed by now, and raises CommitError where that is not what this process goes by.
    """

    def __init__(self, settings: KafkaSettings, group: str, log: Log, expected: Callable[[], None]) -> None:
        given = settings.model_copy(update={"group_id": group})
        self._log = log
        self._nobody: Consumer = open_consumer(archive_properties(given), log)
        self._group: object = self._nobody.consumer_group_metadata()
        self._transactions = Transactions(transactional_properties(settings, group), _COMMIT_SECONDS, log, expected)
        self._commands = CommandQueue()
        threading.Thread(target=self._run, name="kafka-replay", daemon=True).start()

    def connect(self) -> None:
        """Take the id, abort what a predecessor has left open. Raises CommitError."""
        self._asked(lambda: self._transactions.connect(_CONNECT_SECONDS))

    def commit(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """All or nothing. Raises CommitError; after CommitUnknown and CommitFenced the producer is of no use any more."""
        batch = Batch(tuple(messages), positions, Membership(self._group, dict.fromkeys(positions, 0)))
        self._asked(lambda: self._transactions.commit(batch))

    def close(self) -> None:
        """Free the clients; what is under way is abandoned."""
        self._transactions.abandon()
        self._commands.close()
        self._nobody.close()

    def _asked(self, question: Callable[[], T]) -> T:
        """Run it on the thread; where the client does not return in time, thread and producer are left behind."""
        self._transactions.due = time.monotonic() + OVERDUE_SECONDS
        answer = self._commands.call(question)
        while time.monotonic() < self._transactions.due:
            try:
                return answer.result(_LOOK_SECONDS)
            except FutureTimeoutError:
                if answer.done():
                    raise
        answer.cancel()
        self._transactions.abandon()
        self._log(logging.ERROR, "the Kafka client did not return from a transaction's call: its producer is given up")
        raise CommitUnknown("the transaction may have been committed: the client did not return")

    def _run(self) -> None:
        while not self._commands.closed:
            self._commands.serve(_IDLE_SECONDS)
        self._transactions.drop()
