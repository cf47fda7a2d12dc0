"""Everything that can go wrong, as a tree. Adapters map foreign exceptions to these at the boundary.

WorkerError
|-- ConfigurationError    a setting is wrong: exit 2
|-- StartError            the surroundings are not ready (topics, broker, offsets): exit 3
|-- EndNotReached         `run --until-end` ended before the end of its input: exit 4
|-- ReplayInterrupted     a replay stopped between two transactions, and can be resumed: exit 4
|-- InvalidEvent          the record cannot become a text event: dead letter INVALID_EVENT
|-- InvalidResult         the API's output is not a usable vector: dead letter INVALID_RESULT
|-- ApiError
|   |-- Refused           an HTTP answer that is not a success
|   |-- JobFailed         the job ran and FAILED (HTTP 422)
|   |-- Unanswered        no HTTP answer
|   `-- ProtocolError     a success whose body is not what the contract says
|-- CommitError
|   |-- CommitAborted     the batch does not stand: build a new one of what is not published
|   |   `-- CommitFenced  another process has taken the transactional id: this one may not go on
|   |-- CommitUnknown     the batch may or may not stand: settle, read what is committed, then go on
|   |-- MetadataTooLarge  the batch does not stand: its ledgers are longer than the broker takes
|   `-- MessageRefused    the broker will never take one message of the batch
|-- Superseded            a newer text of the record's key has come (raised by submit, caught by the pipeline only)
`-- Rejected              the record ends as a dead letter (raised by stages, caught by the pipeline only)
"""

from collections.abc import Collection, Sequence

from worker.model import Job, Metrics, Reason


class WorkerError(Exception):
    """The root. Its text is one line, says what to do next where somebody can, and holds no secret."""


class ConfigurationError(WorkerError):
    """A setting is missing or wrong."""


class StartError(WorkerError):
    """The worker cannot start in these surroundings."""


def missing_topics(names: Sequence[str]) -> StartError:
    """These topics do not exist."""
    return StartError(
        f"missing topics: {', '.join(names)}. Are the names right? `embedding-worker topics create` makes those that "
        "the settings name, no others"
    )


class EndNotReached(WorkerError):
    """A worker that was to work off its input ended before: it was told to stop, or dead letters are over budget and what it
    tried since was no better."""


class ReplayInterrupted(WorkerError):
    """A replay stopped. What it has done stands, what it has not is untouched; its plan goes on with `--resume`."""


class InvalidEvent(WorkerError):
    """The bytes or the content of an input record are unusable."""


class InvalidResult(WorkerError):
    """The API's output holds no usable vector."""


class ApiError(WorkerError):
    """A call of the API that brought no success."""


class Refused(ApiError):
    """An HTTP answer other than success. `message` is the envelope's text, else the start of the body (at most 1 KB);
    `is_json` tells whether the body was the API's own JSON envelope; `reset_at` is the time at which the rate limit
    opens again, in seconds since the epoch by the local clock (429 only, None: not said)."""

    def __init__(self, status: int, message: str, *, is_json: bool, reset_at: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status
        self.message = message
        self.is_json = is_json
        self.reset_at = reset_at


class JobFailed(ApiError):
    """The job was run and ended FAILED, which is not billed."""

    def __init__(self, message: str, metrics: Metrics) -> None:
        super().__init__(message)
        self.message = message
        self.metrics = metrics


class Unanswered(ApiError):
    """No HTTP answer. `sent` False: the request surely never reached the API; True: it may have been carried out."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class ProtocolError(ApiError):
    """A success whose body cannot be understood. `status` is the HTTP status."""

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


class CommitError(WorkerError):
    """A batch was not committed. `published` are the indexes into `Batch.messages` that are durable all the same and must not be
    published again: only their positions are still to be committed. Always empty with transactions."""

    def __init__(self, detail: str, *, published: Collection[int] = ()) -> None:
        super().__init__(detail)
        self.published = frozenset(published)


class CommitAborted(CommitError):
    """The batch did not come to stand; what is not published of it must go into a new batch built from the present ownership."""


class CommitFenced(CommitAborted):
    """Another process goes on with this producer's transactional id, or its transaction outlived its time."""


class CommitUnknown(CommitError):
    """The transaction may have been committed. Nothing of it may be sent again before that is known."""


class MetadataTooLarge(CommitError):
    """The broker takes less metadata with an offset than the batch has for some partition (`offset.metadata.max.bytes`)."""


class MessageRefused(CommitError):
    """The broker refuses messages of the batch for good (too large). `indexes` point into `Batch.messages`; no position of the
    batch has been committed."""

    def __init__(self, detail: str, indexes: Sequence[int], *, published: Collection[int] = ()) -> None:
        super().__init__(detail, published=published)
        self.indexes = tuple(indexes)


class Superseded(WorkerError):
    """A newer text of the record's key has come: this one is not submitted."""


class Rejected(WorkerError):
    """The record ends as a dead letter. `detail` is cut to 1 KB where it is published."""

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        retryable: bool,
        attempts: int = 0,
        http_status: int | None = None,
        job: Job | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retryable = retryable
        self.attempts = attempts
        self.http_status = http_status
        self.job = job
