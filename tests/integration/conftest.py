"""The fixtures of the integration tests."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.integration.setup import Setup
from tests.kafka.backend import TestKafka
from tests.kafka.fixtures import TopicFactory


class SetupFactory(Protocol):
    """Makes topics and gives the `Setup` that works on them. The mappings are topic configurations."""

    def __call__(
        self,
        *,
        partitions: int = 3,
        input_config: Mapping[str, str] | None = None,
        output_config: Mapping[str, str] | None = None,
        dead_letter_config: Mapping[str, str] | None = None,
    ) -> Setup: ...


@pytest.fixture
def setups(kafka: TestKafka, topics: TopicFactory, tmp_path: Path) -> Iterator[SetupFactory]:
    """Setups, the processes of which end with the test."""
    made: list[Setup] = []

    def make(
        *,
        partitions: int = 3,
        input_config: Mapping[str, str] | None = None,
        output_config: Mapping[str, str] | None = None,
        dead_letter_config: Mapping[str, str] | None = None,
    ) -> Setup:
        names = (
            topics("input", partitions=partitions, config=input_config),
            topics("output", partitions=partitions, config=output_config),
            topics("dead-letter", partitions=partitions, config=dead_letter_config),
        )
        setup = Setup(kafka.bootstrap_servers, tmp_path, names)
        made.append(setup)
        return setup

    yield make
    for setup in made:
        setup.close()


@pytest.fixture
def setup(setups: SetupFactory) -> Setup:
    """A setup with three partitions of each topic."""
    return setups()
