"""Publish: make the one message that a record's outcome is: a vector, a dead letter or a tombstone."""

from worker.core.adoption import request_fingerprint, sha256
from worker.core.dead_letters import origin_in
from worker.core.times import rfc3339
from worker.core.vectors import extract
from worker.errors import InvalidResult, Rejected
from worker.model import (
    Completed,
    Embedding,
    EmbedRequest,
    Headers,
    Job,
    Message,
    Outcome,
    OutcomeKind,
    Reason,
    Record,
    Redacted,
    TextEvent,
)
from worker.ports import Clock, Codec
from worker.settings.budgets import BlockedText, DeadLettersSettings
from worker.settings.sections import TopicsSettings

DETAIL_BYTES = 1024
"""Longest `dlq.detail`."""

PREFIX = "dlq."

REDACTED, OMITTED = "redacted", "omitted"
"""What the header `dlq.value` says of a value that is not the input's: a record of `schemas/redacted.avsc` stands in its place,
or nothing, because the broker refused it for its size. A replay must not produce either: a null value deletes a vector."""

UNQUOTED = (
    "the API blocked the text for its content; what it says of it is left out (dead_letters.blocked_text is redact)"
)
"""Error texts may quote the input, in whatever form."""


class Publish:
    """Makes outcomes. What it makes is encoded: a vector is not held in any other form. `job`: this worker's
    `job_fingerprint`."""

    def __init__(
        self,
        codec: Codec,
        topics: TopicsSettings,
        dead_letters: DeadLettersSettings,
        model: str,
        job: bytes,
        clock: Clock,
    ) -> None:
        self._codec = codec
        self._topics = topics
        self._redacts = dead_letters.blocked_text is BlockedText.REDACT
        self._model = model
        self._job = job
        self._clock = clock

    def vector(
        self, record: Record, event: TextEvent, request: EmbedRequest, job: Job, completed: Completed
    ) -> Outcome:
        """The vector. Raises Rejected (INVALID_RESULT) where the API's output holds none."""
        try:
            value = self._codec.encode(
                Embedding(
                    id=event.id,
                    vector=extract(completed.output, request.output_dimensionality),
                    model=self._model,
                    task_type=request.task_type,
                    job=job,
                    record=record,
                    text_sha256=sha256(event.text),
                    embedded_at=self._clock.epoch(),
                    metrics=completed.metrics,
                    metadata=event.metadata,
                )
            )
        except InvalidResult as error:
            raise Rejected(Reason.INVALID_RESULT, str(error), retryable=False, attempts=job.attempt, job=job) from None
        key = record.key if record.key is not None else event.id.encode()
        return Outcome(OutcomeKind.VECTOR, Message(self._topics.output, key, value, carried(record.headers)))

    def tombstone(self, record: Record) -> Outcome:
        """A null value deletes the key's vector; without a key there is nothing to delete."""
        if record.key is None:
            return Outcome(OutcomeKind.SKIPPED, None)
        return Outcome(OutcomeKind.TOMBSTONE, Message(self._topics.output, record.key, None, carried(record.headers)))

    def dead_letter(
        self,
        record: Record,
        rejected: Rejected,
        event: TextEvent | None = None,
        request: EmbedRequest | None = None,
        *,
        value: bool = True,
        headers: bool = True,
    ) -> Outcome:
        """The record as it came, with the failure in `dlq.*` headers; a blocked text goes to its own topic, and redacted, where
        the settings say so. `event`, `request`: what it holds and asks for, if it could be read. Where the broker refuses it for
        its size, it goes without its value, then without its headers: `dlq.topic`, `dlq.partition` and `dlq.offset` point to the
        source."""
        blocked = rejected.reason is Reason.CONTENT_BLOCKED
        redacts = blocked and self._redacts and record.value is not None
        kept = record.value
        if redacts:
            kept = self._codec.encode_redacted(redacted(event)) if event else None
        if not value:
            kept = None
        said = None if kept == record.value else OMITTED if kept is None else REDACTED
        failure = self._failure(record, rejected, request, value=said, detail=UNQUOTED if redacts else rejected.detail)
        message = Message(
            self._topics.content_blocked or self._topics.dead_letter if blocked else self._topics.dead_letter,
            record.key if headers else None,
            kept,
            (carried(record.headers) if headers else ()) + failure,
        )
        return Outcome(OutcomeKind.DEAD_LETTER, message, rejected.reason)

    def _failure(
        self, record: Record, rejected: Rejected, request: EmbedRequest | None, *, value: str | None, detail: str
    ) -> Headers:
        job = rejected.job
        facts = {
            "reason": rejected.reason,
            "detail": cut(detail),
            "retryable": "true" if rejected.retryable else "false",
            "value": value,
            "request_id": job and job.request_id,
            "attempts": rejected.attempts,
            "http_status": rejected.http_status,
            "topic": record.source.topic,
            "partition": record.source.partition,
            "offset": record.offset,
            "timestamp": None if record.timestamp_ms < 0 else rfc3339(record.timestamp_ms / 1000),
            "failed_at": rfc3339(self._clock.epoch()),
            "submitted_at": job and rfc3339(job.submitted_at),
            "model": self._model,
            "text_sha256": request and sha256(request.text),
            "job": request and request_fingerprint(self._job, request),
            "replays": replays(record.headers),
            "origin": origin_in(record.headers),
        }
        return tuple((PREFIX + name, str(fact).encode()) for name, fact in facts.items() if fact is not None)


def carried(headers: Headers) -> Headers:
    """The headers that travel on: all but `dlq.*`."""
    return tuple(header for header in headers if not header[0].startswith(PREFIX))


def replays(headers: Headers) -> int | None:
    """How often the record has been replayed, None if never; what cannot be read counts as never."""
    values = [value for name, value in headers if name == "dlq.replays" and value]
    return int(values[-1]) if values and values[-1].isdigit() and len(values[-1]) < 10 else None


def cut(detail: str) -> str:
    """The text in at most DETAIL_BYTES bytes of UTF-8, never half a character."""
    return detail.encode("utf-8", "replace")[:DETAIL_BYTES].decode("utf-8", "ignore")


def redacted(event: TextEvent) -> Redacted:
    """What a dead letter says of a text that it does not hold."""
    return Redacted(event.id, sha256(event.text), len(event.text), len(event.text.encode("utf-8", "surrogatepass")))
