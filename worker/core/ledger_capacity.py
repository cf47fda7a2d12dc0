"""How many records a partition may have in work, so that its ledger surely fits into what the brokers take with an offset."""

from worker.core.ledger_codec import FIXED_BYTES, MAGIC, MARK_BYTES, UUID_BYTES, VERSION, is_uuid

MOST_RECORDS = 120
"""In flight in one partition (`DESIGN.md`, section 3)."""

DEFAULT_BUDGET = 4096
"""Characters: `offset.metadata.max.bytes` of a broker that says nothing else."""

_LONGEST_RUN = 4
"""Bytes of a varint below `offset_runs.WIDEST_SPAN`."""

_LONGEST_ID = 1 + 128
"""Bytes of the longest id that `answers.is_request_id` takes."""


def stored_length(request_id: str) -> int:
    """Bytes that an id takes in a ledger: 16 for a UUID, 1 + its length for any other."""
    return UUID_BYTES if is_uuid(request_id) else 1 + len(request_id)


def in_flight_limit(budget: int, longest_id: int | None) -> int:
    """How many records of a partition may be started and unpublished so that their ledger surely fits.

    `budget` is in characters; `longest_id` is the largest `stored_length` seen, None while no id is known: then each may become
    as long as ids can be. 0: not even one is sure to fit. Holds for records taken up under `OffsetRuns.admits`.
    """
    room = _bytes_in(budget) - FIXED_BYTES
    return max(
        0, min(MOST_RECORDS, room // (_LONGEST_RUN + MARK_BYTES + (_LONGEST_ID if longest_id is None else longest_id)))
    )


def smaller(budget: int) -> int:
    """The budget to go on with, in characters, after a broker has refused one for its size."""
    return budget // 2


def _bytes_in(budget: int) -> int:
    """Bytes that fit into so many characters behind magic and version."""
    return max(0, budget - len(MAGIC + VERSION)) * 3 // 4
