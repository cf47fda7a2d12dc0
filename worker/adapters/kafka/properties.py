"""librdkafka properties: what is fixed, what is a default, what the user adds, and which client gets which."""

from collections.abc import Mapping
from typing import Any, Final

from worker.errors import ConfigurationError
from worker.settings.sections import KafkaSettings

_OFFSETS: Final = "offsets are committed with the outcomes and nothing else may move them"
_FENCING: Final = "commits are fenced by it"
_NO_LOSS: Final = "no outcome may be lost or reordered"

# name: why a user cannot set it; aliases as librdkafka's list of properties has them
_FIXED: Final[Mapping[str, str]] = {
    "enable.auto.commit": _OFFSETS,
    "auto.commit.enable": _OFFSETS,
    "enable.auto.offset.store": _OFFSETS,
    "isolation.level": "aborted records must not be embedded, and committed offsets are read stable",
    "auto.offset.reset": "a lost offset must not be replaced silently: use WORKER_KAFKA__START_FROM",
    "group.id": "it has a setting of its own: WORKER_KAFKA__GROUP_ID",
    "transactional.id": _FENCING,
    "metadata.recovery.strategy": "a transaction would hang after a broker's restart (librdkafka #5456)",
    "enable.idempotence": _NO_LOSS,
    "acks": _NO_LOSS,
    "request.required.acks": _NO_LOSS,
    "queuing.strategy": _NO_LOSS,
    "delivery.report.only.error": "every delivery report is waited for",
    "enable.partition.eof": "positions behind transaction markers are known by it",
    "fetch.error.backoff.ms": "a topic made anew is noticed in that time",
    "partition.assignment.strategy": "rebalances are handled the cooperative way",
    "bootstrap.servers": "it has a setting of its own: WORKER_KAFKA__BOOTSTRAP_SERVERS",
    "metadata.broker.list": "it has a setting of its own: WORKER_KAFKA__BOOTSTRAP_SERVERS",
    "default.topic.config": "topic properties are set by their own names",
}

_CONSUMER_ONLY: Final = frozenset({
    "group.instance.id", "session.timeout.ms", "heartbeat.interval.ms", "group.protocol.type", "group.protocol",
    "group.remote.assignor", "coordinator.query.interval.ms", "max.poll.interval.ms", "auto.commit.interval.ms",
    "queued.min.messages", "queued.max.messages.kbytes", "fetch.wait.max.ms", "fetch.queue.backoff.ms",
    "fetch.message.max.bytes", "max.partition.fetch.bytes", "fetch.max.bytes", "fetch.min.bytes",
    "offset.store.method", "check.crcs", "max.poll.records", "offset.store.path",
    "offset.store.sync.interval.ms", "consume.callback.max.messages",
})  # fmt: skip
_PRODUCER_ONLY: Final = frozenset({
    "transaction.timeout.ms", "enable.gapless.guarantee", "queue.buffering.max.messages",
    "queue.buffering.max.kbytes", "queue.buffering.max.ms", "linger.ms", "message.send.max.retries", "retries",
    "queue.buffering.backpressure.threshold", "compression.codec", "compression.type", "compression.level",
    "batch.num.messages", "batch.size", "sticky.partitioning.linger.ms", "request.timeout.ms", "message.timeout.ms",
    "delivery.timeout.ms", "produce.offset.report", "partitioner",
})  # fmt: skip

_CLASSIC_SESSION_MS: Final = 15_000
_BROKERS_SESSION_MS: Final = 45_000
"""`group.consumer.session.timeout.ms` of brokers: with `group.protocol=consumer` it is theirs, and clients cannot tell it."""
_PROPAGATION: Final = "topic.metadata.propagation.max.ms"
_DELIVERY_TIMEOUT_MS: Final = 30_000
_TRANSACTION_TIMEOUT_MS: Final = 10_000
"""How long a dead worker's transaction holds back the readers of its offsets at most; a user may lower it."""
_SHORTEST_TRANSACTION_MS: Final = 1_200
"""librdkafka wants timeouts of a socket (a second at least, here) 100 ms below that of the transaction."""
_SOCKET_TIMEOUT_MS: Final = 60_000
_MESSAGE_MAX_BYTES: Final = 32 * 1024 * 1024  # the broker's limit decides, not the client's

_CLASSIC_DEFAULTS: Final[Mapping[str, Any]] = {
    "session.timeout.ms": _CLASSIC_SESSION_MS,
    "heartbeat.interval.ms": 3_000,
    "partition.assignment.strategy": "cooperative-sticky",
}
_CONSUMER_DEFAULTS: Final[Mapping[str, Any]] = {
    # librdkafka's own bounds are 64 MB and 100,000 messages, of memory that the worker's limits do not see
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 1_000,
    "fetch.message.max.bytes": 1_048_576,
    "fetch.max.bytes": 8 * 1_048_576,
    # a resumed partition waits for the fetch request under way to end
    "fetch.wait.max.ms": 50,
}
_ARCHIVE_DEFAULTS: Final[Mapping[str, Any]] = {
    # after a full queue librdkafka fetches nothing for a second, also for what is assigned anew
    "fetch.queue.backoff.ms": 5,
    "queued.min.messages": 10_000,
    # a single record waits for the long poll that the one before it has left
    "fetch.wait.max.ms": 5,
}
_PRODUCER_DEFAULTS: Final[Mapping[str, Any]] = {
    "partitioner": "murmur2_random",
    "linger.ms": 5,
    # float32 vectors do not shrink: lz4 saves 0 to 1 % of random ones
    "compression.type": "none",
    "message.max.bytes": _MESSAGE_MAX_BYTES,
    "queue.buffering.max.kbytes": 128 * 1024,
    "delivery.timeout.ms": _DELIVERY_TIMEOUT_MS,
    _PROPAGATION: 10_000,
}


