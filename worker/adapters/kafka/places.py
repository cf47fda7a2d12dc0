"""Which cluster this is, and which ids its topics have: a topic deleted and made again keeps its name only."""

import time
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]

from worker.adapters.kafka.clients import Log, open_admin
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

    def renew(self, topics: Collection[str]) -> None:
        """Forget what is known of these, and of the cluster: partitions of theirs were assigned."""
        self._cluster = ""
        for topic in topics:
            self._ids.pop(topic, None)
            self._asked[topic] = _Asked()

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
            found = topic if self._cluster.startswith(_EMBEDDED) else self._answer(topic, asked)
            if found:
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

    def _answer(self, topic: str, asked: _Asked) -> str:
        """The id, or nothing yet."""
        now = time.monotonic()
        if asked.future is None:
            if now >= asked.not_before:
                asked.future = self._question(topic)
            return ""
        if not asked.future.done():
            return ""
        try:
            found = asked.future.result()
        except KafkaException:
            self._asked[topic] = _Asked(not_before=now + _AGAIN_SECONDS)
            return ""
        return topic if str(found.topic_id) == _NO_ID else str(found.topic_id)

    def _question(self, topic: str) -> "Future[TopicDescription]":
        if self._admin is None:
            self._admin = open_admin(admin_properties(self._settings), self._log)
        try:
            return self._admin.describe_topics(TopicCollection([topic]), request_timeout=_TOPIC_SECONDS)[topic]
        except KafkaException as problem:
            failed: Future[TopicDescription] = Future()
            failed.set_exception(problem)
            return failed
