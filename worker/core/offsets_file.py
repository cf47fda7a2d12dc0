"""A group's committed offsets as a file, with what other tools leave out: their metadata, where the ledgers live.

{"format": "embedding-worker offsets", "version": 1, "group": ..., "cluster": ..., "exported_at": RFC 3339,
 "topics": {topic: its id}, "offsets": [{"topic": ..., "partition": 0, "offset": 0, "metadata": ...}]}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.core.ledger_codec import LONGEST_METADATA
from worker.model import Position, TopicPartition
from worker.settings.checks import kafka_name

FORMAT: Final = "embedding-worker offsets"
VERSION: Final = 1
LARGEST_FILE: Final = 32 * 1024 * 1024
"""Bytes: more than 7,000 partitions with the longest metadata that brokers take by default."""

_LONGEST_NAME = 256
_MOST_PARTITION, _MOST_OFFSET = 2**31 - 1, 2**63 - 1


class UnusableFile(ValueError):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


@dataclass(frozen=True, slots=True)
class OffsetsFile:
    """What such a file holds. `topics`: each topic's id at the time (its name where the brokers know no ids)."""

    group: str
    cluster: str
    exported_at: str
    topics: Mapping[str, str]
    positions: Mapping[TopicPartition, Position]


def written(file: OffsetsFile) -> str:
    """The file's text, one line per partition."""
    head = {"format": FORMAT, "version": VERSION, "group": file.group, "cluster": file.cluster}
    fields = {**head, "exported_at": file.exported_at, "topics": dict(file.topics)}
    lines = [
        json.dumps({"topic": where.topic, "partition": where.partition, "offset": at.offset, "metadata": at.metadata})
        for where, at in sorted(file.positions.items())
    ]
    return json.dumps(fields)[:-1] + ', "offsets": [\n' + ",\n".join(lines) + "\n]}\n"


def read(content: bytes) -> OffsetsFile:
    """What the bytes hold. Raises UnusableFile with what is wrong with them; anybody may have written them."""
    if len(content) > LARGEST_FILE:
        raise UnusableFile(f"it is larger than {LARGEST_FILE} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise UnusableFile("it is not JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UnusableFile("it was not made by pending --export")
    if document.get("version") != VERSION or isinstance(document["version"], bool):
        raise UnusableFile(f"its version is not {VERSION}: use the release that made it")
    topics = document.get("topics")
    offsets = document.get("offsets")
    if not isinstance(topics, dict) or not isinstance(offsets, list):
        raise UnusableFile("topics or offsets are missing")
    positions: dict[TopicPartition, Position] = {}
    for number, entry in enumerate(offsets):
        where, position = _position(entry, f"entry {number} of its offsets")
        if where in positions:
            raise UnusableFile(f"{where} is in it twice")
        positions[where] = position
    ids = {_name(topic, "a topic"): _text(found, "a topic's id") for topic, found in topics.items()}
    return OffsetsFile(
        _name(document.get("group"), "its group"),
        _text(document.get("cluster"), "its cluster"),
        _text(document.get("exported_at"), "exported_at"),
        ids,
        positions,
    )


def _position(entry: object, what: str) -> tuple[TopicPartition, Position]:
    if not isinstance(entry, dict):
        raise UnusableFile(f"{what} is not an object")
    where = TopicPartition(
        _name(entry.get("topic"), f"the topic of {what}"), _number(entry.get("partition"), _MOST_PARTITION, what)
    )
    metadata = entry.get("metadata")
    if not isinstance(metadata, str) or len(metadata) > LONGEST_METADATA or not metadata.isascii() or "\0" in metadata:
        raise UnusableFile(f"the metadata of {what} is not ASCII text of at most {LONGEST_METADATA} characters")
    return where, Position(_number(entry.get("offset"), _MOST_OFFSET, what), metadata)


def _name(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise UnusableFile(f"{what} is not a name")
    try:
        return kafka_name(value)
    except ValueError as error:
        raise UnusableFile(f"{what} is not a name: {error}") from None


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME or not value.isprintable():
        raise UnusableFile(f"{what} is not a short text")
    return value


def _number(value: object, most: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise UnusableFile(f"partition or offset of {what} is not a number that Kafka can have")
    return value
