"""A replay on the Kafka that the settings name."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker.adapters.kafka import KafkaArchive, PlanGroups, PlanProducer
from worker.core.letter_filter import LetterFilter
from worker.core.replay_plan import FORCIBLE, MAX_REPLAYS, Terms
from worker.replay.planning import Order
from worker.replay.ports import Production
from worker.replay.replay import Replay
from worker.replay.running import Pulse
from worker.settings import Settings

Log = Callable[[int, str], None]

_LOGGER = logging.getLogger(__name__)


def dead_letter_topics(settings: Settings) -> tuple[str, ...]:
    """Where the worker of these settings puts dead letters."""
    return settings.topics.dead_letters


def cost_of_a_call(settings: Settings) -> float:
    """USD that a letter is expected to cost."""
    return settings.spend.assumed_cost


def order_of(
    settings: Settings,
    chosen: LetterFilter | None = None,
    *,
    to: str | None = None,
    force: bool = False,
    max_replays: int = MAX_REPLAYS,
    limit: int | None = None,
) -> Order:
    """What to replay of the dead letters of these settings: those that `chosen` takes (None: all), back to their own topic or
    `to` another; `force`: also what is pointless, superseded, replayed already or too often; `limit`: so many at the most."""
    terms = Terms(
        inputs=settings.topics.input,
        filter=chosen or LetterFilter(),
        to=to,
        force=FORCIBLE if force else frozenset(),
        max_replays=max_replays,
    )
    return Order(terms, dead_letter_topics(settings), limit, cost_of_a_call(settings))


def log_line(level: int, line: str) -> None:
    """Hand a line of the Kafka client to the module `logging`."""
    _LOGGER.log(level, line)


@contextmanager
def open_replay(settings: Settings, log: Log = log_line) -> Iterator[Replay]:
    """Opens what a replay needs, and frees it at the end. Plans are consumer groups named GROUP.replay.ID, of which no member is
    ever made: the worker's own group is left alone. Raises ConfigurationError and StartError."""
    prefix = f"{settings.kafka.group_id}.replay."

    def produce(plan_id: str, expected: Callable[[], None]) -> Production:
        return PlanProducer(settings.kafka, prefix + plan_id, log, expected)

    archive = KafkaArchive(settings.kafka, log)
    try:
        archive.require_transactions()
        pulse = Pulse(time.time, time.monotonic, time.sleep)
        yield Replay(archive, PlanGroups(settings.kafka, prefix, log), produce, pulse)
    finally:
        archive.close()