def consumer_properties(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of the group's member. Raises ConfigurationError where the user sets one that is fixed."""
    user = _user(settings, _PRODUCER_ONLY)
    return {
        **({} if _new_protocol(user) else _CLASSIC_DEFAULTS),
        **_CONSUMER_DEFAULTS,
        **user,
        **_identity(settings),
        "enable.partition.eof": True,
    }


def reader_properties(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of a consumer that asks for offsets in the group's name and never joins it. Raises as above."""
    member_only = {"group.instance.id", "group.protocol", "group.remote.assignor", "max.poll.interval.ms"}
    member_only |= set(_CLASSIC_DEFAULTS)
    user = {name: value for name, value in _user(settings, _PRODUCER_ONLY).items() if name not in member_only}
    return {**user, **_identity(settings), "allow.auto.create.topics": False}


def archive_properties(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of a consumer that reads whole partitions and belongs to no group. Raises as above."""
    return {**_CONSUMER_DEFAULTS, **_ARCHIVE_DEFAULTS, **reader_properties(settings), "enable.partition.eof": True}


def producer_properties(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of the producer of outcomes. Raises as above."""
    user = _user(settings, _CONSUMER_ONLY)
    defaults = dict(_PRODUCER_DEFAULTS)
    for alias, name in (
        ("message.timeout.ms", "delivery.timeout.ms"),
        ("compression.codec", "compression.type"),
        ("queue.buffering.max.ms", "linger.ms"),
    ):
        if alias in user:
            defaults.pop(name)
    return {
        **defaults,
        **user,
        "bootstrap.servers": settings.bootstrap_servers,
        "acks": "all",
        "enable.idempotence": True,
    }


def transactional_properties(settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """Properties of a producer whose every message belongs to a transaction. Raises as above."""
    given = producer_properties(settings)
    timeout = _number(given, "transaction.timeout.ms", _TRANSACTION_TIMEOUT_MS)
    if not _SHORTEST_TRANSACTION_MS <= timeout <= _TRANSACTION_TIMEOUT_MS:
        raise ConfigurationError(
            f"WORKER_KAFKA__PROPERTIES: transaction.timeout.ms is {timeout}, and must be from {_SHORTEST_TRANSACTION_MS} to "
            f"{_TRANSACTION_TIMEOUT_MS}: a dead worker's transaction holds back its partitions for so long"
        )
    delivery = "message.timeout.ms" if "message.timeout.ms" in given else "delivery.timeout.ms"
    linger = {} if {"linger.ms", "queue.buffering.max.ms"} & settings.properties.keys() else {"linger.ms": 0}
    return {
        "retry.backoff.ms": 10,
        **given,
        **linger,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": timeout,
        delivery: min(_number(given, delivery, timeout) or timeout, timeout),
        "socket.timeout.ms": min(_number(given, "socket.timeout.ms", _SOCKET_TIMEOUT_MS), timeout - 100),
        # a topic that is missing is to be known before the transaction is over its time
        _PROPAGATION: min(_number(given, _PROPAGATION, timeout), timeout // 2),
        "metadata.recovery.strategy": "none",
        # a committed transaction says of all its messages that they are delivered
        "delivery.report.only.error": True,
    }


def admin_properties(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of the admin client: where and as whom to connect. Raises as above."""
    user = _user(settings, _PRODUCER_ONLY | _CONSUMER_ONLY)
    return {**user, "bootstrap.servers": settings.bootstrap_servers}


def delivery_seconds(properties: Mapping[str, Any]) -> float:
    """Longest time that librdkafka tries to deliver a message; ten minutes where the user made it infinite (0)."""
    value = properties.get("delivery.timeout.ms", properties.get("message.timeout.ms", _DELIVERY_TIMEOUT_MS))
    return float(value) / 1000 or 600.0


def session_timeout(settings: KafkaSettings) -> float:
    """Seconds without a heartbeat after which the group gives a member's partitions to others. Raises ConfigurationError.

    With `group.protocol=consumer` brokers decide: then it is their default, whatever they are configured to.
    """
    default = _BROKERS_SESSION_MS if _new_protocol(settings.properties) else _CLASSIC_SESSION_MS
    return _number(settings.properties, "session.timeout.ms", default) / 1000


def _new_protocol(user: Mapping[str, Any]) -> bool:
    return str(user.get("group.protocol", "classic")).lower() == "consumer"


def _number(properties: Mapping[str, Any], name: str, default: int) -> int:
    value = properties.get(name, default)
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(f"WORKER_KAFKA__PROPERTIES: {name} must be a whole number of milliseconds") from None


def _identity(settings: KafkaSettings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": settings.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
    }


def _user(settings: KafkaSettings, foreign: frozenset[str]) -> dict[str, Any]:
    """The user's properties without those of the other client, which librdkafka would warn about."""
    for name in settings.properties:
        if name in _FIXED:
            raise ConfigurationError(
                f"WORKER_KAFKA__PROPERTIES: {name} cannot be set, because {_FIXED[name]}: remove it"
            )
        if name.endswith("_cb") or name in {"logger", "on_commit", "on_delivery"}:
            raise ConfigurationError(f"WORKER_KAFKA__PROPERTIES: {name} is not a property of librdkafka: remove it")
    return {name: value for name, value in settings.properties.items() if name not in foreign}
