"""What a run has brought, counted by reading its topics."""

import hashlib
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from math import isfinite
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from fastavro import schemaless_reader

from tests.bench.workload import AvroFile, avro_file

_SECONDS: Final = 20.0
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Outcomes:
    """`vectors` are different events with a vector of the right length, `duplicates` further records of these, `wrong` what is
    no such vector. `digest` is the same for two runs exactly if all their vectors are."""

    vectors: int
    duplicates: int
    wrong: int
    dead_letters: int
    digest: str


def read_outcomes(bootstrap_servers: str, output: str, dead_letter: str, dimension: int) -> Outcomes:
    """Read both topics to their `read_committed` ends. Raises TimeoutError and KafkaException."""
    schema = avro_file("embedding.avsc")
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"reader of {output}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "queued.max.messages.kbytes": 16_384,
        }
    )
    digests: dict[str, bytes] = {}
    duplicates = wrong = 0
    try:
        dead_letters = sum(1 for _ in _messages(consumer, dead_letter))
        for message in _messages(consumer, output):
            identity, digest = _read(message, schema, dimension)
            if digest is None:
                wrong += 1
            elif identity in digests:
                duplicates += 1
            else:
                digests[identity] = digest
    finally:
        consumer.close()
    whole = hashlib.sha256()
    for identity, digest in sorted(digests.items()):
        whole.update(identity.encode() + b"\0" + digest)
    return Outcomes(len(digests), duplicates, wrong, dead_letters, whole.hexdigest())


def _read(message: Message, schema: AvroFile, dimension: int) -> tuple[str, bytes | None]:
    value = message.value()
    if not isinstance(value, bytes) or not value.startswith(schema.header):
        return "", None
    embedding: Any = schemaless_reader(BytesIO(value[len(schema.header) :]), schema.parsed, None)
    vector = array("f", embedding["vector"])
    right = len(vector) == embedding["dimensions"] == dimension and all(map(isfinite, vector))
    return embedding["id"], hashlib.sha256(vector.tobytes()).digest() if right else None


def _messages(consumer: Consumer, topic: str) -> Iterator[Message]:
    """Every record up to the end of each partition, by position: transaction markers yield no record."""
    partitions = consumer.list_topics(topic, timeout=_SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    unread = set(partitions)
    deadline = time.monotonic() + _PATIENCE
    while unread:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(unread)} partitions of {topic} could not be read within {_PATIENCE:.0f} s")
        message = consumer.poll(1.0)
        if message is None:
            continue
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            unread.discard(message.partition() or 0)
        else:
            raise KafkaException(error)
