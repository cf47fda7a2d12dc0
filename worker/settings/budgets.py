"""The settings of what may fail and what may be spent; made part of the whole in `sections`."""

from enum import StrEnum

from pydantic import Field

from worker.settings.section import Section


class BlockedText(StrEnum):
    """What the dead letter of a blocked text holds."""

    KEEP = "keep"
    REDACT = "redact"


class DeadLettersSettings(Section):
    """Dead letters."""

    blocked_text: BlockedText = Field(
        BlockedText.KEEP,
        description="The value of a dead letter CONTENT_BLOCKED: `keep` leaves the input's as it came, `redact` puts an Avro "
        "record of schemas/redacted.avsc in its place, with the text's hash and length, and leaves out what the API says of it. "
        "Key and headers are kept.",
    )
