"""Whether the assigned topics are still those that were assigned: one may be deleted and made again under its name.

librdkafka goes on in the new topic at the old offset and says nothing (seen with 2.16). But from its first fetch that fails for
the deleted topic to its first one in the new topic `fetch.error.backoff.ms` pass, half a second: records that arrive within
less than that after the id was asked for are of the topic with that id.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from math import inf
from typing import Final

from confluent_kafka.admin import TopicDescription  # type: ignore[attr-defined]

from worker.adapters.kafka.clients import Log
from worker.adapters.kafka.places import Places, id_in

_IDLE_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.5
_MISSING_SECONDS: Final = 5.0
"""A broker that has just started may not know its topics yet."""
_BUSY_SECONDS: Final = 0.2
"""Between two questions while records arrive."""
_TRUSTED_SECONDS: Final = 0.4
"""Below `fetch.error.backoff.ms`, which is fixed for this."""


class TopicWatch:
    """Asks for the ids of topics again and again, beside polling. For the consumer's thread only; never blocks."""

    def __init__(self, places: Places, log: Log, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._log = log
        self._monotonic = monotonic
        self._question: Mapping[str, Future[TopicDescription]] | None = None
        self._asked_at = -inf
        self._due = -inf
        self._confirmed: dict[str, float] = {}
        self._suspected: dict[str, tuple[str, float]] = {}

    def renew(self) -> None:
        """Partitions were assigned: an answer that is under way may be older than that."""
        self._question = None
        self._confirmed.clear()
        self._suspected.clear()

    def hasten(self) -> None:
        """Records have come, or something else that makes the ids be wanted sooner."""
        self._due = min(self._due, self._asked_at + _BUSY_SECONDS)

    def trusts(self, topic: str, polled: float) -> bool:
        """Whether records polled at that time (monotonic) are surely of the topic that was assigned."""
        return self.confirms(topic, polled - _TRUSTED_SECONDS)

    def confirms(self, topic: str, since: float) -> bool:
        """Whether the id was asked for after that time (monotonic), and was that of the assignment."""
        return self._places.lasting(topic) or self._confirmed.get(topic, -inf) > since

    def look(self, topics: Collection[str]) -> Collection[str]:
        """Those of the assigned topics that have got another id, or do not exist any more. Told once."""
        changed = self._answers(topics) if self._question is not None else ()
        now = self._monotonic()
        asked = [topic for topic in topics if not self._places.lasting(topic)]
        if self._question is None and asked and now >= self._due:
            self._question, self._asked_at, self._due = self._places.ask(asked), now, now + _IDLE_SECONDS
        return changed

    def _answers(self, topics: Collection[str]) -> Collection[str]:
        question = self._question or {}
        if not all(answer.done() for answer in question.values()):
            return ()
        self._question = None
        return [topic for topic, answer in question.items() if topic in topics and self._changed(topic, answer)]

    def _changed(self, topic: str, answer: "Future[TopicDescription]") -> bool:
        place, found = self._places.of(topic), id_in(answer, topic)
        if place is None or found is None:
            return False
        if found == place[1]:
            self._confirmed[topic] = self._asked_at
            self._suspected.pop(topic, None)
            return False
        # told twice, because a broker may be behind the others
        before = self._suspected.get(topic)
        if before is None or before[0] != found:
            before = self._suspected[topic] = found, self._asked_at
        if self._asked_at - before[1] < (_AGAIN_SECONDS if found else _MISSING_SECONDS):
            self._due = min(self._due, self._asked_at + _AGAIN_SECONDS)
            return False
        if not found:
            self._log(logging.WARNING, f"topic {topic} does not exist any more: it is read again once it is made anew")
        return True
