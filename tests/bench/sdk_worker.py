"""The contender: the vendor's SDK in a pool of 64 threads between Kafka and Kafka, as a competent user would write it.

One consumer, one idempotent producer, one SDK client; a window of records in work, so that the pool never waits for the
slowest of a batch; offsets are committed once a second, after the broker has acknowledged what comes before them. The
SDK polls as it does: at once, then every second. It ends at the end offsets of its start.
"""

import argparse
import hashlib
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from fastavro import schemaless_reader, schemaless_writer
from segmind import SegmindClient

from tests.bench.workload import AvroFile, avro_file

THREADS: Final = 64

_MODEL: Final = "gemini-embedding-001"
_BATCH: Final = 64
_WINDOW: Final = 4 * _BATCH
_COMMIT_SECONDS: Final = 1.0
_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Embedder:
    """Makes the output record of an input record; called by many threads at a time."""

    client: SegmindClient
    dimension: int
    event_schema: AvroFile
    embedding_schema: AvroFile

    def __call__(self, message: Message) -> bytes:
        """Decode, embed, encode."""
        value = message.value()
        assert isinstance(value, bytes)
        event: Any = schemaless_reader(BytesIO(value[10:]), self.event_schema.parsed, None)
        job = self.client.submit_async(_MODEL, input=event["text"], output_dimensionality=self.dimension)
        result = job.wait()
        metrics = result.get("metrics") or {}
        embedding = {
            "id": event["id"],
            "vector": result["output"],
            "dimensions": len(result["output"]),
            "model": _MODEL,
            "task_type": event["task_type"],
            "request_id": job.request_id,
            "source": {
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
                "timestamp": message.timestamp()[1],
            },
            "text_sha256": hashlib.sha256(event["text"].encode()).hexdigest(),
            "embedded_at": int(time.time() * 1000),
            "attempts": 1,
            "metrics": {name: metrics.get(name) for name in ("inference_time", "queue_time", "total_time", "cost")},
            "metadata": event["metadata"],
        }
        buffer = BytesIO()
        buffer.write(self.embedding_schema.header)
        schemaless_writer(buffer, self.embedding_schema.parsed, embedding)
        return buffer.getvalue()


class Progress:
    """How far each partition is: what is to be read, and the next offset that may be committed."""

    def __init__(self, consumer: Consumer, producer: Producer, topic: str) -> None:
        self._consumer = consumer
        self._producer = producer
        self._topic = topic
        self._next: dict[int, int] = {}
        self._committed_at = time.monotonic()
        partitions = consumer.list_topics(topic, timeout=_SECONDS).topics[topic].partitions
        marks = [
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_SECONDS) for number in partitions
        ]
        self.unread = sum(high - low for low, high in marks)

    def finished(self, message: Message) -> None:
        """The record's outcome has been produced, and those of all records before it."""
        number, offset = message.partition(), message.offset()
        assert number is not None
        assert offset is not None
        self._next[number] = offset + 1

    def commit(self, *, now: bool = False) -> None:
        """Commit if it is time."""
        if not self._next or not (now or time.monotonic() - self._committed_at >= _COMMIT_SECONDS):
            return
        if left := self._producer.flush(_SECONDS):
            raise TimeoutError(f"{left} vectors were not acknowledged in {_SECONDS:.0f} s")
        offsets = [TopicPartition(self._topic, number, offset) for number, offset in self._next.items()]
        self._consumer.commit(offsets=offsets, asynchronous=False)
        self._next.clear()
        self._committed_at = time.monotonic()


def work(consumer: Consumer, producer: Producer, embed: Embedder, topic: str, output: str) -> None:
    """Embed everything that is on the topic now."""
    progress = Progress(consumer, producer, topic)
    in_work: deque[tuple[Message, Future[bytes]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        while progress.unread or in_work:
            if progress.unread and len(in_work) <= _WINDOW - _BATCH:
                for message in consumer.consume(min(_BATCH, progress.unread), timeout=0.1):
                    if (error := message.error()) is not None:
                        raise KafkaException(error)
                    in_work.append((message, pool.submit(embed, message)))
                    progress.unread -= 1
            # the oldest is waited for only when there is nothing else to do
            while in_work and (in_work[0][1].done() or not progress.unread or len(in_work) > _WINDOW - _BATCH):
                message, value = in_work.popleft()
                producer.produce(output, key=message.key(), value=value.result())
                producer.poll(0)
                progress.finished(message)
                progress.commit()
        progress.commit(now=True)


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sdk_worker", description=__doc__)
    for name in ("bootstrap-servers", "group", "input", "output", "url", "key"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--dimension", type=int, required=True)
    options = parser.parse_args()
    brokers = {"bootstrap.servers": options.bootstrap_servers}
    consumer = Consumer(
        brokers | {"group.id": options.group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    producer = Producer(
        brokers | {"acks": "all", "enable.idempotence": True, "linger.ms": 5, "partitioner": "murmur2_random"}
    )
    client = SegmindClient(api_key=options.key, base_url=f"{options.url}/v1")
    embed = Embedder(client, options.dimension, avro_file("text_event.avsc"), avro_file("embedding.avsc"))
    try:
        consumer.subscribe([options.input])
        work(consumer, producer, embed, options.input, options.output)
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
