"""Every setting with its default, unit and meaning. The README's table is made from this module.

`repr=False` marks a setting that may hold a secret: its value is never shown, in no error and no repr.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from worker.settings import checks
from worker.settings.budgets import DeadLettersSettings, SpendSettings
from worker.settings.guarantees import GuaranteesSettings
from worker.settings.section import Section

KafkaName = Annotated[str, AfterValidator(checks.kafka_name)]


class StartFrom(StrEnum):
    """Where a group without committed offsets begins."""

    EARLIEST = "earliest"
    LATEST = "latest"


class OnOutOfRange(StrEnum):
    """What becomes of a partition whose next offset retention has deleted."""

    HALT = "halt"
    EARLIEST = "earliest"
    LATEST = "latest"


class InputFormat(StrEnum):
    """How the bytes of an input record are framed."""

    AUTO = "auto"
    BARE = "bare"
    SINGLE_OBJECT = "single_object"


class KafkaSettings(Section):
    """Brokers and consumer group."""

    bootstrap_servers: Annotated[str, AfterValidator(checks.brokers)] = Field(
        "localhost:9092", description="Brokers, `host:port,host:port`."
    )
    group_id: KafkaName = Field("embedding-worker", description="Consumer group; replicas share one.")
    start_from: StartFrom | None = Field(
        None,
        description="Where to begin with a topic of which the group has no committed offset. Unset: a topic that already holds "
        "records is refused at start, because it is either new to the group or its offsets have expired, and the difference is "
        "money.",
    )
    on_out_of_range: OnOutOfRange = Field(
        OnOutOfRange.HALT,
        description="What to do with a partition whose next record was deleted by retention. `halt`: it stands, red, and the "
        "others go on. `earliest` goes on with the oldest record left, `latest` with new ones only; the lost are counted in the "
        "log. An offset above the end of its topic always halts.",
    )
    properties: Annotated[dict[str, Any], AfterValidator(checks.kafka_properties)] = Field(
        default_factory=dict,
        repr=False,
        description="JSON object of further librdkafka properties for consumer and producer (TLS, SASL, client.rack, ...), "
        "except those that the guarantees rest on.",
    )
    properties_file: Path | None = Field(
        None,
        repr=False,
        description="File with a JSON object that is merged over `properties`, read once at start: the place for SASL and "
        "TLS secrets, as a mounted secret.",
    )


class TopicsSettings(Section):
    """Topic names. They must exist; `embedding-worker topics create` makes them."""

    input: Annotated[tuple[str, ...], AfterValidator(checks.kafka_names)] = Field(
        ("texts",), min_length=1, description="Input topics."
    )
    output: KafkaName = Field("embeddings", description="Topic for vectors and tombstones.")
    dead_letter: KafkaName = Field("embeddings.dead-letter", description="Topic for dead letters.")
    content_blocked: KafkaName | None = Field(
        None, description="Topic for the dead letters CONTENT_BLOCKED. Unset: that of all dead letters."
    )

    @field_validator("output", "dead_letter", "content_blocked")
    @classmethod
    def _does_not_feed_itself(cls, topic: str | None, info: ValidationInfo) -> str | None:
        if topic in info.data.get("input", ()):
            raise ValueError("a topic other than the input topics: the worker would feed itself")
        if topic is not None and info.field_name != "output" and topic == info.data.get("output"):
            raise ValueError("a topic other than the output topic: vectors and dead letters would mix")
        return topic

    @property
    def dead_letters(self) -> tuple[str, ...]:
        """The topics that dead letters go to, each once."""
        return tuple(dict.fromkeys((self.dead_letter, self.content_blocked or self.dead_letter)))

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The topics that outcomes go to."""
        return (self.output, *self.dead_letters)


class InputSettings(Section):
    """How a text event is read out of an input record."""

    text: str = Field(
        "text", min_length=1, description="Dotted path to the text, or a template such as `{title}\\n\\n{body}`."
    )
    id: str | None = Field(
        None, description="Dotted path to the event's id. Unset: field `id` if the record has one, else the key."
    )
    format: InputFormat = Field(InputFormat.AUTO, description="`auto` tells single-object encoding from bare Avro.")
    schema_file: Path | None = Field(
        None, alias="schema", description="Avro schema (.avsc) of the input. Unset: schemas/text_event.avsc."
    )
    max_text_bytes: int = Field(
        65536, gt=0, le=16_777_216, description="Longest text in bytes of UTF-8; longer ones are dead letters."
    )


