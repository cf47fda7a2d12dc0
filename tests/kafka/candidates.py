"""The backends in their order of preference."""

from collections.abc import Mapping

from tests.kafka import docker, given, maven, mock
from tests.kafka.backend import GIVEN, Broker, Candidate
from tests.kafka.kraft import KraftBroker


def candidates(environment: Mapping[str, str]) -> tuple[Candidate, ...]:
    """All backends, the most wanted first; trying one costs at most a few seconds."""

    def launch_maven() -> Broker:
        broker = KraftBroker(maven.install(environment))
        try:
            broker.start()
        except BaseException:
            broker.close()
            raise
        return broker

    return (
        Candidate(GIVEN, real=True, launch=lambda: given.launch(environment)),
        Candidate("docker", real=True, launch=docker.launch),
        Candidate("maven", real=True, launch=launch_maven),
        Candidate("mock", real=False, launch=mock.launch),
    )
