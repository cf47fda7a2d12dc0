"""The work of one run: text events in single-object encoding on an input topic, the same for every contender."""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

SCHEMAS: Final = Path(__file__).resolve().parents[2] / "schemas"
PARTITIONS: Final = 6
"""Of the input topic: the worker takes at most 120 records of a partition in work."""

_SECONDS: Final = 30.0
_SEED: Final = 1
_WORDS: Final = """
    the of and a to in is was for on order late parcel broken screen refund customer asked before shipping invoice window
    battery replaced after week store manager answered quickly price return policy under warranty station train delayed
    morning coffee machine leaks water service visit engineer found cable loose again thanks great product works fine
"""
_EMBEDDED_PARTITION_BYTES: Final = 2_500_000
"""The embedded broker keeps 5 MiB a partition and keys do not spread evenly; on a real one this only adds partitions."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`events` texts of about `characters` letters each, to become vectors of `dimension` floats; `latency` is the law of the
    emulated API in seconds, `running_result` what its result endpoint answers for a running job."""

    events: int
    dimension: int
    latency: str
    running_result: int = 200
    characters: int = 600

    @property
    def output_partitions(self) -> int:
        """Partitions of an output topic."""
        return max(PARTITIONS, math.ceil(self.events * (self.dimension * 4 + 400) / _EMBEDDED_PARTITION_BYTES))


@dataclass(frozen=True, slots=True)
class AvroFile:
    """A schema as fastavro wants it, and the header of its single-object encoding."""

    parsed: Any
    header: bytes


def avro_file(name: str) -> AvroFile:
    """A schema of `schemas/`."""
    parsed = parse_schema(json.loads((SCHEMAS / name).read_bytes()))
    return AvroFile(parsed, b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO")))


def events(workload: Workload) -> Iterator[tuple[str, bytes]]:
    """Identity and value of every event; always the same."""
    schema, chance, words = avro_file("text_event.avsc"), random.Random(_SEED), _WORDS.split()
    for number in range(workload.events):
        identity = f"event-{number}"
        # numbered, so that no text comes twice: a second bill for the same text is a double one
        text = f"{number}: " + " ".join(chance.choices(words, k=max(1, workload.characters // 6)))
        event = {"id": identity, "text": text, "metadata": {"source": "bench", "number": str(number)}}
        buffer = BytesIO()
        schemaless_writer(buffer, schema.parsed, event)
        yield identity, schema.header + buffer.getvalue()


def produce(bootstrap_servers: str, topic: str, workload: Workload) -> None:
    """Put all events on the input topic. Raises TimeoutError if the broker does not take them."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "linger.ms": 5})
    for identity, value in events(workload):
        producer.produce(topic, key=identity.encode(), value=value)
        producer.poll(0)
    if left := producer.flush(_SECONDS):
        raise TimeoutError(f"{left} of {workload.events} events were not taken by the broker in {_SECONDS:.0f} s")
