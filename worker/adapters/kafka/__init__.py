"""Kafka: the ports `Source` and `Sink` on confluent-kafka, and what must be asked of a cluster before joining."""

from worker.adapters.kafka.admin import Topics
from worker.adapters.kafka.group_start import GroupStart
from worker.adapters.kafka.sink import KafkaSink
from worker.adapters.kafka.source import KafkaSource

__all__ = ["GroupStart", "KafkaSink", "KafkaSource", "Topics"]
