"""A replayed dead letter may name the job that it was paid for: while the result lives, the worker polls that job instead of
paying for another one.

Whoever may write to the input topic can write such headers, so they are believed only as far as they can be checked: the text
and all that makes a result usable have to be the same. What is left to a forger is to name a job of this account for this very
text, whose vector is the right one. That the job exists, and when it was submitted, is for the API to say.
"""

import hashlib
import re
from datetime import datetime
from typing import Final

from worker.core.answers import is_request_id
from worker.core.ledger import fingerprint
from worker.core.verdicts import RESULT_LIFETIME
from worker.model import EmbedRequest, Headers, Job

REQUEST_ID: Final = "dlq.request_id"
SUBMITTED_AT: Final = "dlq.submitted_at"
TEXT_SHA256: Final = "dlq.text_sha256"
JOB: Final = "dlq.job"

MARGIN: Final = 60.0
"""Seconds before its expiry from which on a result is not worth going for: it may have to wait for its turn at the gate."""

RECOGNITION: Final = 60.0
"""Seconds in which the API must recognise an adopted job, as far as it answers at all."""

NOT_KNOWN: Final = frozenset({400, 403, 404, 405, 410})
"""Statuses by which the API may say that it has no such job for this account. Of a job that this worker has submitted itself some
of them would tell of a wrong URL or key, and halt it: a forged header must not be able to do that."""

_LONGEST_TIME = 64
_RFC3339 = re.compile(rb"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})")


def sha256(text: str) -> str:
    """SHA-256 of the text's UTF-8, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def request_fingerprint(job: bytes, request: EmbedRequest) -> str:
    """Header `dlq.job`: 12 hex digits that stand for all that makes a result usable for this event. `job`: the worker's own
    `ledger.job_fingerprint`; what the event itself wishes comes in addition."""
    return fingerprint(job.hex(), repr(request.task_type), repr(request.output_dimensionality)).hex()


def adoptable(headers: Headers, request: EmbedRequest, job: bytes, now: float) -> Job | None:
    """The job that a record's headers name, if it may be followed in place of a new one, as the first attempt. `request` is what
    the record asks for, `job` as in `request_fingerprint`, `now` in seconds since the epoch. Headers that are malformed, or there
    twice, count as none."""
    request_id = (_only(headers, REQUEST_ID) or b"").decode("latin-1")
    submitted_at = _time(_only(headers, SUBMITTED_AT))
    if submitted_at is None or not 0 <= now - submitted_at <= RESULT_LIFETIME - MARGIN:
        return None
    if not is_request_id(request_id):
        return None
    same_text = _only(headers, TEXT_SHA256) == sha256(request.text).encode()
    same_job = _only(headers, JOB) == request_fingerprint(job, request).encode()
    return Job(request_id, submitted_at, 1) if same_text and same_job else None


def is_adopted(headers: Headers, request_id: str) -> bool:
    """Whether a job is known by the record's own headers only, to this owner of the record or to an earlier one."""
    return bool(headers) and _only(headers, REQUEST_ID) == request_id.encode()


def _only(headers: Headers, name: str) -> bytes | None:
    """The value of a header that is there once."""
    values = [value for found, value in headers if found == name]
    return values[0] if len(values) == 1 else None


def _time(value: bytes | None) -> float | None:
    """Seconds since the epoch of an RFC 3339 time."""
    if value is None or len(value) > _LONGEST_TIME or not _RFC3339.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.decode("ascii")).timestamp()
    except (ValueError, OverflowError):
        return None
