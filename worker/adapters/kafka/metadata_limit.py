"""How much metadata the brokers take with a committed offset, as far as they tell."""

import asyncio
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from worker.adapters.kafka.clients import Log, open_admin
from worker.adapters.kafka.places import is_embedded
from worker.adapters.kafka.properties import admin_properties
from worker.settings.sections import KafkaSettings

USUAL: Final = 4096
"""Characters: Kafka's default of `offset.metadata.max.bytes`."""

_NAME: Final = "offset.metadata.max.bytes"
_SECONDS: Final = 3.0


async def metadata_limit(settings: KafkaSettings, log: Log) -> int:
    """The smallest `offset.metadata.max.bytes` of all brokers, in characters; Kafka's default where they do not tell (the user
    needs DESCRIBE_CONFIGS on the cluster): a smaller one is then learned from the first refusal."""
    return await asyncio.to_thread(asked_limit, settings, log)


def asked_limit(settings: KafkaSettings, log: Log) -> int:
    """As `metadata_limit`; blocks."""
    admin: AdminClient = open_admin(admin_properties(settings), log)
    try:
        cluster = admin.list_topics(timeout=_SECONDS)
        if is_embedded(cluster.cluster_id or ""):
            return USUAL
        brokers = [ConfigResource(ConfigResource.Type.BROKER, str(number)) for number in cluster.brokers]
        answers = admin.describe_configs(brokers, request_timeout=_SECONDS).values()
        return min(int(answer.result(_SECONDS + 1.0)[_NAME].value) for answer in answers)
    except (KafkaException, FutureTimeoutError, KeyError, TypeError, ValueError):
        return USUAL
