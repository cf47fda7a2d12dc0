"""An embedded Kafka broker for the demo and for tests: librdkafka's mock cluster, reached through ctypes.

It ships inside the confluent-kafka wheel and runs in a native thread of this process, so neither Docker nor Java is
needed, and other processes can connect to it on 127.0.0.1.

Its limits: transactions are accepted but have no effect (offsets sent are dropped, aborted records stay visible),
AdminClient requests time out, topics have no configuration, an unknown topic is created by a producer's first write,
and a partition keeps the newest 5 MiB or 100,000 batches and drops older ones silently. Use it with at-least-once
delivery only.
"""

import ctypes
import re
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import confluent_kafka.cimpl

TESTED_WITH: Final = "confluent-kafka 2.16.1 (librdkafka 2.16.0)"

SESSION_TIMEOUT_MS: Final = 3000
HEARTBEAT_INTERVAL_MS: Final = 500

_PRODUCER: Final = 0  # rd_kafka_type_t RD_KAFKA_PRODUCER
_CONF_OK: Final = 0  # rd_kafka_conf_res_t RD_KAFKA_CONF_OK
_REPLICATION_FACTOR: Final = 1
_TOPIC_NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # Kafka's own rule; the mock cluster takes anything
_ERROR_TEXT_BYTES: Final = 512
_INT16_MAX: Final = 2**15 - 1

