"""Consumer groups that no consumer joins: each holds what has been noted under its name, as committed offsets. Blocks."""

import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException

from worker.adapters.kafka.clients import Log, error_of, open_admin
from worker.adapters.kafka.commits import position_of
from worker.adapters.kafka.metadata_limit import asked_limit
from worker.adapters.kafka.properties import admin_properties
from worker.errors import StartError
from worker.model import Position, TopicPartition
from worker.settings.sections import KafkaSettings

_ANSWER_SECONDS: Final = 10.0
_STABLE_SECONDS: Final = 20.0
"""A dead process' transaction holds its offsets back for ten seconds; brokers look for such ones every ten."""
_AGAIN: Final = 0.2
_PASSING: Final = frozenset({
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
})  # fmt: skip


class PlanGroups:
    """The groups whose names begin with `prefix`. What follows the prefix is the id."""

    def __init__(self, settings: KafkaSettings, prefix: str, log: Log) -> None:
        self._settings = settings
        self._prefix = prefix
        self._log = log
        self._admin = open_admin(admin_properties(settings), log)

    def ids(self) -> frozenset[str]:
        """Of all groups that the user may see. Raises StartError."""
        try:
            listing = self._admin.list_consumer_groups(request_timeout=_ANSWER_SECONDS).result(_ANSWER_SECONDS + 1)
        except (KafkaException, FutureTimeoutError) as problem:
            raise _unanswered("listing the replays' consumer groups", problem) from None
        if listing.errors:
            raise _unanswered("listing the replays' consumer groups", listing.errors[0])
        found = [group.group_id for group in listing.valid if group.group_id.startswith(self._prefix)]
        return frozenset(name.removeprefix(self._prefix) for name in found)

    def read(self, plan_id: str) -> Mapping[TopicPartition, Position]:
        """What a group has committed, once no transaction over it is undecided; empty: there is no such group. Raises
        StartError."""
        group = self._prefix + plan_id
        deadline = time.monotonic() + _STABLE_SECONDS
        while True:
            try:
                asked = self._admin.list_consumer_group_offsets(
                    [ConsumerGroupTopicPartitions(group)], require_stable=True, request_timeout=_ANSWER_SECONDS
                )
                found = asked[group].result(_ANSWER_SECONDS + 1).topic_partitions
            except FutureTimeoutError as problem:
                raise _unanswered(f"reading what group {group} has committed", problem) from None
            except KafkaException as problem:
                error: KafkaError | None = error_of(problem)
            else:
                error = next((one.error for one in found if one.error is not None), None)
                if error is None:
                    return {
                        TopicPartition(one.topic, one.partition): position_of(one) for one in found if one.offset >= 0
                    }
            if error is None or error.code() not in _PASSING or time.monotonic() >= deadline:
                raise _unanswered(f"reading what group {group} has committed", error)
            time.sleep(_AGAIN)

    def metadata_limit(self) -> int:
        """Characters that the brokers take with an offset, as far as they tell."""
        return asked_limit(self._settings, self._log)


def _unanswered(action: str, problem: object) -> StartError:
    if isinstance(problem, KafkaException):
        problem = error_of(problem)
    detail = problem.str() if isinstance(problem, KafkaError) else f"no answer in {_ANSWER_SECONDS:g} s"
    return StartError(
        f"{action} failed: {detail}: check WORKER_KAFKA__BOOTSTRAP_SERVERS, and the user's DESCRIBE and READ on consumer groups"
    )
