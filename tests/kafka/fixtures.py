"""The pytest fixtures: `kafka`, `kafka_broker`, `topics`; the marker `real_kafka`; the line at the end of a run."""

import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pytest

from tests.kafka.backend import Broker, Choice, TestKafka, choose
from tests.kafka.candidates import candidates

_CHOICE = pytest.StashKey[Choice]()
_SKIPPED = pytest.StashKey[int]()
_SUMMARIES = pytest.StashKey[list[tuple[str, int]]]()
_OUTPUT = "kafka"


class TopicFactory(Protocol):
    """Creates a topic of which the name, returned, begins with `label` and is used by no other test."""

    def __call__(
        self, label: str = "topic", *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str: ...


class KafkaController:
    """Stops and starts the broker under a running test; address and data stay the same.

    Every method blocks: from a coroutine call it by `asyncio.to_thread`. On the mock only connections break. On a
    given broker each raises NotRestartable; ask `can_restart` first.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @property
    def can_restart(self) -> bool:
        return self._broker.can_restart

    def stop(self, *, kill: bool = False) -> None:
        """Stops the broker by SIGTERM, or with `kill` by SIGKILL. The test's end starts it again."""
        self._broker.stop(kill=kill)

    def start(self) -> None:
        """Starts the stopped broker and returns when it answers."""
        self._broker.start()

    def restart(self, *, kill: bool = False) -> None:
        """Stops and starts: about 2 s on Maven's broker."""
        self.stop(kill=kill)
        self.start()


@pytest.fixture(scope="session")
def _kafka_choice(pytestconfig: pytest.Config) -> Iterator[Choice]:
    # output is captured during fixtures, but a download of a minute must not look like a hang
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    if capture is None:
        choice = choose(candidates(os.environ), os.environ)
    else:
        with capture.global_and_fixture_disabled():
            choice = choose(candidates(os.environ), os.environ)
    pytestconfig.stash[_CHOICE] = choice
    yield choice
    choice.broker.close()


@pytest.fixture(scope="session")
def kafka(_kafka_choice: Choice) -> TestKafka:
    """The one Kafka of this run. Tests share it: use topics of your own (`topics`) and group ids of your own."""
    return TestKafka(_kafka_choice.broker.bootstrap_servers, _kafka_choice.real, _kafka_choice.name)


@pytest.fixture
def kafka_broker(_kafka_choice: Choice) -> Iterator[KafkaController]:
    """Control over the broker; a test that leaves it stopped finds it started again for the next."""
    yield KafkaController(_kafka_choice.broker)
    _kafka_choice.broker.start()


@pytest.fixture
def topics(_kafka_choice: Choice) -> TopicFactory:
    """Makes topics: `topics("input", partitions=6, config={"retention.ms": "1000"})` returns the name."""

    def create(label: str = "topic", *, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        name = f"{label}-{uuid.uuid4().hex[:12]}"
        _kafka_choice.broker.create_topic(name, partitions, config or {})
        return name

    return create


@pytest.fixture(autouse=True)
def _only_on_a_real_kafka(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("real_kafka") is None:
        return
    choice: Choice = request.getfixturevalue("_kafka_choice")
    if not choice.real:
        request.config.stash[_SKIPPED] = request.config.stash.get(_SKIPPED, 0) + 1
        pytest.skip(f"needs a real broker: {why_not_real(choice)}")


def why_not_real(choice: Choice) -> str:
    """The reasons, in one line, for which no real broker runs."""
    return "; ".join(choice.passed_over) or f"the backend {choice.name} was asked for"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs tests for another one tells it which Kafka they had."""
    config = session.config
    if hasattr(config, "workeroutput") and (summary := _summary(config)):
        config.workeroutput[_OUTPUT] = summary


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Such a process has ended; one that crashed says nothing."""
    summary = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if summary:
        node.config.stash.setdefault(_SUMMARIES, []).append(summary)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says which Kafka the run had, so that a green run on the mock is not taken for more than it is."""
    own = _summary(config)
    summaries = [own] if own else config.stash.get(_SUMMARIES, [])
    skipped = sum(skipped for _, skipped in summaries)
    for kind in sorted({kind for kind, _ in summaries}):
        terminalreporter.write_line(f"kafka: {kind}; tests skipped for want of a real one: {skipped}")


def _summary(config: pytest.Config) -> tuple[str, int] | None:
    """The Kafka of this process, and how many tests were skipped for want of a real one; None: no test asked for any."""
    choice = config.stash.get(_CHOICE, None)
    if choice is None:
        return None
    kind = "a real broker" if choice.real else f"no real broker ({why_not_real(choice)})"
    return f"backend {choice.name}, {kind}", config.stash.get(_SKIPPED, 0)
