"""Feeds the demo's events, no more at a time than the embedded broker can keep."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from worker.commands.demo.events import DemoEvent
from worker.errors import WorkerError

WINDOW_BYTES: Final = 4 * 1024 * 1024
"""The embedded broker keeps 5 MiB a partition and drops what is older without a word. An event counts until its outcome has
been read, with the larger of what it is on the input and on the output topic, so that even one partition could hold all."""

_OVERHEAD: Final = 2048
_FLOAT_BYTES: Final = 4
_FLUSH_SECONDS: Final = 30.0


class DemoFeeder:
    """Produces events to one topic. `dimensions` is the length of the vectors of events that ask for none."""

    def __init__(self, servers: str, topic: str, dimensions: int) -> None:
        self._topic = topic
        self._dimensions = dimensions
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 2,
                "message.max.bytes": WINDOW_BYTES,
                "log_level": 0,
            }
        )
        self.fed = 0
        """Events that have been produced."""
        self._outstanding = 0
        self._costs: defaultdict[bytes, deque[int]] = defaultdict(deque)
        self._room = asyncio.Event()
        self._refused: KafkaError | None = None

    async def feed(self, events: Sequence[DemoEvent]) -> None:
        """Produce them all, in order; returns when the broker has them. Raises WorkerError."""
        for event in events:
            cost = self.cost(event)
            while self._outstanding and self._outstanding + cost > WINDOW_BYTES:
                self._producer.poll(0)
                self._room.clear()
                await self._room.wait()
            self._outstanding += cost
            self._costs[event.key].append(cost)
            try:
                self._producer.produce(self._topic, key=event.key, value=event.value, on_delivery=self._delivered)
            except (BufferError, KafkaException) as error:
                raise WorkerError(f"demo: an event cannot be produced: {error}") from None
            self.fed += 1
        left = await asyncio.to_thread(self._producer.flush, _FLUSH_SECONDS)
        if left or self._refused:
            raise WorkerError(f"demo: {left or 'some'} events were not taken by the embedded broker: {self._refused}")

    def ended(self, key: bytes) -> None:
        """An outcome with this key has been read: there is room for more."""
        costs = self._costs.get(key)
        if costs:
            self._outstanding -= costs.popleft()
            self._room.set()

    def cost(self, event: DemoEvent) -> int:
        """Bytes that the event may take in a partition, at most."""
        vector = _FLOAT_BYTES * (event.dimensions or self._dimensions)
        return len(event.key) + max(len(event.value or b""), vector) + _OVERHEAD

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._refused = error
