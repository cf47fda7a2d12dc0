"""Events produced little by little while everything else goes on, each once whatever happens to the broker."""

from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from tests.integration.events import Event, Place

_FLUSH_SECONDS: Final = 60.0
_AT_ONCE: Final = 0.05


class Feeder:
    """Feeds as many events as the run has progressed, a few of them at once: there is work from the first moment on."""

    def __init__(self, bootstrap_servers: str, topic: str, events: Sequence[Event]) -> None:
        self._topic = topic
        self._events = events
        self.placed: dict[Place, Event] = {}
        self.fed = 0
        # without idempotence a restart of the broker could repeat or reorder events: nobody's fault but the test's
        properties = {"enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 5, "log_level": 0}
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, **properties})

    def feed(self, progress: float) -> None:
        """Produce what is due at this progress, from 0 to 1."""
        self._feed_to(min(len(self._events), int((_AT_ONCE + (1 - _AT_ONCE) * progress) * len(self._events))))
        self._producer.poll(0)

    def finish(self) -> None:
        """Produce the rest, and wait until the broker has taken everything."""
        self._feed_to(len(self._events))
        assert self._producer.flush(_FLUSH_SECONDS) == 0, "the broker does not take the events"
        assert len(self.placed) == len(self._events)

    def _feed_to(self, end: int) -> None:
        for event in self._events[self.fed : end]:

            def reported(error: KafkaError | None, message: Message, event: Event = event) -> None:
                assert error is None, error
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                self.placed[Place(partition, offset)] = event

            headers: list[tuple[str, str | bytes | None]] = list(event.headers)
            self._producer.produce(self._topic, key=event.key, value=event.value, headers=headers, on_delivery=reported)
            self.fed += 1
