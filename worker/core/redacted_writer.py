"""The body of a redacted dead letter, in Avro's binary encoding of `schemas/redacted.avsc`."""

from worker.core.avro_binary import NULL, SECOND_BRANCH, long, string
from worker.model import Redacted

LAYOUT = (("id", "null|string"), ("text_sha256", "string"), ("characters", "int"), ("bytes", "int"))
"""What `write_redacted` writes, in its order. The codec compares it with the schema at start."""


def write_redacted(redacted: Redacted) -> bytes:
    """The record as bytes. Never raises: a dead letter must not fail. An id that has no UTF-8 becomes null."""
    return b"".join(
        (
            _optional_string(redacted.id),
            string(redacted.text_sha256),
            long(redacted.characters),
            long(redacted.utf8_bytes),
        )
    )


def _optional_string(text: str) -> bytes:
    try:
        return SECOND_BRANCH + string(text)
    except UnicodeEncodeError:
        return NULL
