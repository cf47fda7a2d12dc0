"""The settings of what may fail and what may be spent; made part of the whole in `sections`."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from worker.settings.section import Section


class BlockedText(StrEnum):
    """What the dead letter of a blocked text holds."""

    KEEP = "keep"
    REDACT = "redact"


class DeadLettersSettings(Section):
    """Dead letters: how many are too many, and what they hold."""

    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="More than this share of the last outcomes as dead letters of one reason halts intake; records are then "
        "tried one at a time until it is over. 1: no limit.",
    )
    window: int = Field(
        200,
        ge=10,
        le=100_000,
        description="Outcomes of this worker that the share is counted over. Records in work count as if they were to end well: "
        "it is longer by as many.",
    )
    run: int = Field(
        50,
        ge=0,
        le=100_000,
        description="So many dead letters of one reason in a row, and as many more as records are in work, halt intake in the "
        "same way. 0: no limit.",
    )
    blocked_text: BlockedText = Field(
        BlockedText.KEEP,
        description="The value of a dead letter CONTENT_BLOCKED: `keep` leaves the input's as it came, `redact` puts an Avro "
        "record of schemas/redacted.avsc in its place, with the text's hash and length, and leaves out what the API says of it. "
        "Key and headers are kept.",
    )


class SpendSettings(Section):
    """What may be spent, in USD."""

    max_per_hour: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        None,
        description="USD that all replicas together may spend in one hour (UTC), by the costs that the API tells. At the cap no "
        "job is started until the hour is over. Each replica keeps to the share of its partitions. Unset: no cap.",
    )
    max_per_day: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        None, description="The same for one day (UTC)."
    )
    assumed_cost: float = Field(
        0.000033,
        gt=0,
        le=1000,
        description="USD that a result counts for whose cost the API does not tell, and that a job is expected to cost until the "
        "API has told one. The default is the vendor's figure for gemini-embedding-001.",
    )