class ApiSettings(Section):
    """Segmind's v2 API. The key comes from SEGMIND_API_KEY or SEGMIND_API_KEY_FILE, never from here."""

    base_url: Annotated[str, AfterValidator(checks.origin)] = Field(
        "https://api.segmind.com", description="Origin of the API; the key is sent nowhere else."
    )
    model: Annotated[str, AfterValidator(checks.model_slug)] = Field(
        "gemini-embedding-001", description="Model slug of POST /v2/{model}."
    )
    task_type: str | None = Field(None, description="Default task_type; an event's own wins. Unset: not sent.")
    output_dimensionality: int | None = Field(
        None, gt=0, le=65536, description="Default vector length; an event's own wins. Unset: not sent (3072)."
    )
    text_field: str = Field("input", min_length=1, description="Body field that takes the text.")
    extra: Annotated[dict[str, Any], AfterValidator(checks.json_object)] = Field(
        default_factory=dict, repr=False, description="JSON object merged into every request body."
    )
    timeout: float = Field(30.0, gt=0, le=600, description="Seconds for one HTTP request.")
    deadline: float = Field(
        600.0, gt=0, le=3600, description="Seconds a job may take before it is a dead letter TIMEOUT."
    )
    attempts: int = Field(3, ge=1, le=100, description="Counted attempts per event (429 and outages do not count).")
    connections: int = Field(64, ge=1, le=1024, description="Most simultaneous connections to the API.")
    proxy: Annotated[str, AfterValidator(checks.proxy)] | None = Field(
        None,
        repr=False,
        description="HTTP proxy for the API, `http://[user:password@]host:port`. Proxies from the environment are not used.",
    )
    ca_file: Path | None = Field(None, description="PEM file of certificate authorities for the API.")

    @field_validator("extra")
    @classmethod
    def _leaves_the_text_alone(cls, extra: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.data.get("text_field") in extra:
            raise ValueError("a JSON object without the text field: it would replace every event's text")
        for name in ("task_type", "output_dimensionality"):
            if name in extra:
                raise ValueError(f"a JSON object without {name}: WORKER_API__{name.upper()} sets it")
        return extra


class PaceSettings(Section):
    """The account's rate limit."""

    requests_per_minute: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        None,
        description="The account's limit, shared by submits and polls and by all replicas. "
        "Unset: learned, from 60 a minute upwards.",
    )


class LimitsSettings(Section):
    """Bounds. At a limit the worker pauses partitions; it never drops."""

    in_flight: int = Field(256, ge=1, le=100_000, description="Most records in work at once, over all partitions.")
    in_flight_per_partition: int = Field(120, ge=1, le=120, description="Most records in work at once, per partition.")
    bytes: int = Field(67_108_864, ge=1_048_576, le=2**40, description="Most bytes of fetched records held in memory.")
    offset_span: int = Field(
        1_000,
        ge=1,
        le=10_000_000,
        description="Widest span of uncommitted offsets per partition: how many records Kafka may deliver again after a crash or "
        "a rebalance, to be skipped if they are finished.",
    )
    commit_interval: float = Field(
        0.1, gt=0, le=10, description="Seconds between commits while there is something to commit."
    )
    drain: float = Field(25.0, ge=0, le=600, description="Most seconds that a graceful stop takes.")


class RegistrySettings(Section):
    """Schema Registry."""

    url: str | None = Field(
        None, repr=False, description="Schema Registry URL. Refused by this version; the next release brings it."
    )

    @field_validator("url")
    @classmethod
    def _not_yet(cls, url: str | None) -> str | None:
        # Ignoring it would write another format than the one that was asked for.
        if url is not None:
            raise ValueError("to be unset: this version has no Schema Registry support yet, the next release brings it")
        return url


class StatusSettings(Section):
    """The status port: /livez and /readyz."""

    host: Annotated[str, AfterValidator(checks.host)] = Field(
        "0.0.0.0",  # noqa: S104 - probed from outside the pod
        description="Address the status port listens on.",
    )
    port: int = Field(8080, ge=0, le=65535, description="Status port; 0 takes a free one.")


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSettings(Section):
    """Log lines, on stderr."""

    level: LogLevel = Field(LogLevel.INFO, description="Least severe level that is logged.")
    json_lines: bool = Field(default=False, description="JSON lines instead of text.")


class Sections(Section):
    """All sections. Environment names are WORKER_<SECTION>__<NAME>."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicsSettings = TopicsSettings()
    input: InputSettings = InputSettings()
    api: ApiSettings = ApiSettings()
    pace: PaceSettings = PaceSettings()
    guarantees: GuaranteesSettings = GuaranteesSettings()
    limits: LimitsSettings = LimitsSettings()
    dead_letters: DeadLettersSettings = DeadLettersSettings()
    spend: SpendSettings = SpendSettings()
    registry: RegistrySettings = RegistrySettings()
    status: StatusSettings = StatusSettings()
    log: LogSettings = LogSettings()
