"""Texts of FAILED jobs and of 406 answers, both sides of each line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.content_blocks import is_bad_input, is_content_block, kind_of_406
from worker.core.refusals import signature

BLOCKS = (
    "The request was blocked by safety filters: the input may contain harmful content. Please revise your input.",
    "Input rejected: prohibited content detected (finish_reason: PROHIBITED_CONTENT).",
    "Generation blocked by policy: the input violates the provider's Responsible AI content policy.",
    "SAFETY",
    "finishReason: SAFETY",
    "block_reason: BLOCKLIST",
    "promptFeedback: {'blockReason': 'OTHER'}",
    "PROHIBITED_CONTENT",
    "Candidate was blocked due to RECITATION",
    "finish_reason=SPII",
    "HARM_CATEGORY_DANGEROUS_CONTENT: HIGH",
    "Prompt blocked by Model Armor",
    "rai_filtered_reason: 58061214",
    "raiMediaFilteredReasons: [...]",
    "Your prompt was flagged as inappropriate",
    "Content policy violation",
    "content_policy_violation",
    "The text violates our usage policies",
    "This input violates our community guidelines",
    "The prompt contains sensitive words that violate Responsible AI practices",
    "NSFW text detected",
    "The prompt was blocked",
    "Response blocked.",
    "Sensitive Personally Identifiable Information found",
    "the SAFETY filter stopped this; a retry will not help",
    "hate speech",
    "PERMISSION_DENIED: Safety filter blocked the request",
)

NO_BLOCKS = (
    "",
    "Inference failed: the model returned an internal error",
    "Inference failed: the model is temporarily unavailable, please try again",
    "connection blocked",
    "IO blocked",
    "blocked",
    "The request was blocked by the firewall",
    "Request blocked by WAF: IP 10.0.0.1",
    "worker thread blocked while waiting for a lock",
    "thread safety violation in kernel",
    "type safety check failed",
    "CUDA error: unsafe memory access",
    "Blocked by CORS policy",
    "violates the IAM policy",
    "retry policy exhausted",
    "autoscaling policy in effect",
    "Failed to connect to the content moderation service",
    "safety filter timed out",
    "content filter service unavailable",
    "train failed",
    "terrain model not loaded",
    "brain.js crashed",
    "Invalid value for task_type: expected one of A, B",
    "queue is full, request rejected",
    "blocking call exceeded 30 s",
)

BAD_INPUTS = (
    "Invalid value for input: expected a string",
    "Invalid value for input: must not be empty",
    "Invalid value for input: exceeds the maximum of 2048 tokens",
    "Invalid value for output_dimensionality: expected an integer from 1 to 3072",
    "400 INVALID_ARGUMENT: The text content is empty.",
    "'output_dimensionality' must be one of 768, 1536, 3072",
    "Input is too long",
    "Missing required parameter: input",
    "Input validation error",
    "Unsupported task_type",
    "The input exceeds the limit of 2048 tokens",
)

OTHER_FAILURES = (
    "Inference failed: the model returned an internal error",
    "Inference failed: the model is temporarily unavailable, please try again",
    "400 INVALID_ARGUMENT: API key not valid. Please pass a valid API key.",
    "Invalid response from upstream: missing field",
    "CUDA out of memory",
    "Unknown error",
    "Model must be loaded first",
    "",
)


@pytest.mark.parametrize("text", BLOCKS)
def test_a_content_block_is_seen_in_any_case(text: str) -> None:
    assert is_content_block(text)
    assert is_content_block(text.lower())
    assert is_content_block(f"Inference failed: {text}") or len(text.split()) < 2


@pytest.mark.parametrize("text", NO_BLOCKS)
def test_other_failures_are_not_taken_for_content_blocks(text: str) -> None:
    assert not is_content_block(text)
    assert not is_content_block(text.upper())


@pytest.mark.parametrize("text", BAD_INPUTS)
def test_a_text_that_blames_the_input_is_bad_input(text: str) -> None:
    assert is_bad_input(signature(422, text))


@pytest.mark.parametrize("text", OTHER_FAILURES)
def test_a_text_that_blames_nobody_or_the_vendor_is_not_bad_input(text: str) -> None:
    assert not is_bad_input(signature(422, text))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Insufficient credits. Please add credits to continue", "credits"),
        ("insufficient account balance", "credits"),
        ("You are out of credits", "credits"),
        ("Team spend limit reached", "spend_limit"),
        ("Monthly spending limit of $10.00 exceeded", "spend_limit"),
        ("Invalid content type", "content_type"),
        ("Unsupported media type", "content_type"),
        ("Invalid value for header content-type", "content_type"),
        ("Invalid value for output_dimensionality: expected an integer", "parameter"),
        ("parameter 'task_type' is not supported", "parameter"),
        ("Invalid parameter value: insufficient credits", "parameter"),
        ("Insufficient credits: the parameter is not supported", "credits"),
        ("Invalid value 'insufficient credits' for task_type", "parameter"),
        ("Not Acceptable", None),
        ("", None),
        ('{"message": "Insufficient credits"}', None),
    ],
)
def test_the_kinds_of_406_are_told_apart_by_the_first_marker_outside_quotes(text: str, kind: str | None) -> None:
    assert kind_of_406(signature(406, text)) == kind


@given(st.text(max_size=300))
def test_no_text_makes_the_markers_raise(text: str) -> None:
    is_content_block(text)
    is_bad_input(text)
    kind_of_406(text)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "piece",
    [
        "input ",
        "violat ",
        "a",
        "'",
        '"',
        "#",
        "invalid ",
        "safety ",
        "blocked by ",
        "1a",
        " ",
        ". ",
        "_",
        "-",
        "=",
        "safety -",
    ],
)
def test_a_huge_text_is_read_in_bounded_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    is_content_block(text)
    is_bad_input(signature(422, text))
    kind_of_406(signature(406, text))