_HANDLE: Final = ctypes.c_void_p
# name: (return type, argument types), from rdkafka.h and rdkafka_mock.h
_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "rd_kafka_conf_new": (_HANDLE, []),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        [_HANDLE, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_conf_destroy": (None, [_HANDLE]),
    "rd_kafka_new": (_HANDLE, [ctypes.c_int, _HANDLE, ctypes.c_char_p, ctypes.c_size_t]),
    "rd_kafka_destroy": (None, [_HANDLE]),
    "rd_kafka_err2str": (ctypes.c_char_p, [ctypes.c_int]),
    "rd_kafka_mock_cluster_new": (_HANDLE, [_HANDLE, ctypes.c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [_HANDLE]),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [_HANDLE]),
    "rd_kafka_mock_topic_create": (ctypes.c_int, [_HANDLE, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [_HANDLE, ctypes.c_int32]),
    "rd_kafka_mock_set_group_consumer_session_timeout_ms": (None, [_HANDLE, ctypes.c_int]),
    "rd_kafka_mock_set_group_consumer_heartbeat_interval_ms": (None, [_HANDLE, ctypes.c_int]),
    "rd_kafka_mock_broker_set_down": (ctypes.c_int, [_HANDLE, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_up": (ctypes.c_int, [_HANDLE, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_rtt": (ctypes.c_int, [_HANDLE, ctypes.c_int32, ctypes.c_int]),
    "rd_kafka_mock_push_request_errors_array": (
        None,
        [_HANDLE, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)],
    ),
}


class EmbeddedBrokerUnavailable(RuntimeError):  # a state of the installation, named as such
    """This installation of confluent-kafka cannot run the embedded broker."""


class EmbeddedBrokerError(RuntimeError):
    """The embedded broker refused a request, or was used before `start()` or after `close()`."""


class EmbeddedBroker:
    """A Kafka cluster in this process, without real transactions.

    Brokers are numbered from 1. All methods may be called from any thread, but not at the same time as `close()`.
    """

    def __init__(self, brokers: int = 1) -> None:
        if brokers < 1:
            raise ValueError(f"an embedded cluster needs at least 1 broker, got {brokers}")
        self._brokers = brokers
        self._lib: Any = None
        self._client: int | None = None
        self._cluster: int | None = None

    def start(self) -> str:
        """Starts the brokers on free ports of 127.0.0.1; returns the bootstrap servers, `host:port[,host:port]`.

        Raises EmbeddedBrokerUnavailable if this confluent-kafka lacks the C functions or they fail, and
        EmbeddedBrokerError if the cluster has been started before.
        """
        if self._cluster is not None:
            raise EmbeddedBrokerError("the embedded broker is already started")
        self._lib = _load()
        self._client = _new_client(self._lib)
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._client, self._brokers)
        if self._cluster is None:
            self.close()
            raise EmbeddedBrokerUnavailable(f"librdkafka could not start its mock cluster; tested with {TESTED_WITH}")
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self._lib.rd_kafka_mock_set_group_consumer_session_timeout_ms(self._cluster, SESSION_TIMEOUT_MS)
        self._lib.rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(self._cluster, HEARTBEAT_INTERVAL_MS)
        bootstrap: bytes | None = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster)
        if not bootstrap:
            self.close()
            raise EmbeddedBrokerUnavailable(f"librdkafka's mock cluster has no address; tested with {TESTED_WITH}")
        return bootstrap.decode()

    def create_topic(self, name: str, partitions: int) -> None:
        """Creates a topic. Raises EmbeddedBrokerError if it exists or Kafka would not allow the name or the count."""
        if not _TOPIC_NAME.fullmatch(name):
            raise EmbeddedBrokerError(f"cannot create topic {name!r}: use 1 to 249 of a-z A-Z 0-9 . _ -")
        if partitions < 1:
            raise EmbeddedBrokerError(f"cannot create topic {name!r}: it needs at least 1 partition, got {partitions}")
        cluster = self._running()
        code = self._lib.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, _REPLICATION_FACTOR)
        self._check(code, f"cannot create topic {name!r}")

    def set_down(self, broker_id: int) -> None:
        """Closes the broker's connections and refuses new ones until `set_up`; its data stay."""
        cluster = self._running()
        code = self._lib.rd_kafka_mock_broker_set_down(cluster, self._known(broker_id))
        self._check(code, f"cannot take broker {broker_id} down")

    def set_up(self, broker_id: int) -> None:
        """Lets the broker accept connections again."""
        cluster = self._running()
        code = self._lib.rd_kafka_mock_broker_set_up(cluster, self._known(broker_id))
        self._check(code, f"cannot bring broker {broker_id} up")

    def set_rtt(self, broker_id: int, ms: int) -> None:
        """Makes the broker delay each answer by `ms` milliseconds; 0 switches that off."""
        if ms < 0:
            raise ValueError(f"a round-trip time cannot be negative, got {ms} ms")
        cluster = self._running()
        code = self._lib.rd_kafka_mock_broker_set_rtt(cluster, self._known(broker_id), ms)
        self._check(code, f"cannot set the round-trip time of broker {broker_id}")

    def push_request_errors(self, api_key: int, errors: Sequence[int]) -> None:
        """The next `len(errors)` requests of this kind, to any broker, are answered with these error codes in order.

        `api_key` is Kafka's protocol number (0 Produce, 1 Fetch, 8 OffsetCommit, ...); an error is a
        `confluent_kafka.KafkaError` code, 0 (NO_ERROR) lets that request pass.
        """
        if not 0 <= api_key <= _INT16_MAX:
            raise ValueError(f"a Kafka API key is between 0 and {_INT16_MAX}, got {api_key}")
        codes = (ctypes.c_int * len(errors))(*errors)
        cluster = self._running()
        self._lib.rd_kafka_mock_push_request_errors_array(cluster, api_key, len(errors), codes)

    def close(self) -> None:
        """Stops the brokers and drops their data. May be called again."""
        cluster, self._cluster = self._cluster, None
        client, self._client = self._client, None
        if cluster is not None:
            self._lib.rd_kafka_mock_cluster_destroy(cluster)
        if client is not None:
            self._lib.rd_kafka_destroy(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> int:
        if self._cluster is None:
            raise EmbeddedBrokerError("the embedded broker is not running: call start() first")
        return self._cluster

    def _known(self, broker_id: int) -> int:
        # librdkafka takes -1 for "all brokers" in some calls only; here a broker is always named
        if not 1 <= broker_id <= self._brokers:
            raise EmbeddedBrokerError(f"there is no broker {broker_id}: they are numbered 1 to {self._brokers}")
        return broker_id

    def _check(self, code: int, action: str) -> None:
        if code:
            raise EmbeddedBrokerError(f"{action}: {self._lib.rd_kafka_err2str(code).decode()}")


def _load() -> ctypes.CDLL:
    """Loads the librdkafka that confluent-kafka itself uses, with every function's types declared."""
    try:
        # the extension module is linked to its bundled librdkafka, whose symbols are found through it
        lib = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    except OSError as error:
        raise EmbeddedBrokerUnavailable(
            f"cannot load librdkafka of confluent-kafka {confluent_kafka.version()}: {error}; tested with {TESTED_WITH}"
        ) from error
    missing = [name for name in _SIGNATURES if not hasattr(lib, name)]
    if missing:
        raise EmbeddedBrokerUnavailable(
            f"confluent-kafka {confluent_kafka.version()} lacks {', '.join(missing)}: "
            f"install the version this was tested with, {TESTED_WITH}, or use a real Kafka"
        )
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    return lib


def _new_client(lib: ctypes.CDLL) -> int:
    """The client handle that owns the mock cluster's thread; it talks to no broker itself."""
    text = ctypes.create_string_buffer(_ERROR_TEXT_BYTES)
    conf = lib.rd_kafka_conf_new()
    # 3 = errors only: a client without servers logs a notice to stderr otherwise
    if lib.rd_kafka_conf_set(conf, b"log_level", b"3", text, _ERROR_TEXT_BYTES) != _CONF_OK:
        lib.rd_kafka_conf_destroy(conf)
        raise EmbeddedBrokerUnavailable(f"librdkafka refused log_level: {text.value.decode()}")
    client: int | None = lib.rd_kafka_new(_PRODUCER, conf, text, _ERROR_TEXT_BYTES)  # takes over conf if it succeeds
    if client is None:
        lib.rd_kafka_conf_destroy(conf)
        raise EmbeddedBrokerUnavailable(f"librdkafka could not start: {text.value.decode()}; tested with {TESTED_WITH}")
    return client
