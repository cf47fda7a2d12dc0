"""What a replay stands on. Everything blocks, and belongs to one thread."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from worker.model import Message, Position, Record, TopicPartition


class Archive(Protocol):
    """Topics, read without joining any group. All of it raises StartError where the brokers do not answer or refuse."""

    def partition_counts(self, names: Iterable[str]) -> Mapping[str, int]:
        """Partitions of each topic; a StartError lists all that are missing."""

    def bounds(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset and `read_committed` end of each."""

    def fingerprints(self, names: Collection[str]) -> Mapping[str, str]:
        """What tells each topic from another one of its name, as hex digits."""

    def scan(self, source: TopicPartition, begin: int, end: int) -> Iterator[Sequence[Record]]:
        """The committed records from `begin` up to `end`, some at a time; at times none, so that the caller can look around."""

    def record(self, source: TopicPartition, offset: int) -> Record | None:
        """The record at one offset; None where there is none any more."""


class Plans(Protocol):
    """Where plans are kept."""

    def ids(self) -> Collection[str]:
        """Of all that there are. Raises StartError."""

    def read(self, plan_id: str, topics: Collection[str] | None = None) -> Mapping[TopicPartition, Position]:
        """What has been committed under one for these topics (None: for any); empty: nothing. Raises StartError."""

    def metadata_limit(self) -> int:
        """Characters that go with a position at the most."""


class Production(Protocol):
    """Messages and progress, all or nothing."""

    def connect(self) -> None:
        """Fence every other process that goes on with the plan. Raises CommitError."""

    def commit(self, messages: Sequence[Message], positions: Mapping[TopicPartition, Position]) -> None:
        """Produce and commit. Raises CommitError."""

    def close(self) -> None:
        """Abandon what is under way."""


OpenProduction = Callable[[str, Callable[[], None]], Production]
"""Opens the production of a plan's id. The callable is called after each connection and raises CommitError or StartError where
the plan is not where this process believes it to be."""


class Watch(Protocol):
    """Hears how far a replay is."""

    def phase(self, title: str, total: int) -> None:
        """Something begins that goes through so many offsets or letters."""

    def advance(self, count: int) -> None:
        """So many of them are done."""


class NoWatch:
    """Hears nothing."""

    def phase(self, title: str, total: int) -> None:
        """Nothing."""

    def advance(self, count: int) -> None:
        """Nothing."""
