"""The one configuration of a single-node KRaft broker for tests, used by the Maven and the Docker backend."""

from typing import Final

CLUSTER_ID: Final = "MkU3OEVBNTcwNTJENDM2Qk"
DATA_DIRECTORY_PROPERTY: Final = "log.dirs"

_MEBIBYTE: Final = 1024 * 1024


def broker_properties(
    *, listen_host: str, listen_port: int, advertised_host: str, advertised_port: int, controller_port: int
) -> dict[str, str]:
    """Kafka's server.properties without the data directory. Names and defaults: the Kafka 4.1 broker configuration.

    Waits that production wants long are short, so that a killed member or broker is noticed within seconds.
    """
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{listen_host}:{listen_port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{advertised_host}:{advertised_port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        # a broker killed by SIGKILL may register again only after this: 9 s by default
        "broker.session.timeout.ms": "1000",
        "broker.heartbeat.interval.ms": "200",
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(8 * _MEBIBYTE),
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        # transactions past their timeout are swept this often: 10 s by default
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.session.timeout.ms": "3000",
        "group.consumer.min.heartbeat.interval.ms": "100",
        "group.consumer.heartbeat.interval.ms": "500",
        # preallocated or held per partition or thread: little, for a heap of 512 MB and many topics
        "log.index.size.max.bytes": str(_MEBIBYTE),
        "log.cleaner.dedupe.buffer.size": str(8 * _MEBIBYTE),
        "offsets.topic.segment.bytes": str(8 * _MEBIBYTE),
        "transaction.state.log.segment.bytes": str(8 * _MEBIBYTE),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }
