"""`topics create` right after the controller has made the topics, when the broker that is asked may not know them yet."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest

from worker.commands.topics import created
from worker.errors import StartError, missing_topics
from worker.settings import load


class SlowToHear:
    """Makes what is missing; the broker that is asked hears of it after two more questions."""

    existing = frozenset({"texts"})
    ignorant_for = 2

    def __init__(self, *_: object) -> None:
        self.asked = 0

    async def wait_reachable(self, progress: Callable[[str], None]) -> int:
        return 1

    async def create(
        self, names: Sequence[str], partitions: int, replication: int, config: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        return tuple(name for name in names if name not in self.existing)

    async def describe(self, names: Iterable[str]) -> Mapping[str, int]:
        self.asked += 1
        if self.asked <= self.ignorant_for:
            raise missing_topics(["embeddings"])
        return dict.fromkeys(names, 12)


@pytest.fixture(autouse=True)
def _slow_to_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.commands.topics.Topics", SlowToHear)
    monkeypatch.setattr("worker.commands.topics.LOOK", 0.0)


async def test_a_topic_that_was_just_made_is_waited_for() -> None:
    assert await created(load({}), 12, -1, 1_000_000) == [
        "exists  texts (12 partitions)",
        "created embeddings (12 partitions)",
        "created embeddings.dead-letter (12 partitions)",
    ]


async def test_a_topic_of_which_no_broker_tells_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowToHear, "ignorant_for", 10_000)
    with pytest.raises(StartError, match="missing topics: embeddings"):
        await created(load({}), 12, -1, 1_000_000)
