"""The seams of the worker. Each port has a fake in `tests/fakes/` and one conformance suite that runs on the fake and on
the real adapter."""

from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Never, Protocol

from worker.model import (
    Assignment,
    Batch,
    Completed,
    Credits,
    Embedding,
    EmbedRequest,
    JobState,
    Membership,
    Position,
    Record,
    Redacted,
    TopicPartition,
)
from worker.notices import Notice


class Listener(Protocol):
    """Who hears from a `Source`. All calls come on the event loop, in the order in which things happened."""

    def assigned(self, assignments: Mapping[TopicPartition, Assignment]) -> None:
        """Partitions are owned from now on. They are paused until the listener resumes them."""

    def arrived(self, records: Sequence[Record]) -> None:
        """Records were fetched, per partition in offset order. Must not block; may pause partitions."""

    def revoked(self, partitions: Collection[TopicPartition]) -> Coroutine[Any, Any, None]:
        """Partitions are about to go. They are still owned, and commits for them still possible, until what is returned ends; the
        source waits for it, but not for ever. Which assignments are meant is settled by the call, so that it can be in the order
        in which things happened."""

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions have gone already: drop them, write nothing."""


class Source(Protocol):
    """Input records of the partitions that the group gives to this worker."""

    async def start(self, listener: Listener) -> None:
        """Join the group. Raises StartError where the surroundings do not allow it."""

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch no more of these; at once for records not yet handed over. Ignores partitions not owned."""

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch these again. Ignores partitions not owned."""

    async def snapshot(self) -> Membership:
        """Ownership and group metadata of one moment. Raises CommitAborted while the worker is in no group."""

    async def commit(self, positions: Mapping[TopicPartition, Position], membership: Membership) -> None:
        """Commit offsets outside a transaction. Raises CommitAborted where the group refuses."""

    async def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset to be handed over, of each owned partition (past transaction markers and gaps)."""

    async def recall(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """The committed positions of these, with metadata, once no transaction over them is undecided. Raises CommitAborted where
        one of them cannot be told at the moment; an error never means "no offset"."""

    async def committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """What the group has committed for these, whoever owns them. Left out: what has no committed offset, and what cannot
        be known at the moment (no answer, no group). Raises nothing."""

    def stalled(self) -> float:
        """Seconds since the client was last polled; 0 before the start."""

    def waiting(self) -> Sequence[str]:
        """What stands and why, one sentence each: partitions whose start or whose topic's id could not be told for a minute,
        records held back for ten seconds because no broker confirms their topic's id, partitions whose offset is not in the
        topic; and, while nothing is owned, that partitions are assigned but their starts not yet known."""

    async def wait_failed(self) -> Never:
        """Wait for what the source cannot mend (a fatal client error): raises it, never returns."""

    async def close(self) -> None:
        """Call `Listener.revoked` for all that is owned, leave the group, free everything. May be called twice."""


class Sink(Protocol):
    """Where outcomes go, together with the offsets that make them final."""

    async def start(self) -> None:
        """Connect. Raises StartError."""

    async def commit(self, batch: Batch) -> None:
        """Publish all messages, then (or in the same transaction) commit the positions.

        Returns when both are durable. Raises MessageRefused, MetadataTooLarge or CommitAborted; in all three cases the batch does
        not stand. Raises CommitUnknown where that cannot be told: then nothing more may be committed until `settle` has returned
        and the committed positions have been read. With at-least-once delivery nothing is unknown, and the error's `published`
        names the messages that are durable all the same, without those that must be repeated because an earlier one with their
        topic and key is not.
        """

    async def settle(self) -> None:
        """Make sure that no transaction of this sink is undecided: what `Source.recall` tells from then on is final. Does
        nothing with at-least-once delivery. Raises CommitAborted where it cannot be done at the moment: try again."""

    async def close(self) -> None:
        """Free everything; what was not committed is not published. May be called twice."""


class Codec(Protocol):
    """Avro in and out."""

    async def decode(self, topic: str, value: bytes) -> object:
        """The datum of an input record. Raises InvalidEvent for every kind of bad bytes, in bounded memory."""

    def encode(self, embedding: Embedding) -> bytes:
        """The value of an output record. Raises InvalidResult where the embedding holds what the schema cannot."""

    def encode_redacted(self, redacted: Redacted) -> bytes:
        """The value of a dead letter whose text is left out. Never raises."""


class EmbeddingApi(Protocol):
    """The asynchronous embedding API. Every method raises ApiError and nothing else, and repeats nothing by itself."""

    async def submit(self, request: EmbedRequest) -> str:
        """Start a job (billed); returns its request_id."""

    async def status(self, request_id: str) -> JobState:
        """How far the job is. Raises JobFailed where it FAILED."""

    async def result(self, request_id: str) -> Completed | JobState:
        """The result, or the state of a job that is not done where the API tells it."""

    async def credits(self) -> Credits:
        """The account's balance; costs nothing."""

    async def close(self) -> None:
        """Close all connections. May be called twice."""


class Clock(Protocol):
    """Time, as an argument."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    def boottime(self) -> float:
        """Seconds that only grow, and that go on while the machine sleeps where the system can tell them: for leases."""

    def epoch(self) -> float:
        """Seconds since 1970, by the wall clock."""

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds; at least one turn of the event loop."""


class Observer(Protocol):
    """Hears what happened; must be quick and must not raise."""

    def notice(self, notice: Notice) -> None:
        """Take note of one thing."""
