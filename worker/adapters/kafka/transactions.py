"""Transactions of messages and offsets, one after the other. Blocks: for a thread of its own.

Errors are handed around as `KafkaError`, never raised from where the producer is in reach: a traceback would keep it alive.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.adapters.kafka.clients import Log, error_of, open_producer
from worker.adapters.kafka.commits import client_partitions
from worker.adapters.kafka.producing import hand_over, refusal
from worker.adapters.kafka.records import is_member
from worker.adapters.kafka.transaction_errors import advice, fenced, sorted_out, why_aborted
from worker.errors import CommitAborted, CommitFenced, CommitUnknown, MessageRefused, WorkerError
from worker.model import Batch, Message

OVERDUE_SECONDS: Final = 3.0
"""By which a call of the client may exceed the time it was given. Sending offsets does, for ever, after some restarts of a broker
(librdkafka #5456: always unless `metadata.recovery.strategy` is none, at times even then)."""
_INIT_SECONDS: Final = 5.0
_WELCOME_SECONDS: Final = 30.0
_OFFSETS_SECONDS: Final = 2.0
_ABORT_SECONDS: Final = 5.0
_COMMIT_CALL_SECONDS: Final = 2.0
_SINGLE_FLUSH_SECONDS: Final = 2.0

_ENDS: Final = "the worker ends"


class Transactions:
    """One producer, made anew with the same id where it failed. All but `abandon` and `due` belong to one thread.

    `properties` are shared by all that come after each other with this id. `commit_seconds`: after so long without an answer to
    the commit itself its outcome is unknown. `connected` is called after each connection and may raise WorkerError; where it is
    given, the id alone fences: offsets may be those of a group that has no members.
    """

    def __init__(
        self, properties: dict[str, Any], commit_seconds: float, log: Log, connected: Callable[[], None] | None = None
    ) -> None:
        self.due = math.inf
        """The time (monotonic) by which the call under way should have returned."""
        self._properties = properties
        self._delivery_seconds = properties["transaction.timeout.ms"] / 1000
        self._commit_seconds = commit_seconds
        self._log = log
        self._connected = connected
        self._producer: Producer | None = None
        self._lock = threading.Lock()
        self._ready = self._abandoned = self._committing = False

    def connect(self, seconds: float = _INIT_SECONDS) -> None:
        """Have a producer, with every earlier transaction of this id decided. Raises CommitAborted; may be called again."""
        self._committing = False
        if self._ready:
            return
        if self._producer is None:
            self._producer = open_producer(self._properties, self._log)
        error = self._call(self._client.init_transactions, seconds)
        if error is None:
            self._welcome()
            return
        if not error.retriable():
            self.drop()
        raise (CommitFenced if fenced(error) else CommitAborted)(f"no transaction can be begun: {advice(error)}")

    def _welcome(self) -> None:
        self._watched(_WELCOME_SECONDS)
        try:
            if self._connected is not None:
                self._connected()
        except WorkerError:
            self.drop()
            raise
        self._ready = True

    def commit(self, batch: Batch) -> None:
        """See the port `Sink`."""
        self._check(batch)
        refused = self._transaction(batch, singly=False)
        if not refused:
            return
        if len(batch.messages) > 1 and not self._one_a_request:
            # a whole request is refused for one message of it: alone each gets an answer of its own
            refused = self._transaction(batch, singly=True)
            if not refused:
                self._send_one_a_request()
                return
        raise MessageRefused(refusal(batch.messages, refused), sorted(refused))

    def abandon(self) -> bool:
        """Make whatever is under way have no effect on its return, as far as that is still possible: False. True: the commit may
        have been sent. From any thread."""
        with self._lock:
            self._abandoned = True
            return self._committing

    def drop(self) -> None:
        """Free the producer; what it had begun is aborted by its successor or by the brokers."""
        producer, self._producer, self._ready = self._producer, None, False
        if producer is not None:
            self.due = time.monotonic() + OVERDUE_SECONDS
            with contextlib.suppress(KafkaException):  # that of a fatal error, which any call may raise
                producer.purge(blocking=False)
                producer.poll(0)

    @property
    def _one_a_request(self) -> bool:
        return self._properties.get("batch.num.messages") == 1

    def _transaction(self, batch: Batch, *, singly: bool) -> Mapping[int, KafkaError]:
        """The messages that were refused, by index; none: all is committed. Raises CommitAborted, CommitUnknown and
        MetadataTooLarge. `singly`: one message a request, up to the first that is not taken."""
        self.connect()
        errors: dict[int, KafkaError] = {}
        error = (
            self._begin()
            or self._produce(batch.messages, errors, singly=singly)
            or self._send_offsets(batch)
            or self._flush(errors)
            or self._commit()
        )
        if error is None:
            return {}
        self._abort()
        if errors:
            # else librdkafka purges messages of the next transaction too, while it gets itself a new epoch (seen with 2.16.0)
            self.drop()
        if self._committing:
            # all was delivered: whatever was answered to the commit itself
            raise CommitUnknown(f"the transaction may have been committed: {error.str()}")
        refused, failed = sorted_out(errors)
        if refused and not failed:
            return refused
        raise why_aborted(batch, error, failed)

    def _begin(self) -> KafkaError | None:
        return self._call(lambda _: self._client.begin_transaction(), 0.0)

    def _produce(
        self, messages: Sequence[Message], errors: dict[int, KafkaError], *, singly: bool
    ) -> KafkaError | None:
        deadline = self._watched(self._delivery_seconds)

        def reported(index: int, error: KafkaError | None, _message: object) -> None:
            if error is not None:
                errors[index] = error

        for index, message in enumerate(messages):
            error = hand_over(self._client, message, partial(reported, index), lambda: time.monotonic() >= deadline)
            if error is not None:
                errors[index] = error
            elif singly:
                error = self._flush(errors, _SINGLE_FLUSH_SECONDS)
            if error is not None:
                return error
        return None

    def _send_offsets(self, batch: Batch) -> KafkaError | None:
        """Any error of this call means abort, of whatever kind it says it is: a commit could leave the offsets out."""
        if not batch.positions:
            return None
        offsets = client_partitions(batch.positions)
        group = batch.membership.group
        return self._call(
            lambda seconds: self._client.send_offsets_to_transaction(offsets, group, seconds), _OFFSETS_SECONDS
        )

    def _flush(self, errors: Mapping[int, KafkaError], seconds: float | None = None) -> KafkaError | None:
        """So that the commit which follows has nothing to do but to commit: its failure says something of it alone."""

        def flush(seconds: float) -> None:
            if left := self._client.flush(seconds):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{left} message(s) not delivered in time"))  # noqa: SLF001

        failed = self._call(flush, seconds or self._delivery_seconds) if not errors else None
        return next(iter(errors.values()), failed)

    def _commit(self) -> KafkaError | None:
        """An error after which to abort. Raises CommitUnknown after any other."""
        with self._lock:
            if self._abandoned:
                raise CommitAborted(_ENDS)
            self._committing = True
        deadline = time.monotonic() + self._commit_seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            error = self._call(self._client.commit_transaction, min(left, _COMMIT_CALL_SECONDS))
            if error is None or error.txn_requires_abort():
                return error
            if not error.retriable() or time.monotonic() >= deadline:
                self.drop()
                raise CommitUnknown(f"the transaction may have been committed: {error.str()}")

    def _abort(self) -> None:
        """The successor of a producer that cannot abort does it when it connects."""
        if self._producer is not None and self._call(self._client.abort_transaction, _ABORT_SECONDS) is not None:
            self.drop()

    def _send_one_a_request(self) -> None:
        """The topic takes each message, but not so many in one request as the client sends."""
        self._log(
            logging.WARNING,
            "a topic's max.message.bytes is below the client's batch.size: messages are sent one a request from now on",
        )
        self._properties["batch.num.messages"] = 1
        self.drop()

    @property
    def _client(self) -> Producer:
        if self._producer is None:
            raise CommitAborted("the producer was dropped")
        return self._producer

    def _check(self, batch: Batch) -> None:
        """Brokers would take the offsets of a worker that is in no group unfenced."""
        if self._connected is None and batch.positions and not is_member(batch.membership.group):
            raise CommitAborted("this worker is in no consumer group at the moment")
        strange = batch.positions.keys() - batch.membership.owned.keys()
        if strange:
            raise CommitAborted(f"{', '.join(map(str, sorted(strange)))}: not this worker's at the moment")

    def _call(self, function: Callable[[float], object], seconds: float) -> KafkaError | None:
        """Call the client, watched; its error."""
        self._watched(seconds)
        if self._abandoned:
            raise CommitUnknown(_ENDS) if self._committing else CommitAborted(_ENDS)
        try:
            function(seconds)
        except KafkaException as problem:
            return error_of(problem)
        except ValueError as problem:  # offsets that the client does not take, such as a zero within their metadata
            return KafkaError(KafkaError._INVALID_ARG, str(problem))  # noqa: SLF001
        except SystemError as problem:  # seen once: `flush` of a fenced producer returned without a result
            return KafkaError(KafkaError._FATAL, str(problem))  # noqa: SLF001
        return None

    def _watched(self, seconds: float) -> float:
        """When these seconds are over (monotonic); soon afterwards the thread is given up."""
        deadline = time.monotonic() + seconds
        self.due = deadline + OVERDUE_SECONDS
        return deadline
