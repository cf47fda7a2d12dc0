"""Which Kafka the tests run on: the choice, and what every choice offers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

FORCE_VARIABLE: Final = "KAFKA_TEST_BACKEND"
ADDRESS_VARIABLE: Final = "KAFKA_BOOTSTRAP_SERVERS"
GIVEN: Final = "given"


class BackendUnavailable(Exception):  # says what the machine lacks, not that something broke
    """This backend cannot run on this machine; the message says what is missing."""


class NotRestartable(Exception):
    """This backend's broker is not ours to stop."""


class Broker(Protocol):
    """A running Kafka that a test may stop and start again.

    `stop` and `start` keep address and data: a test of an outage calls one, then the other. Stopping an already stopped
    broker and starting a running one do nothing. `close` ends it for good.
    """

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def can_restart(self) -> bool: ...

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None: ...

    def stop(self, *, kill: bool = False) -> None:
        """Stops the broker: in order, or with `kill` at once (SIGKILL). Raises NotRestartable."""

    def start(self) -> None:
        """Starts a stopped broker and returns when it answers."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TestKafka:
    """The address tests connect to, and whether transactions, admin calls and retention there are the real ones."""

    __test__: ClassVar[bool] = False  # its name begins like a test class

    bootstrap_servers: str
    real: bool
    backend: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend that may be tried. `launch` returns a broker that answers, or raises BackendUnavailable."""

    name: str
    real: bool
    launch: Callable[[], Broker]


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend that runs, and why each preferred one does not."""

    name: str
    real: bool
    broker: Broker
    passed_over: tuple[str, ...]


def choose(candidates: Sequence[Candidate], environment: Mapping[str, str]) -> Choice:
    """Launches the first available candidate, or exactly the one the environment asks for.

    A named backend, or a given address, is an order: if it cannot be had this raises BackendUnavailable and nothing
    else is tried, so that a build server never passes on a lesser one. Errors other than BackendUnavailable always
    propagate: a broker that should start and does not is a fault to look at.
    """
    forced = environment.get(FORCE_VARIABLE) or (GIVEN if environment.get(ADDRESS_VARIABLE) else None)
    known = ", ".join(candidate.name for candidate in candidates)
    passed_over: list[str] = []
    for candidate in candidates:
        # unless it is asked for there is no address, so that nothing could be given
        if candidate.name != forced if forced else candidate.name == GIVEN:
            continue
        try:
            broker = candidate.launch()
        except BackendUnavailable as missing:
            if forced:
                raise BackendUnavailable(f"the Kafka backend {forced} was asked for: {missing}") from missing
            passed_over.append(str(missing))
        else:
            return Choice(candidate.name, candidate.real, broker, tuple(passed_over))
    if forced:
        raise BackendUnavailable(f"{FORCE_VARIABLE}={forced} is not one of {known}")
    raise BackendUnavailable(f"no Kafka for tests: {'; '.join(passed_over)}")
