"""Which cluster this is, and which ids its topics have: a topic deleted and made again keeps its name only."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]

from worker.adapters.kafka.clients import Log, error_of, open_admin
from worker.adapters.kafka.properties import admin_properties
from worker.errors import StartError
from worker.settings.sections import KafkaSettings

_CLUSTER_SECONDS: Final = 0.5
_TOPIC_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 0.002
_EMBEDDED: Final = "mockCluster"
"""How the id of librdkafka's mock cluster begins, which answers no question of an admin client."""

_NO_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"
"""How Kafka writes the id that means none."""


@dataclass(slots=True)
class _Asked:
    future: "Future[TopicDescription] | None" = None
    not_before: float = field(default=0.0)


def is_embedded(cluster: str) -> bool:
    """Whether a cluster of this id is librdkafka's mock."""
    return cluster.startswith(_EMBEDDED)


class Places:
    """Asks for ids, and asks again until there is an answer: an error or a time-out never means that there is no id.

    One thread at a time. Brokers that know no ids of topics (the embedded one; Kafka before 2.8) have a topic's name as its id.
    """

    def __init__(self, settings: KafkaSettings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._admin: AdminClient | None = None
        self._cluster = ""
        self._asked: dict[str, _Asked] = {}
        self._ids: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self._replaced: set[str] = set()

    def renew(self, topics: Collection[str], after: float = 0.0) -> None:
        """Forget what is known of these, and of the cluster: partitions of theirs were assigned. `after`: seconds until they are
        asked for. Without topics (a rebalance that brings nothing new) all stays known: nobody would ask again."""
        if topics:
            self._cluster = ""
        for topic in topics:
            if topic in self._ids:
                self._last[topic] = self._ids.pop(topic)
            self._asked[topic] = _Asked(not_before=time.monotonic() + after)

    def replaced(self, topic: str) -> bool:
        """Whether the topic was found with another id than before."""
        return topic in self._replaced

    def lasting(self, topic: str) -> bool:
        """Whether the topic is known to have no id that could change."""
        return self._ids.get(topic) == topic

    def of(self, topic: str) -> tuple[str, str] | None:
        """Cluster id and topic id; None: not known yet."""
        return (self._cluster, self._ids[topic]) if self._cluster and topic in self._ids else None

    def known(self, topic: str) -> tuple[str, str]:
        """As `of`, after `wait`."""
        return self._cluster, self._ids[topic]

    def look(self, consumer: Consumer) -> None:
        """Ask for what is missing, and take the answers there are. Blocks for half a second at most."""
        if not self._asked:
            return
        if not self._cluster:
            try:
                self._cluster = consumer.list_topics(next(iter(self._asked)), timeout=_CLUSTER_SECONDS).cluster_id or ""
            except KafkaException:
                return
        for topic, asked in tuple(self._asked.items()):
            found = topic if is_embedded(self._cluster) else self._answer(topic, asked)
            if found:
                if self._last.get(topic, found) != found:
                    self._replaced.add(topic)
                self._ids[topic] = found
                del self._asked[topic]

    def wait(self, consumer: Consumer, topics: Collection[str], seconds: float) -> None:
        """`renew` and `look` until all are known. Raises StartError."""
        deadline = time.monotonic() + seconds
        self.renew(topics)
        while self._asked or not self._cluster:
            if time.monotonic() >= deadline:
                raise StartError(f"the ids of the cluster and of {', '.join(topics)}: no answer in {seconds:g} s")
            self.look(consumer)
            time.sleep(_LOOK_SECONDS)

    def ask(self, topics: Collection[str]) -> "Mapping[str, Future[TopicDescription]]":
        """Ask for the ids of these, in one request. `id_in` reads the answers."""
        if self._admin is None:
            self._admin = open_admin(admin_properties(self._settings), self._log)
        try:
            return self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=_TOPIC_SECONDS)
        except KafkaException as problem:
            failed: Future[TopicDescription] = Future()
            failed.set_exception(problem)
            return dict.fromkeys(topics, failed)

    def _answer(self, topic: str, asked: _Asked) -> str:
        """The id, or nothing yet."""
        now = time.monotonic()
        if asked.future is None:
            if now >= asked.not_before:
                asked.future = self.ask((topic,))[topic]
            return ""
        if not asked.future.done():
            return ""
        found = id_in(asked.future, topic)
        if not found:
            self._asked[topic] = _Asked(not_before=now + _AGAIN_SECONDS)
        return found or ""


def id_in(answer: "Future[TopicDescription]", topic: str) -> str | None:
    """The id in an answer that is done; empty: there is no such topic; None: that cannot be told at the moment."""
    try:
        found = str(answer.result().topic_id)
    except KafkaException as problem:
        return "" if error_of(problem).code() == KafkaError.UNKNOWN_TOPIC_OR_PART else None
    return topic if found == _NO_ID else found
