"""Admin calls to a real broker, each with a bound."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewPartitions, NewTopic  # type: ignore[attr-defined]

_CALL_SECONDS: Final = 10.0
_PROBE_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.02


def client(bootstrap_servers: str) -> AdminClient:
    """An admin client that reconnects fast and does not log refused connections."""
    return AdminClient(
        {
            "bootstrap.servers": bootstrap_servers,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
            "log_level": 0,
        }
    )


def wait_until_ready(bootstrap_servers: str, seconds: float, still_alive: Callable[[], bool]) -> bool:
    """Waits until a broker is registered and leads all its partitions; False after `seconds` or if it died."""
    admin = client(bootstrap_servers)
    return _poll(lambda: _ready(admin.list_topics(timeout=_PROBE_SECONDS)), seconds, still_alive)


def create_topic(bootstrap_servers: str, name: str, partitions: int, config: Mapping[str, str]) -> None:
    """Creates a topic with one replica and waits until every partition has a leader. Raises KafkaException."""
    admin = client(bootstrap_servers)
    topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config))
    admin.create_topics([topic], operation_timeout=_CALL_SECONDS)[name].result(_CALL_SECONDS)

    _wait_led(admin, name, partitions)


def add_partitions(bootstrap_servers: str, name: str, total: int) -> None:
    """Gives a topic so many partitions in all and waits until every one has a leader. Raises KafkaException."""
    admin = client(bootstrap_servers)
    admin.create_partitions([NewPartitions(name, total)], operation_timeout=_CALL_SECONDS)[name].result(_CALL_SECONDS)
    _wait_led(admin, name, total)


def delete_topics(bootstrap_servers: str, names: Iterable[str]) -> None:
    """Deletes topics; for brokers that outlive the test run."""
    admin = client(bootstrap_servers)  # named, or it would be collected and its calls cancelled
    for deleted in admin.delete_topics(list(names), operation_timeout=_CALL_SECONDS).values():
        deleted.result(_CALL_SECONDS)


def delete_records(bootstrap_servers: str, source: tuple[str, int], begin: int) -> None:
    """Deletes what lies below an offset, as retention does. Raises KafkaException."""
    admin = client(bootstrap_servers)
    for deleted in admin.delete_records([TopicPartition(*source, begin)]).values():
        deleted.result(_CALL_SECONDS)


def _wait_led(admin: AdminClient, name: str, partitions: int) -> None:
    def visible() -> bool:
        metadata = admin.list_topics(name, timeout=_PROBE_SECONDS)
        return len(metadata.topics[name].partitions) == partitions and _ready(metadata)

    if not _poll(visible, _CALL_SECONDS, lambda: True):
        raise TimeoutError(f"topic {name} has not {partitions} partitions with a leader after {_CALL_SECONDS:.0f} s")


def _ready(metadata: ClusterMetadata) -> bool:
    leaders = [partition.leader for topic in metadata.topics.values() for partition in topic.partitions.values()]
    return bool(metadata.brokers) and all(leader >= 0 for leader in leaders)


def _poll(condition: Callable[[], bool], seconds: float, still_alive: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while still_alive() and time.monotonic() < deadline:
        try:
            if condition():
                return True
        except KafkaException:  # refused or not yet answering: what is being waited out
            pass
        time.sleep(_PAUSE_SECONDS)
    return False
