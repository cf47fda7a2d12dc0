"""What the parsed JSON of the API means. Every function takes foreign data and either understands it or says so.

The shapes are those of the v2 API's published documents; `clean` takes secrets out of foreign text and shortens it.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from worker.errors import JobFailed, ProtocolError
from worker.model import Completed, Credits, JobState, Metrics

Clean = Callable[[str], str]

FAILED = "FAILED"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def is_request_id(value: object) -> bool:
    """Whether the value can stand in a URL's path: 1 to 128 of [A-Za-z0-9._:-], and not a dot segment."""
    return isinstance(value, str) and _REQUEST_ID.fullmatch(value) is not None and value not in (".", "..")


def request_id(document: object, status: int) -> str:
    """The id of the job that a submit started. Raises ProtocolError."""
    value = _object(document, status).get("request_id")
    if not isinstance(value, str) or not is_request_id(value):
        raise ProtocolError("the answer to a submit holds no usable request_id", status)
    return value


def job_state(document: object, status: int, clean: Clean) -> JobState:
    """How far a job is. Raises JobFailed where it FAILED, ProtocolError where its state is unknown."""
    body = _object(document, status)
    raise_if_failed(body, clean)
    state = body.get("status")
    if isinstance(state, str):
        try:
            return JobState(state.upper())
        except ValueError:
            pass
    shown = clean(state)[:64] if isinstance(state, str) else f"a value of type {type(state).__name__}"
    raise ProtocolError(f"unknown job status: {shown}", status)


def job_result(document: object, status: int, clean: Clean) -> Completed | JobState:
    """The output of a job that is done, else its state. Raises JobFailed and ProtocolError."""
    state = job_state(document, status, clean)
    if state is not JobState.COMPLETED:
        return state
    body = _object(document, status)
    if "output" not in body:
        raise ProtocolError("a COMPLETED job came without output", status)
    return Completed(output=body["output"], metrics=metrics(body.get("metrics")))


def raise_if_failed(document: object, clean: Clean) -> None:
    """Raise JobFailed if the document says that the job FAILED."""
    if not isinstance(document, Mapping):
        return
    state = document.get("status")
    if isinstance(state, str) and state.upper() == FAILED:
        error = document.get("error")
        if isinstance(error, Mapping):
            error = error.get("message")
        text = clean(error) if isinstance(error, str) else ""
        raise JobFailed(text or "the API gave no reason", metrics(document.get("metrics")))


def metrics(value: object) -> Metrics:
    """The numbers among the metrics; whatever is not a finite number is None."""
    if not isinstance(value, Mapping):
        return Metrics()
    return Metrics(
        inference_time=_number(value.get("inference_time")),
        queue_time=_number(value.get("queue_time")),
        total_time=_number(value.get("total_time")),
        cost=_number(value.get("cost")),
        remaining_credits=_number(value.get("remaining_credits")),
    )


def envelope_message(document: object) -> str | None:
    """The text of the API's error envelope, `{"error": text}` or `{"error": code, "error_description": text}`; None where
    the document is no such envelope."""
    if not isinstance(document, Mapping):
        return None
    error, description = document.get("error"), document.get("error_description")
    if not isinstance(error, str):
        return None
    return description if isinstance(description, str) and description else error


def account_credits(document: object, status: int) -> Credits:
    """The account's balance in USD. Raises ProtocolError."""
    body = _object(document, status)
    paid, free = _number(body.get("credits")), _number(body.get("free-credits", 0.0))
    if paid is None or free is None:
        raise ProtocolError("the answer to the credits call holds no number of credits", status)
    return Credits(credits=paid, free_credits=free)


def _object(document: object, status: int) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise ProtocolError("the answer is not a JSON object", status)
    return document


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)  # integers from JSON have at most 64 bits
    return number if math.isfinite(number) else None
