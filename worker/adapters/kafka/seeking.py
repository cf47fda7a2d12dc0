"""Moving a consumer to an offset. For the consumer's thread only."""

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from worker.adapters.kafka.clients import error_of
from worker.model import TopicPartition


def sought(consumer: Consumer, source: TopicPartition, offset: int) -> bool:
    """Whether the consumer stands at the offset now. The partition may be paused by that."""
    start = ClientPartition(*source, offset)
    try:
        consumer.seek(start)
    except KafkaException as problem:
        # librdkafka has given up a partition whose topic was missing for a while, or whose offset is out of range, and takes
        # it up by an assignment only
        return error_of(problem).code() == KafkaError._STATE and _assigned_again(consumer, start)  # noqa: SLF001
    return True


def _assigned_again(consumer: Consumer, start: ClientPartition) -> bool:
    try:
        consumer.incremental_unassign([start])
        consumer.incremental_assign([start])
        consumer.pause([start])
    except KafkaException:
        return False
    return True
