"""Kafka: the ports `Source` and `Sink` on confluent-kafka, and what must be asked of a cluster before joining."""

from worker.adapters.kafka.admin import Topics
from worker.adapters.kafka.archive import KafkaArchive
from worker.adapters.kafka.group_offsets import GroupOffsets, GroupReading
from worker.adapters.kafka.group_start import GroupStart, first_offsets, without_offsets
from worker.adapters.kafka.metadata_limit import metadata_limit
from worker.adapters.kafka.plan_groups import PlanGroups
from worker.adapters.kafka.plan_producer import PlanProducer
from worker.adapters.kafka.properties import session_timeout
from worker.adapters.kafka.sink import KafkaSink
from worker.adapters.kafka.source import KafkaSource
from worker.adapters.kafka.transactional_sink import TransactionalSink

__all__ = [
    "GroupOffsets",
    "GroupReading",
    "GroupStart",
    "KafkaArchive",
    "KafkaSink",
    "KafkaSource",
    "PlanGroups",
    "PlanProducer",
    "Topics",
    "TransactionalSink",
    "first_offsets",
    "metadata_limit",
    "session_timeout",
    "without_offsets",
]
