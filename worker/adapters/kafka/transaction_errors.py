"""What is made of the errors of a transaction that was aborted."""

from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError

from worker.adapters.kafka.producing import REFUSED, undelivered
from worker.errors import CommitAborted, CommitError, CommitFenced, MetadataTooLarge
from worker.model import Batch

# what befalls a message because its transaction has failed
_INNOCENT: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._STATE)  # noqa: SLF001
_NO_MEMBER: Final = frozenset({
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.REBALANCE_IN_PROGRESS,
})  # fmt: skip

_FENCED: Final = frozenset({
    KafkaError._FENCED,  # noqa: SLF001
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
})  # fmt: skip


def sorted_out(errors: Mapping[int, KafkaError]) -> tuple[dict[int, KafkaError], dict[int, KafkaError]]:
    """Messages that were refused for good, perhaps for a neighbour in their request, and those that failed otherwise; without
    those that only failed with their transaction."""
    causes = {index: error for index, error in errors.items() if error.code() not in _INNOCENT}
    refused = {index: error for index, error in causes.items() if error.code() in REFUSED}
    return refused, {index: error for index, error in causes.items() if index not in refused}


def why_aborted(batch: Batch, error: KafkaError, failed: Mapping[int, KafkaError]) -> CommitError:
    """What to raise: `error` of the transaction, `failed` of messages."""
    if fenced(error) or any(fenced(each) for each in failed.values()):
        return CommitFenced(f"the transaction was aborted: {error.str()}")
    if failed:
        first = min(failed)
        return CommitAborted(undelivered(batch.messages[first].topic, failed[first], len(failed)))
    if error.code() == KafkaError.OFFSET_METADATA_TOO_LARGE:
        longest = max(len(position.metadata) for position in batch.positions.values())
        return MetadataTooLarge(f"offset metadata of {longest} characters refused: raise offset.metadata.max.bytes")
    return CommitAborted(f"the transaction was aborted: {advice(error)}")


def fenced(error: KafkaError) -> bool:
    """Whether the error says that another producer has the transactional id now."""
    return error.code() in _FENCED


def advice(error: KafkaError) -> str:
    """An error of the client in words that help, where there are any."""
    if error.code() in _NO_MEMBER:
        return "the consumer group has been rebalanced since the batch was begun"
    if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return "grant WRITE on transactional ids that begin with the group's id to the user"
    return error.str()
