"""Apache Kafka in Docker, by testcontainers: the same version and properties as the Maven backend."""

import gc
import warnings
from collections.abc import Mapping
from typing import Any, Final

from tests.kafka import admin
from tests.kafka.backend import BackendUnavailable
from tests.kafka.maven import kafka_version
from tests.kafka.ports import free_port
from tests.kafka.properties import CLUSTER_ID, DATA_DIRECTORY_PROPERTY, broker_properties

_IMAGE: Final = "apache/kafka"
_PORT: Final = 9092
_CONTROLLER_PORT: Final = 9093
_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 20
_PING_SECONDS: Final = 3
_LOG_TAIL_CHARACTERS: Final = 4000
_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1")


def launch() -> "DockerBroker":
    """Starts the container. Raises BackendUnavailable without a Docker engine or if the image cannot be had."""
    try:
        from docker.errors import APIError  # type: ignore[import-untyped]
        from testcontainers.core.docker_client import DockerClient
    except ImportError as error:
        raise BackendUnavailable(f"no Docker: testcontainers is not installed ({error.name})") from error
    if not _engine_answers():
        raise BackendUnavailable("no Docker: its engine does not answer")
    image = f"{_IMAGE}:{kafka_version()}"
    try:
        return DockerBroker(image, DockerClient().host())
    except APIError as error:
        raise BackendUnavailable(f"Docker could not run {image}: {error.explanation or error}") from error


def _engine_answers() -> bool:
    from docker.errors import DockerException
    from testcontainers.core.docker_client import DockerClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            DockerClient(timeout=_PING_SECONDS).client.ping()
            answers = True
        except DockerException:
            answers = False
        # docker-py leaves the socket of a failed connection to the collector: here, not as a later test's warning
        gc.collect()
    return answers


def container_environment(host: str, port: int) -> dict[str, str]:
    """The broker's properties as the image's entry point reads them: KAFKA_ and the name, its dots as underscores."""
    properties = broker_properties(
        listen_host="0.0.0.0",
        listen_port=_PORT,
        advertised_host=host,
        advertised_port=port,
        controller_port=_CONTROLLER_PORT,
    )
    properties[DATA_DIRECTORY_PROPERTY] = "/tmp/kafka-data"
    variables = {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in properties.items()}
    return variables | {"CLUSTER_ID": CLUSTER_ID, "KAFKA_HEAP_OPTS": "-Xms128m -Xmx512m"}


class DockerBroker:
    """A container on a fixed port, so that it comes back under the same address."""

    can_restart: Final = True

    def __init__(self, image: str, engine_host: str) -> None:
        from testcontainers.core.container import DockerContainer

        host = "127.0.0.1" if engine_host in _LOCAL_HOSTS else engine_host
        port = free_port()
        self.bootstrap_servers = f"{host}:{port}"
        container = DockerContainer(image)
        # docker-py takes an address with the port, which testcontainers' own method does not pass on
        ports: dict[str, Any] = container.ports
        ports[f"{_PORT}/tcp"] = ("127.0.0.1", port) if host == "127.0.0.1" else port
        for name, value in container_environment(host, port).items():
            container.with_env(name, value)
        self._container = container
        self._running = True
        container.start()
        self._wait()

    def start(self) -> None:
        """Starts the stopped container and waits until the broker answers."""
        if not self._running:
            self._running = True
            self._container.get_wrapped_container().start()
            self._wait()

    def stop(self, *, kill: bool = False) -> None:
        """Stops the container, data and port stay."""
        if not self._running:
            return
        self._running = False
        if kill:
            self._container.get_wrapped_container().kill()
        else:
            self._container.get_wrapped_container().stop(timeout=_STOP_SECONDS)

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        admin.create_topic(self.bootstrap_servers, name, partitions, config)

    def close(self) -> None:
        """Removes the container and its data."""
        self._running = False
        self._container.stop()

    def _wait(self) -> None:
        if admin.wait_until_ready(self.bootstrap_servers, _START_SECONDS, self._alive):
            return
        output, errors = self._container.get_logs()
        self.close()
        tail = (output + errors).decode(errors="replace")[-_LOG_TAIL_CHARACTERS:]
        raise RuntimeError(f"the Kafka container did not come up; the end of its log:\n{tail}")

    def _alive(self) -> bool:
        container = self._container.get_wrapped_container()
        container.reload()
        return bool(container.status == "running")
