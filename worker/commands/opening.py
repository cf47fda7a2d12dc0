"""Opens the real adapters for what the settings say."""

import asyncio
from collections.abc import Callable, Mapping

from worker.adapters.avro import AvroCodec, bundled_schema, schema_files
from worker.adapters.http_transport import open_transport
from worker.adapters.kafka import KafkaSink, KafkaSource, Topics, TransactionalSink, metadata_limit, session_timeout
from worker.adapters.segmind import SegmindApi
from worker.assembly import Ports, input_mapping
from worker.commands.configuration import api_key_of
from worker.core.extraction import fields_named
from worker.core.takeover import first_metadata
from worker.errors import StartError
from worker.model import TopicPartition
from worker.ports import Clock, EmbeddingApi, Observer, Sink, Source
from worker.settings import Delivery, Settings

KafkaLog = Callable[[int, str], None]


def no_log(level: int, line: str) -> None:
    """Drop the Kafka client's own lines."""


def open_api(settings: Settings, clock: Clock) -> EmbeddingApi:
    """The embedding API. Raises ConfigurationError."""
    return SegmindApi(settings.api, api_key_of(settings).read, open_transport(settings.api), clock.epoch)


def open_codec(settings: Settings) -> AvroCodec:
    """Avro in and out. Raises ConfigurationError."""
    given = settings.input.schema_file
    schemas = schema_files(given) if given else (bundled_schema("text_event.avsc"),)
    outputs = bundled_schema("embedding.avsc"), bundled_schema("redacted.avsc")
    codec = AvroCodec(schemas, settings.input.format, *outputs)
    codec.require_fields(fields_named(input_mapping(settings.input)))
    return codec


def open_sink(settings: Settings, source: Source, log: KafkaLog) -> Sink:
    """Where outcomes go, with the delivery that is promised. Raises ConfigurationError."""
    if settings.guarantees.delivery is Delivery.EXACTLY_ONCE:
        return TransactionalSink(settings.kafka, log=log)
    return KafkaSink(settings.kafka, source.commit, log=log)


async def open_ports(
    settings: Settings,
    clock: Clock,
    observer: Observer,
    progress: Callable[[str], None],
    log: KafkaLog,
) -> Ports:
    """What a worker stands on, once a broker answers and all topics are there. `progress` hears what is waited for.

    Raises ConfigurationError and StartError.
    """
    codec, api = open_codec(settings), open_api(settings, clock)
    try:
        await Topics(settings.kafka, no_log).try_properties()  # wrong ones are known before a minute of waiting
        topics = Topics(settings.kafka, log)
        await topics.wait_reachable(progress)
        counts = await topics.describe([*settings.topics.input, *settings.topics.outcomes])
        source = KafkaSource(settings.kafka, settings.topics.input, log=log)
        sink = open_sink(settings, source, log)
        patience = session_timeout(settings.kafka)
        limit = require_room(await metadata_limit(settings.kafka, no_log))
    except BaseException:
        await asyncio.shield(api.close())
        raise
    partition_count = sum(counts[name] for name in settings.topics.input)
    return Ports(
        source,
        sink,
        codec,
        api,
        clock,
        observer,
        partition_count,
        session_timeout=patience,
        metadata_limit=limit,
        bare_schema=codec.bare_schema,
    )


def require_room(limit: int) -> int:
    """The brokers' limit of metadata in characters. Raises StartError where not even an empty ledger fits."""
    if limit <= len(first_metadata("", "", 0, 0)):  # the client adds a zero that counts
        raise StartError(
            f"the brokers take only {limit} characters of metadata with an offset, too little for a ledger: raise their "
            "offset.metadata.max.bytes (4096 is Kafka's default)"
        )
    return limit


async def end_offsets(settings: Settings) -> Mapping[TopicPartition, int]:
    """The `read_committed` end of every partition of the input topics now. Raises StartError."""
    topics = Topics(settings.kafka, no_log)
    counts = await topics.describe(settings.topics.input)
    partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    return {where: end for where, (_, end) in (await topics.offsets(partitions)).items()}
