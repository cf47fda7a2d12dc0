"""Consumer groups that no consumer joins: each holds what has been noted under its name, as committed offsets. Blocks.

They are read by a consumer of the group that never joins it. The admin client has a call for that, but librdkafka ends the whole
process where brokers come back after it has timed out (2.16.0: an assertion in rd_kafka_enq_once_del_source_return).
"""

from collections.abc import Collection, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException

from worker.adapters.kafka import lookups
from worker.adapters.kafka.clients import Log, error_of, open_admin, open_consumer
from worker.adapters.kafka.metadata_limit import asked_limit
from worker.adapters.kafka.properties import admin_properties, reader_properties
from worker.errors import StartError
from worker.model import Position, TopicPartition
from worker.settings.sections import KafkaSettings

_ANSWER_SECONDS: Final = 10.0
_STABLE_SECONDS: Final = 25.0
"""A dead process' transaction holds its offsets back for ten seconds; brokers look for such ones every ten."""
_INTERNAL: Final = "__"


class PlanGroups:
    """The groups whose names begin with `prefix`. What follows the prefix is the id."""

    def __init__(self, settings: KafkaSettings, prefix: str, log: Log) -> None:
        self._settings = settings
        self._prefix = prefix
        self._log = log

    def ids(self) -> frozenset[str]:
        """Of all groups that the user may see. Raises StartError."""
        admin = open_admin(admin_properties(self._settings), self._log)
        try:
            listing = admin.list_consumer_groups(request_timeout=_ANSWER_SECONDS).result(_ANSWER_SECONDS + 1)
        except KafkaException as problem:
            raise _not_listed(error_of(problem)) from None
        except FutureTimeoutError:
            raise _not_listed(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001
        if listing.errors:
            raise _not_listed(error_of(listing.errors[0]))
        found = [group.group_id for group in listing.valid if group.group_id.startswith(self._prefix)]
        return frozenset(name.removeprefix(self._prefix) for name in found)

    def read(self, plan_id: str, topics: Collection[str] | None = None) -> Mapping[TopicPartition, Position]:
        """What a group has committed for these topics (None: for any), once no transaction over it is undecided; empty: nothing.
        Raises StartError."""
        given = self._settings.model_copy(update={"group_id": self._prefix + plan_id})
        reader = open_consumer(reader_properties(given), self._log)
        try:
            counts = _all_counts(reader) if topics is None else lookups.partition_counts(reader, topics)
            return lookups.committed_positions(reader, lookups.partitions_of(counts), _STABLE_SECONDS)
        finally:
            reader.close()

    def metadata_limit(self) -> int:
        """Characters that the brokers take with an offset, as far as they tell."""
        return asked_limit(self._settings, self._log)


def _all_counts(reader: Consumer) -> dict[str, int]:
    """Partitions of every topic that the user may see. Raises StartError."""
    try:
        topics = reader.list_topics(timeout=lookups.LOOKUP_SECONDS).topics
    except KafkaException as problem:
        raise lookups.unanswered("asking for topics", error_of(problem)) from None
    return {
        name: len(topic.partitions)
        for name, topic in topics.items()
        if topic.error is None and not name.startswith(_INTERNAL)
    }


def _not_listed(error: KafkaError) -> StartError:
    return StartError(
        f"listing the replays' consumer groups failed: {error.str()}: check WORKER_KAFKA__BOOTSTRAP_SERVERS, and the user's "
        "DESCRIBE on groups that begin with WORKER_KAFKA__GROUP_ID"
    )
