"""The committed offsets of a group, and those that wait for a transaction's marker."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from worker.errors import MetadataTooLarge
from worker.model import Position, TopicPartition

METADATA_MAX: Final = 4096
"""Characters: `offset.metadata.max.bytes`. The client sends a NUL behind the metadata, which counts."""


class Undecided(Protocol):
    """The transaction that offsets were sent in."""

    @property
    def committed(self) -> bool | None:
        """None: not decided yet."""


class GroupOffsets:
    """`committed` may be changed by tests: that is an operator's reset."""

    def __init__(self) -> None:
        self.committed: dict[TopicPartition, Position] = {}
        self.when_stable: list[Callable[[], None]] = []
        self._sequence = 0
        self._written: dict[TopicPartition, int] = {}
        self._pending: dict[TopicPartition, dict[Undecided, tuple[int, Position]]] = {}

    def write(self, positions: Mapping[TopicPartition, Position]) -> None:
        """A plain commit: stands at once."""
        self._sequence += 1
        for where, position in positions.items():
            self.committed[where] = position
            self._written[where] = self._sequence

    def pend(self, transaction: Undecided, positions: Mapping[TopicPartition, Position]) -> None:
        """Offsets sent in a transaction: stand with its marker."""
        self._sequence += 1
        for where, position in positions.items():
            self._pending.setdefault(where, {})[transaction] = (self._sequence, position)

    def mark(self, transaction: Undecided, partitions: Collection[TopicPartition]) -> None:
        """The marker is there. What was sent later, by whatever way, wins."""
        for where in partitions:
            pending = self._pending.get(where, {})
            found = pending.pop(transaction, None)
            if found and transaction.committed and found[0] > self._written.get(where, 0):
                self._written[where], self.committed[where] = found
            if not pending:
                self._pending.pop(where, None)
        waiting, self.when_stable = self.when_stable, []
        for callback in waiting:
            asyncio.get_running_loop().call_soon(callback)

    def is_stable(self, where: TopicPartition) -> bool:
        """Whether no transaction over it waits for its marker."""
        return where not in self._pending

    def latest(self, where: TopicPartition) -> Position | None:
        """What will be committed when the markers of all decided transactions are there."""
        best = (self._written.get(where, 0), self.committed.get(where))
        for transaction, found in self._pending.get(where, {}).items():
            if transaction.committed and found[0] > best[0]:
                best = found
        return best[1]

    def knows(self, where: TopicPartition) -> bool:
        """Whether an offset is committed or pending."""
        return where in self.committed or where in self._pending

    def forget(self, topic: str) -> None:
        """The topic has been deleted."""
        for mapping in (self.committed, self._written, self._pending):
            for where in [where for where in mapping if where.topic == topic]:
                del mapping[where]


def too_large(positions: Mapping[TopicPartition, Position], most: int) -> MetadataTooLarge | None:
    """The error for positions whose metadata is longer than the broker takes."""
    longest = max((len(position.metadata) for position in positions.values()), default=0)
    if longest + 1 <= most:
        return None
    return MetadataTooLarge(
        f"the broker takes {most - 1} characters of metadata with an offset, the longest has {longest}"
    )
