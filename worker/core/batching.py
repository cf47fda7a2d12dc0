"""How much goes into one batch, and how often batches go."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from worker.model import Message

BATCH_BYTES = 8_000_000
"""Most bytes of messages in one batch (rule 6 of the commit protocol)."""

LARGE_BYTES = 500_000
"""A message of this size or more is committed alone: should the broker refuse it, no other waits for the next batch."""

_METADATA_RATE = 256 * 1024
"""Bytes of ledgers a second that one worker writes at most: all commits of a group land on one partition (rule 9)."""

_OF_LEASE = 0.25
"""The interval between commits is at most this fraction of the lease (rule 9)."""


def fitting(messages: Iterable[Message | None], refused: Mapping[str, int] = MappingProxyType({})) -> int:
    """How many of these, in their order, go into one batch: at least one; a large one alone. None: an outcome without message.
    `refused`: by topic, from how many bytes on its brokers have refused a message: such a one counts as large."""
    size = count = 0
    for count, message in enumerate(messages):
        added = message_bytes(message)
        size += added
        large = message is not None and added >= min(LARGE_BYTES, refused.get(message.topic, LARGE_BYTES))
        if large and not count:
            return 1
        if count and (large or size > BATCH_BYTES):
            return count
    return count + 1


def message_bytes(message: Message | None) -> int:
    """Bytes of key, value and headers."""
    if message is None:
        return 0
    headers = sum(len(name) + len(value or b"") for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers


def interval(wanted: float, metadata_bytes: int, lease: float) -> float:
    """Seconds between two commits, where `wanted` is the setting and the last batch had so many bytes of ledgers."""
    return min(max(wanted, metadata_bytes / _METADATA_RATE), _OF_LEASE * lease)
