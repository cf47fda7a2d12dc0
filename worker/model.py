"""The data that travels through the worker. Frozen, without behaviour beyond what its own fields answer."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True)
class Record:
    """An input record. `timestamp_ms` is -1 where the broker knows none; `assignment` is the number of the
    assignment of its partition under which it was fetched: what belongs to an old number dies silently."""

    source: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    assignment: int

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers) if self.headers else 0
        return len(self.key or b"") + len(self.value or b"") + headers


@dataclass(frozen=True, slots=True)
class TextEvent:
    """A decoded input record. `task_type` and `output_dimensionality` are the event's own wishes (None: not said)."""

    id: str
    text: str
    task_type: str | None = None
    output_dimensionality: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What is asked of the API for one text. None means: not sent, the API's own default holds."""

    text: str
    task_type: str | None
    output_dimensionality: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """A submit that the API has accepted. `submitted_at` is in seconds since the epoch, taken before the POST started,
    so that the hour of its result is never overestimated; `attempt` counts from 1."""

    request_id: str
    submitted_at: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """What the API says of a job: times in seconds, money in USD. None: not said."""

    inference_time: float | None = None
    queue_time: float | None = None
    total_time: float | None = None
    cost: float | None = None
    remaining_credits: float | None = None


class JobState(StrEnum):
    """The states of a job that are served as success; FAILED is an error (`errors.JobFailed`)."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"


@dataclass(frozen=True, slots=True)
class Completed:
    """A result as fetched: `output` is the parsed JSON, its shape not yet checked."""

    output: object
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Credits:
    """The account's balance in USD."""

    credits: float
    free_credits: float


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector with everything that the output record says of it. `vector` holds float32."""

    id: str
    vector: "array[float]"
    model: str
    task_type: str | None
    job: Job
    record: Record
    text_sha256: str
    embedded_at: float
    metrics: Metrics
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Redacted:
    """What a dead letter says of a text that it does not hold: the event's id, the SHA-256 of its UTF-8 in hex, its length in
    code points and in bytes of UTF-8."""

    id: str
    text_sha256: str
    characters: int
    utf8_bytes: int


class Reason(StrEnum):
    """Why a record became a dead letter (header `dlq.reason`). Ledgers number them in this order: new ones come last."""

    INVALID_EVENT = "INVALID_EVENT"
    INVALID_REQUEST = "INVALID_REQUEST"
    CONTENT_BLOCKED = "CONTENT_BLOCKED"
    INFERENCE_FAILED = "INFERENCE_FAILED"
    INVALID_RESULT = "INVALID_RESULT"
    TIMEOUT = "TIMEOUT"
    EXPIRED = "EXPIRED"
    API_ERROR = "API_ERROR"
    UNKNOWN_SUBMIT = "UNKNOWN_SUBMIT"


@dataclass(frozen=True, slots=True)
class Message:
    """A record to be produced. `timestamp_ms` None: the time of producing. `partition` None: the one that its key gives."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None = None
    partition: int | None = None


class OutcomeKind(StrEnum):
    """How a record ended."""

    VECTOR = "vector"
    DEAD_LETTER = "dead_letter"
    TOMBSTONE = "tombstone"
    SKIPPED = "skipped"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one ending of a record: what is published of it (nothing where it is skipped)."""

    kind: OutcomeKind
    message: Message | None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """A committed offset (the next one to be read) and its metadata (where the ledger lives)."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Membership:
    """A snapshot taken on the consumer's thread: the group metadata that fences a commit, together with the assignment
    number of every partition owned at that moment. `group` is opaque to all but the Kafka adapters."""

    group: object
    owned: Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit carries: the outcomes that are ready and, for each partition they touch, where to commit."""

    messages: Sequence[Message]
    positions: Mapping[TopicPartition, Position]
    membership: Membership


@dataclass(frozen=True, slots=True)
class Assignment:
    """A partition newly owned: its number (unique in this process, growing), the committed position it starts from with its
    metadata, and where it is: the cluster's id, and the topic's id (its name where the brokers know no ids)."""

    number: int
    start: Position
    cluster: str = ""
    topic_id: str = ""
