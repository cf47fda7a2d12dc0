"""The body of an output record, in Avro's binary encoding of `schemas/embedding.avsc`.

Written by hand because a vector is 3072 floats, which fastavro writes one by one and this in one piece.
Format: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

import struct
import sys
from array import array
from collections.abc import Mapping

from worker.core.avro_binary import NULL, SECOND_BRANCH, long, string
from worker.errors import InvalidResult
from worker.model import Embedding

LAYOUT = (
    ("id", "string"),
    ("vector", "array<float>"),
    ("dimensions", "int"),
    ("model", "string"),
    ("task_type", "null|string"),
    ("request_id", "string"),
    ("source.topic", "string"),
    ("source.partition", "int"),
    ("source.offset", "long"),
    ("source.timestamp", "null|timestamp-millis"),
    ("text_sha256", "string"),
    ("embedded_at", "timestamp-millis"),
    ("attempts", "int"),
    ("metrics.inference_time", "null|double"),
    ("metrics.queue_time", "null|double"),
    ("metrics.total_time", "null|double"),
    ("metrics.cost", "null|double"),
    ("metadata", "map<string>"),
)
"""What `write_embedding` writes, in its order. The codec compares it with the schema at start."""

_END_OF_BLOCKS = b"\x00"
_DOUBLE = struct.Struct("<d")


def write_embedding(embedding: Embedding) -> bytes:
    """The record as bytes. Times become whole milliseconds. Raises InvalidResult where a string has no UTF-8."""
    metrics = embedding.metrics
    try:
        return b"".join(
            (
                string(embedding.id),
                _floats(embedding.vector),
                long(len(embedding.vector)),
                string(embedding.model),
                NULL if embedding.task_type is None else SECOND_BRANCH + string(embedding.task_type),
                string(embedding.job.request_id),
                string(embedding.record.source.topic),
                long(embedding.record.source.partition),
                long(embedding.record.offset),
                NULL if embedding.record.timestamp_ms < 0 else SECOND_BRANCH + long(embedding.record.timestamp_ms),
                string(embedding.text_sha256),
                long(round(embedding.embedded_at * 1000)),
                long(embedding.job.attempt),
                _optional_double(metrics.inference_time),
                _optional_double(metrics.queue_time),
                _optional_double(metrics.total_time),
                _optional_double(metrics.cost),
                _strings(embedding.metadata),
            )
        )
    except UnicodeEncodeError:
        raise InvalidResult("the embedding cannot be written: an id or a name holds a lone surrogate") from None


def _floats(vector: "array[float]") -> bytes:
    """One block. Raises ValueError for an array of anything but float32, which would be garbage to every reader."""
    if vector.typecode != "f":
        raise ValueError(f"a vector holds float32 (typecode f), not typecode {vector.typecode}")
    if not vector:
        return _END_OF_BLOCKS
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return long(len(vector)) + vector.tobytes() + _END_OF_BLOCKS


def _optional_double(value: float | None) -> bytes:
    return NULL if value is None else SECOND_BRANCH + _DOUBLE.pack(value)


def _strings(entries: Mapping[str, str]) -> bytes:
    if not entries:
        return _END_OF_BLOCKS
    pairs = [string(key) + string(value) for key, value in entries.items()]
    return long(len(pairs)) + b"".join(pairs) + _END_OF_BLOCKS
