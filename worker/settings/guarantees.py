"""What is promised, and at which price."""

from enum import StrEnum

from pydantic import Field, ValidationInfo, field_validator

from worker.settings.section import Section


class Delivery(StrEnum):
    """What holds outcomes and offsets together."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


class Ordering(StrEnum):
    """In which order outcomes are published."""

    KEY = "key"
    NONE = "none"


class OnUnknownSubmit(StrEnum):
    """What becomes of a record of which a submit may or may not have been accepted."""

    RESUBMIT = "resubmit"
    DEAD_LETTER = "dead_letter"


class Drain(StrEnum):
    """What becomes of jobs that run when a partition is handed over or the worker stops."""

    LEAVE = "leave"
    WAIT = "wait"


class OnUnreadableLedger(StrEnum):
    """What becomes of a partition whose ledger cannot be read."""

    HALT = "halt"
    DISCARD = "discard"


class OnOutage(StrEnum):
    """What becomes of events while the API is down."""

    WAIT = "wait"
    DEAD_LETTER = "dead_letter"


class GuaranteesSettings(Section):
    """What is promised, and at which price."""

    delivery: Delivery = Field(
        Delivery.EXACTLY_ONCE,
        description="`exactly_once`: outcomes and offsets in one transaction. `at_least_once`: outcomes first, then offsets; "
        "what is between the two in a crash is published twice.",
    )
    ordering: Ordering = Field(
        Ordering.KEY, description="`key`: outcomes of one key are published in input order. `none`: as they are ready."
    )
    supersede: bool = Field(
        default=False,
        description="Leave out the outcome of an older text once a newer one of the same key has arrived; what is not yet "
        "submitted is not paid. Needs ordering=key.",
    )
    on_unknown_submit: OnUnknownSubmit = Field(
        OnUnknownSubmit.RESUBMIT,
        description="A submit whose answer was lost may have been accepted. `resubmit` may pay twice; `dead_letter` never does, "
        "and costs one commit before every submit.",
    )
    on_outage: OnOutage = Field(
        OnOutage.WAIT,
        description="While the API is down (5xx, timeouts, resets): `wait` halts, and uses up neither attempts nor time; "
        "`dead_letter` goes on trying, counts both, and lets events end as dead letters API_ERROR or TIMEOUT.",
    )
    drain: Drain = Field(
        Drain.LEAVE,
        description="Jobs that run at a stop or hand-over: `leave` them to the next owner, who polls them on, or `wait` for them "
        "first (limits.drain seconds at a stop, 3 at a hand-over).",
    )
    on_unreadable_ledger: OnUnreadableLedger = Field(
        OnUnreadableLedger.HALT,
        description="A ledger of a newer version, or a damaged one: `halt` its partition, or `discard` the ledger, which submits "
        "and publishes again what it knew.",
    )

    @field_validator("supersede")
    @classmethod
    def _needs_order(cls, supersede: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's signature
        if supersede and info.data.get("ordering") is Ordering.NONE:
            raise ValueError("to be false with guarantees.ordering=none: without an order nothing is older")
        return supersede
