"""What the body of a POST asks for, and what is wrong with it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from worker.emulator.answers import Reply, error
from worker.emulator.config import EmulatorConfig
from worker.emulator.markers import Markers, find_markers

FULL_DIMENSIONS = 3072
TASK_TYPES = frozenset(
    {
        "RETRIEVAL_DOCUMENT",
        "RETRIEVAL_QUERY",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    }
)
CONTENT_BLOCKS = (
    "The request was blocked by safety filters: the input may contain harmful content. Please revise your input.",
    "Input rejected: prohibited content detected (finish_reason: PROHIBITED_CONTENT).",
    "Generation blocked by policy: the input violates the provider's Responsible AI content policy.",
)
"""Texts such as the providers behind the API use; the vendor publishes none."""

_FAILED = "Inference failed: the model returned an internal error"
_FLAKY = "Inference failed: the model is temporarily unavailable, please try again"
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Submission:
    """A body that the API accepts. `problem`: why its job will be FAILED though accepted, or None."""

    text: str
    dimensions: int
    task_type: str
    problem: str | None
    markers: Markers


def read_submission(body: bytes, config: EmulatorConfig) -> Submission | Reply:
    """The submission in `body`, or the refusal (400, or what the configuration says of bad parameters)."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return error(400, "Malformed JSON in request body")
    if not isinstance(fields, dict):
        return error(400, "Request body must be a JSON object")
    if config.text_field not in fields:
        return error(400, f"Missing required field: {config.text_field}")
    problem = _problem(fields, config)
    if problem and config.validation == "synchronous":
        return error(config.validation_status, problem)
    text = fields[config.text_field]
    # A job that fails anyway needs some text and length to be remembered by.
    text = text if isinstance(text, str) else orjson.dumps(text).decode()
    markers = find_markers(text) if config.markers else Markers()
    if markers.reject:
        return error(400, "Invalid request: the input was rejected")
    dimensions = fields.get("output_dimensionality")
    task_type = fields.get("task_type")
    return Submission(
        text=text,
        dimensions=dimensions if _is_dimension(dimensions) else FULL_DIMENSIONS,
        task_type=task_type if isinstance(task_type, str) else "",
        problem=problem,
        markers=markers,
    )


class Failures:
    """Decides which accepted submissions end FAILED; remembers how often a flaky text was tried."""

    def __init__(self) -> None:
        self._tries: Counter[str] = Counter()
        self._blocks = 0

    def error_of(self, submission: Submission) -> str | None:
        """The error text of the job, or None if it will be COMPLETED."""
        markers = submission.markers
        if submission.problem is not None:
            return submission.problem
        if markers.block:
            self._blocks += 1
            return CONTENT_BLOCKS[(self._blocks - 1) % len(CONTENT_BLOCKS)]
        if markers.fail:
            return _FAILED
        if markers.flaky:
            self._tries[submission.text] += 1
            if self._tries[submission.text] <= markers.flaky:
                return _FLAKY
        return None


def _problem(fields: dict[str, Any], config: EmulatorConfig) -> str | None:
    text = fields[config.text_field]
    if not isinstance(text, str):
        return f"Invalid value for {config.text_field}: expected a string"
    if not text.strip():
        return f"Invalid value for {config.text_field}: must not be empty"
    if len(text) > config.max_input_tokens * _CHARACTERS_PER_TOKEN:
        return f"Invalid value for {config.text_field}: exceeds the maximum of {config.max_input_tokens} tokens"
    dimensions = fields.get("output_dimensionality")
    if dimensions is not None and not _is_dimension(dimensions):
        return f"Invalid value for output_dimensionality: expected an integer from 1 to {FULL_DIMENSIONS}"
    task_type = fields.get("task_type")
    if task_type is not None and (not isinstance(task_type, str) or task_type not in TASK_TYPES):
        return f"Invalid value for task_type: expected one of {', '.join(sorted(TASK_TYPES))}"
    return None


def _is_dimension(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= FULL_DIMENSIONS
