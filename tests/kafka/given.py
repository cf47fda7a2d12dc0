"""A broker somebody else runs."""

from collections.abc import Mapping
from typing import Final

from tests.kafka import admin
from tests.kafka.backend import ADDRESS_VARIABLE, BackendUnavailable, NotRestartable

_ANSWER_SECONDS: Final = 15.0


def launch(environment: Mapping[str, str]) -> "GivenBroker":
    """Connects to the given address. Raises BackendUnavailable if there is none or nothing answers there."""
    address = environment.get(ADDRESS_VARIABLE)
    if not address:
        raise BackendUnavailable(f"{ADDRESS_VARIABLE} is not set")
    if not admin.wait_until_ready(address, _ANSWER_SECONDS, lambda: True):
        raise BackendUnavailable(f"no broker answers at {ADDRESS_VARIABLE}={address} within {_ANSWER_SECONDS:.0f} s")
    return GivenBroker(address)


class GivenBroker:
    """It is used, and its topics are cleaned up, but it is never stopped."""

    can_restart: Final = False

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._created: list[str] = []

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        admin.create_topic(self.bootstrap_servers, name, partitions, config)
        self._created.append(name)

    def start(self) -> None:
        """It is running."""

    def stop(self, *, kill: bool = False) -> None:
        raise NotRestartable(f"the broker of {ADDRESS_VARIABLE} is not the tests' own to stop")

    def close(self) -> None:
        """Deletes the topics made here."""
        if self._created:
            admin.delete_topics(self.bootstrap_servers, self._created)
