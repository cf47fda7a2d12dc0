"""A plan as the metadata of committed offsets: one piece per dead-letter partition, which holds the whole plan but for the shares
of the other partitions.

    "ewr" version base64( zlib( JSON ) )

zlib's checksum guards it; brokers count characters. The committed offset is the share's position and stands outside.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from worker.core.letter_filter import LetterFilter, Place
from worker.core.replay_plan import FORCIBLE, Fate, Plan, Share, Terms
from worker.model import Position, TopicPartition

MAGIC: Final = "ewr"
VERSION: Final = "1"
_LONGEST: Final = 65_536
_MOST_JSON: Final = 1_048_576
"""Bytes: a few bytes of zlib can claim far more."""


class UnreadablePlan(ValueError):
    """Why metadata hold no plan."""


def encode(plan: Plan, source: TopicPartition) -> str:
    """The piece of one partition, as ASCII text."""
    share, terms, chosen = plan.shares[source], plan.terms, plan.terms.filter
    document = {
        "id": plan.id,
        "created_at": plan.created_at,
        "letters": plan.letters,
        "ranges": [[*where, *bounds] for where, bounds in sorted(plan.ranges.items())],
        "topics": dict(plan.topics),
        "earlier": plan.earlier,
        "abandoned": plan.abandoned,
        "share": [share.begin, share.end, share.horizon, share.sent],
        "refused": share.refused,
        "inputs": terms.inputs,
        "to": terms.to,
        "force": sorted(fate.name for fate in terms.force),
        "max_replays": terms.max_replays,
        "reasons": sorted(chosen.reasons),
        "since": chosen.since,
        "until": chosen.until,
        "keys": sorted(key.hex() for key in chosen.keys),
        "places": sorted([*place.source, place.offset] for place in chosen.places),
        "match": chosen.match,
    }
    raw = json.dumps(document, separators=(",", ":")).encode()
    return MAGIC + VERSION + b64encode(zlib.compress(raw, 9)).decode()


def decode(positions: Mapping[TopicPartition, Position]) -> Plan:
    """The plan that a group's committed offsets hold. Raises UnreadablePlan; work and memory are bounded."""
    plan: Plan | None = None
    for source, position in sorted(positions.items()):
        piece = _piece(source, position)
        if plan is None:
            plan = piece
        elif replace(piece, shares={}) != replace(plan, shares={}):
            raise UnreadablePlan(f"{source} holds a piece of another plan")
        else:
            plan = replace(plan, shares={**plan.shares, **piece.shares})
    if plan is None:
        raise UnreadablePlan("the group has no committed offsets")
    return plan


def _piece(source: TopicPartition, position: Position) -> Plan:
    metadata = position.metadata
    if not metadata.startswith(MAGIC) or len(metadata) > _LONGEST:
        raise UnreadablePlan(f"{source} holds no plan")
    if not metadata.startswith(MAGIC + VERSION):
        raise UnreadablePlan(f"{source}: version {metadata[len(MAGIC) :][:1]!r} of a newer embedding-worker")
    try:
        packed = b64decode(metadata.removeprefix(MAGIC + VERSION).encode("ascii"), validate=True)
        unpacking = zlib.decompressobj()
        raw = unpacking.decompress(packed, _MOST_JSON)
        if not unpacking.eof:
            raise UnreadablePlan(f"{source}: the plan is damaged")
        return _plan(json.loads(raw), source, position.offset)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError, zlib.error):
        raise UnreadablePlan(f"{source}: the plan is damaged") from None


def _plan(document: dict[str, Any], source: TopicPartition, position: int) -> Plan:
    begin, end, horizon, sent = map(_count, document["share"])
    share = Share(begin, end, horizon, _count(position), sent, tuple(map(_count, document["refused"])))
    force = frozenset(Fate[name] for name in document["force"])
    if not force <= FORCIBLE or not begin <= end <= horizon or position < begin:
        raise ValueError("impossible")
    chosen = LetterFilter(
        reasons=frozenset(map(_text, document["reasons"])),
        since=_time(document["since"]),
        until=_time(document["until"]),
        keys=frozenset(map(bytes.fromhex, document["keys"])),
        places=frozenset(
            Place(TopicPartition(_text(topic), _count(partition)), _count(offset))
            for topic, partition, offset in document["places"]
        ),
        match=_text(document["match"]),
    )
    to = document["to"]
    terms = Terms(
        inputs=tuple(map(_text, document["inputs"])),
        filter=chosen,
        to=None if to is None else _text(to),
        force=force,
        max_replays=_count(document["max_replays"]),
    )
    return Plan(
        id=_text(document["id"]),
        created_at=float(document["created_at"]),
        terms=terms,
        letters=_count(document["letters"]),
        ranges={
            TopicPartition(_text(topic), _count(partition)): (_count(first), _count(stop))
            for topic, partition, first, stop in document["ranges"]
        },
        topics={_text(name): _text(mark) for name, mark in document["topics"].items()},
        earlier=tuple(map(_text, document["earlier"])),
        shares={source: share},
        abandoned=document["abandoned"] is True,
    )


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _time(value: object) -> float | None:
    if value is None or isinstance(value, int | float):
        return value
    raise TypeError("not a time")
