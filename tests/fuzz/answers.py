"""What an API, or whoever stands in its place, may answer."""

import base64
import gzip
import json
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.house import KEY, NOW, SECRETS

WORDS = st.sampled_from(
    [
        "",
        "QUEUED",
        "COMPLETED",
        "failed",
        "FAILED",
        "PROCESSING",
        "Insufficient credits",
        "Invalid content type",
        "blocked by safety",
        "Request x not found",
        "rate limit",
        "\x1b[2J\r\nINJECTED",
        "x" * 5000,
        "\u202e",
        "a" + "\u0301" * 50,
        *SECRETS,
    ]
)
NUMBERS = (
    st.integers() | st.floats() | st.sampled_from([10**400, -(10**30), 2**63, 1e308, -0.0, 3600, 1_800_000_000_000])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
VECTORS = st.lists(st.floats(width=32) | NUMBERS, max_size=6)
OUTPUTS = VECTORS | VECTORS.map(lambda found: {"embedding": {"values": found}}) | VECTORS.map(json.dumps) | VALUES
IDS = (
    st.sampled_from(["00000000-0000-0000-0000-000000000001", "job", "..", "a/b", "x" * 128, "x" * 129, *SECRETS])
    | VALUES
)
METRICS = st.dictionaries(
    st.sampled_from(["cost", "total_time", "inference_time", "remaining_credits"]), VALUES, max_size=3
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "request_id": IDS,
        "status": WORDS | VALUES,
        "output": OUTPUTS,
        "metrics": METRICS | VALUES,
        "error": WORDS | VALUES,
        "error_description": WORDS | VALUES,
        "credits": VALUES,
    },
)


def dumped(value: object) -> bytes:
    """As JSON that no strict writer would write: NaN, lone surrogates, integers of any length."""
    return json.dumps(value).encode()


JSON_BODIES = (DOCUMENTS | VALUES).map(dumped)
BODIES = (
    JSON_BODIES
    | st.binary(max_size=60)
    | st.builds(lambda body, cut: body[:cut], JSON_BODIES, st.integers(0, 40))
    | st.builds(lambda body: body + b"\xff\xfe", JSON_BODIES)
    | st.sampled_from(
        [
            b"[" * 100_000,
            b'{"a":' * 5_000,
            b'{"status":"COMPLETED","output":[1e999999]}',
            b'{"status":"COMPLETED","output":' + b"9" * 5_000 + b"}",
            b'{"status":"\\ud800","error":"\\ud800"}',
            b"<html><title>502</title>" + b"x" * 10_000,
            gzip.compress(b"x" * 100_000),
            b"\xef\xbb\xbf{}",
        ]
    )
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"x-rate-limit-reset-at-utc",
                b"date",
                b"content-type",
                b"content-encoding",
                b"location",
                b"retry-after",
                b"x-own",
            ]
        ),
        st.sampled_from(
            [
                b"",
                b"gzip",
                b"br",
                b"deflate, gzip",
                b"application/json",
                b"http://elsewhere.test/",
                b"9" * 400,
                b"-1",
                b"1e400",
                b"NaN",
                b"\xff\xfe",
                b"Fri, 15 Jan 2027 08:00:00 GMT",
                b"2027-01-15T08:04:00Z",
                b"2099-01-01T00:00:00Z",
                str(NOW + 120).encode(),
                base64.b64encode(KEY.encode()),
            ]
        )
        | st.binary(max_size=12),
    ),
    max_size=3,
)
STATUSES = st.sampled_from(
    [
        200,
        200,
        200,
        201,
        204,
        302,
        400,
        401,
        402,
        403,
        404,
        404,
        405,
        406,
        407,
        408,
        410,
        413,
        415,
        422,
        422,
        429,
        500,
        502,
        503,
        504,
        524,
    ]
) | st.integers(100, 599)
TROUBLES = st.sampled_from(["connect", "pool", "read", "protocol", "bug", "hang", "slow"])
ANSWERS = st.tuples(STATUSES, HEADERS, BODIES) | TROUBLES
"""An answer, or the name of something that happens in its place."""
