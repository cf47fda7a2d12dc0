"""The port `Source` on a consumer that lives on a thread of its own.

Since confluent-kafka 2.16 every call of a consumer waits for a running `poll()`, so one thread owns it and everybody
else sends it commands; records come back to the event loop as one list per round.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final, Never

from worker.adapters.kafka.bridge import CommandQueue, LoopListener, settle
from worker.adapters.kafka.clients import Log
from worker.adapters.kafka.group_start import GroupStart
from worker.adapters.kafka.member import Member
from worker.adapters.kafka.places import Places
from worker.adapters.kafka.properties import consumer_properties
from worker.errors import CommitAborted, StartError
from worker.model import Membership, Position, TopicPartition
from worker.ports import Listener
from worker.settings.sections import KafkaSettings

_LEAVE_SECONDS: Final = 3.0
_AGAIN_SECONDS: Final = 0.02


class KafkaSource:
    """Input records of the group's partitions. All methods belong to one event loop.

    `revoke_timeout`: seconds that the listener has for handing partitions back. `commit_timeout`: seconds after which
    a commit without answer counts as aborted (it may still come to stand; nothing newer is sent before it is settled).
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        *,
        log: Log,
        revoke_timeout: float = 5.0,
        commit_timeout: float = 10.0,
        recall_timeout: float = 5.0,
    ) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._log = log
        self._revoke_timeout = revoke_timeout
        self._commit_timeout = commit_timeout
        self._recall_timeout = recall_timeout
        self._commands = CommandQueue()
        self._member: Member | None = None
        self._finished: Future[None] = Future()
        self._error: Exception | None = None
        self._failed = asyncio.Event()

    async def start(self, listener: Listener) -> None:
        """Settle where the group begins, then join it; assignments follow. Raises StartError and ConfigurationError."""
        properties = consumer_properties(self._settings)
        await GroupStart(self._settings, self._topics, self._log).settle()
        loop = asyncio.get_running_loop()
        bridge = LoopListener(loop, listener, self._fail)
        member = Member(
            properties,
            self._topics,
            self._commands,
            bridge,
            Places(self._settings, self._log),
            log=self._log,
            revoke_timeout=self._revoke_timeout,
            on_out_of_range=self._settings.on_out_of_range,
        )
        self._member = member
        # a daemon, so that a broker which never answers cannot keep the process from ending
        threading.Thread(target=self._run, args=(member, bridge), name="kafka-consumer", daemon=True).start()

    async def wait_failed(self) -> Never:
        """Returns never; raises what ended the consumer (StartError with the fix, or the listener's own exception)."""
        await self._failed.wait()
        raise self._error or CommitAborted("the Kafka consumer ended")

    def stalled(self) -> float:
        """See the port."""
        return time.monotonic() - self._member.turned if self._member is not None else 0.0

    def waiting(self) -> Sequence[str]:
        """See the port. Up to half a second old."""
        return self._member.waiting if self._member is not None else ()

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """See the port. In force before the next record is fetched when called inside `Listener.arrived`."""
        if self._member is not None:
            wanted = tuple(partitions)
            self._commands.call(lambda: self._joined().pause(wanted))

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """See the port."""
        if self._member is not None:
            wanted = tuple(partitions)
            self._commands.call(lambda: self._joined().resume(wanted))

    async def snapshot(self) -> Membership:
        """See the port."""
        return await asyncio.wrap_future(self._commands.call(self._joined().snapshot))

    async def commit(self, positions: Mapping[TopicPartition, Position], membership: Membership) -> None:
        """See the port. Partitions owned under another number than in `membership` are left out."""
        if not positions:
            return
        member = self._joined()
        done: Future[None] = Future()
        wanted = dict(positions)
        sent = self._commands.call(lambda: member.commit(wanted, membership, done))
        try:
            async with asyncio.timeout(self._commit_timeout):
                await asyncio.wrap_future(sent)
                await asyncio.wrap_future(done)
        except TimeoutError:
            raise CommitAborted(f"the offset commit had no answer for {self._commit_timeout:g} s") from None

    async def positions(self) -> Mapping[TopicPartition, int]:
        """See the port. Raises CommitAborted when closed."""
        return await asyncio.wrap_future(self._commands.call(self._joined().positions))

    async def recall(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """See the port. Takes about `recall_timeout` at most; works while partitions are being given back."""
        member = self._joined()
        deadline = time.monotonic() + self._recall_timeout
        found: dict[TopicPartition, Position] = {}
        # one undecided partition leaves a question for all without answer
        questions = [tuple(partitions)]
        while questions:
            for some in questions:
                found.update(await asyncio.wrap_future(self._commands.call(partial(member.recall, some))))
                if time.monotonic() >= deadline:
                    break
            questions = [(partition,) for partition in partitions if partition not in found]
            if questions:
                if time.monotonic() >= deadline:
                    raise CommitAborted(
                        f"the committed offset of {questions[0][0]} cannot be told: a transaction over it is undecided, "
                        "or the brokers do not answer"
                    )
                await asyncio.sleep(_AGAIN_SECONDS)
        return found

    async def committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """See the port."""
        wanted = tuple(partitions)
        try:
            return await asyncio.wrap_future(self._commands.call(lambda: self._joined().committed(wanted)))
        except (CommitAborted, StartError):
            return {}

    async def close(self) -> None:
        """See the port. Without brokers librdkafka does not come to an end (watched for 100 s): it is left behind then."""
        if self._member is None:
            return
        self._commands.call(self._member.stop)
        try:
            async with asyncio.timeout(self._revoke_timeout + _LEAVE_SECONDS):
                await asyncio.shield(asyncio.wrap_future(self._finished))
        except TimeoutError:
            self._log(logging.WARNING, "the consumer group was not left in order: the brokers do not answer")

    def _joined(self) -> Member:
        if self._member is None:
            raise CommitAborted("the source has not been started")
        return self._member

    def _run(self, member: Member, bridge: LoopListener) -> None:
        try:
            member.run()
        except Exception as error:  # noqa: BLE001  # the thread's end is told to the event loop, whatever it was
            bridge.post(self._fail, error)
        finally:
            settle(self._finished, None)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
            self._failed.set()
