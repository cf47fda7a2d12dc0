"""What a record on a dead-letter topic says of a failure. The topic is open to others: whatever stands there is read without
trust, and what is no dead letter is told apart."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from worker.core.answers import is_request_id
from worker.model import Headers, Reason, Record, TopicPartition

PREFIX: Final = "dlq."
ORIGIN: Final = "dlq.origin"
"""Header of a replayed record, and of the dead letter it may become again: where its event stood first."""

_REPLAYS: Final = "dlq.replays"
_PREFIX_LENGTH: Final = len(PREFIX)
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_WORD: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){1,64}")
_MOST_PARTITION, _MOST_OFFSET, _MOST_COUNT = 2**31 - 1, 2**63 - 1, 999_999_999
_RETRYABLE: Final = {"true": True, "false": False}
_LONGEST_DETAIL: Final = 1024
"""Characters: the worker writes no more bytes than that."""
_LONGEST_NAME: Final = 128
_FINAL: Final = frozenset({Reason.CONTENT_BLOCKED, Reason.INVALID_REQUEST})
"""What the API would refuse again, whatever the letter says of itself."""


class Event(NamedTuple):
    """Where an event stood on an input topic when it came first: the same for all of its replays."""

    source: TopicPartition
    offset: int

    def __str__(self) -> str:
        return f"{self.source.topic}:{self.source.partition}:{self.offset}"


class ValueState(StrEnum):
    """Whether a letter holds the value of the record that failed (header `dlq.value`)."""

    KEPT = "kept"
    OMITTED = "omitted"
    REDACTED = "redacted"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. None, and "": not said, or nothing that could be meant. Times are in seconds since the epoch.

    `source`, `offset`: the input record that failed; `event`: where its event came in first. `timestamp_ms` is the input
    record's own, -1 where it is not known. `replays`: how often it had been replayed when it failed.
    """

    record: Record
    reason: str
    source: TopicPartition
    offset: int
    event: Event
    failed_at: float
    value: ValueState
    replays: int = 0
    detail: str = ""
    retryable: bool | None = None
    timestamp_ms: int = -1
    request_id: str | None = None
    submitted_at: float | None = None
    text_sha256: str | None = None
    job: str | None = None
    model: str = ""

    @property
    def is_final(self) -> bool:
        """Whether the event would only fail again."""
        return self.retryable is False or self.reason in _FINAL


def letter_in(record: Record) -> Letter | None:
    """The dead letter that the record is; None: it is none. Never raises."""
    said = {name[_PREFIX_LENGTH:]: value for name, value in record.headers if value and name.startswith(PREFIX)}
    reason, topic = _text(said, "reason"), _text(said, "topic")
    partition, offset = _number(said, "partition", _MOST_PARTITION), _number(said, "offset", _MOST_OFFSET)
    if not _WORD.fullmatch(reason) or not _is_topic(topic) or partition is None or offset is None:
        return None
    source = TopicPartition(topic, partition)
    request_id, failed_at = _text(said, "request_id"), _time(said, "failed_at")
    timestamp = _time(said, "timestamp")
    return Letter(
        record=record,
        reason=reason,
        source=source,
        offset=offset,
        event=_older(origin_in(record.headers), Event(source, offset)),
        failed_at=max(0.0, record.timestamp_ms / 1000) if failed_at is None else failed_at,
        value=_value_state(record, _text(said, "value")),
        replays=_number(said, "replays", _MOST_COUNT) or 0,
        detail=_text(said, "detail", _LONGEST_DETAIL),
        retryable=_RETRYABLE.get(_text(said, "retryable")),
        timestamp_ms=-1 if timestamp is None else round(timestamp * 1000),
        request_id=request_id if is_request_id(request_id) else None,
        submitted_at=_time(said, "submitted_at"),
        text_sha256=_if(_SHA256, _text(said, "text_sha256")),
        job=_if(_HEX, _text(said, "job")),
        model=_text(said, "model", _LONGEST_NAME),
    )


def origin_in(headers: Headers) -> Event | None:
    """Where the event of a replayed record, or of its dead letter, came in first; None where that is not said."""
    values = [value for name, value in headers if name == ORIGIN and value]
    if not values:
        return None
    topic, _, rest = values[-1][:512].decode("utf-8", "replace").partition(":")
    partition, _, offset = rest.partition(":")
    numbers = _decimal(partition, _MOST_PARTITION), _decimal(offset, _MOST_OFFSET)
    if not _is_topic(topic) or numbers[0] is None or numbers[1] is None:
        return None
    return Event(TopicPartition(topic, numbers[0]), numbers[1])


def event_of(record: Record) -> Event:
    """The event that an input record carries: its own place, or that of the record of which it is a replay. An origin that is
    not older than the record is none."""
    return _older(origin_in(record.headers), Event(record.source, record.offset))


def replays_of(headers: Headers) -> int:
    """How often a record says that it has been replayed."""
    values = [value for name, value in headers if name == _REPLAYS and value]
    return _decimal(values[-1][:32].decode("utf-8", "replace"), _MOST_COUNT) or 0 if values else 0


def _older(origin: Event | None, own: Event) -> Event:
    if origin is None or (origin.source == own.source and origin.offset >= own.offset):
        return own
    return origin


def _value_state(record: Record, said: str) -> ValueState:
    """A letter without a value holds no original, whatever it says: tombstones do not fail, and older workers did not say."""
    if said == "redacted":
        return ValueState.REDACTED
    if said == "omitted":
        return ValueState.OMITTED
    return ValueState.OMITTED if record.value is None else ValueState.KEPT


def _is_topic(name: str) -> bool:
    return _TOPIC.fullmatch(name) is not None and name not in {".", ".."}


def _if(form: re.Pattern[str], text: str) -> str | None:
    return text if form.fullmatch(text) else None


def _text(said: dict[str, bytes], name: str, most: int = 512) -> str:
    """The start of a header's text, `most` characters at the most."""
    value = said.get(name)
    if value is None:
        return ""
    return (
        value.decode("utf-8", "replace") if len(value) <= most else value[: 4 * most].decode("utf-8", "replace")[:most]
    )


def _number(said: dict[str, bytes], name: str, most: int) -> int | None:
    return _decimal(_text(said, name), most)


def _decimal(text: str, most: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return None
    number = int(text)
    return number if number <= most else None


def _time(said: dict[str, bytes], name: str) -> float | None:
    """Seconds since the epoch; a time without a zone is none."""
    if name not in said:
        return None
    try:
        time = datetime.fromisoformat(_text(said, name, 64))
        return time.timestamp() if time.tzinfo is not None else None
    except (ValueError, OverflowError, OSError):
        return None
