"""The short form of `make chaos`: a few of everything, on the tests' own broker."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.report import lines, violations
from tests.chaos.run import chaos, rolling
from tests.chaos.schedule import Kind, Plan
from tests.kafka.backend import Broker, Choice

pytestmark = pytest.mark.real_kafka

SESSION = 3.0
"""Seconds: partitions of a killed worker move after that long."""


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The tests' broker, which may be restarted."""
    choice: Choice = request.getfixturevalue("_kafka_choice")
    if not choice.broker.can_restart:
        pytest.skip("the given broker is not the tests' own to stop")
    yield choice.broker
    choice.broker.start()


def quiet(_: str) -> None:
    """No progress lines."""


@pytest.mark.timeout(180)
def test_kills_a_zombie_a_broker_restart_and_a_reset_storm_lose_repeat_and_disorder_nothing(
    broker: Broker, tmp_path: Path, show: Callable[[str], None]
) -> None:
    plan = Plan(
        events=600,
        seed=3,
        kills=3,
        zombies=1,
        terms=0,
        brokers=1,
        broker_kills=0,
        storms=(Kind.RESETS,),
        gap=3.5,
        session_timeout=SESSION,
    )
    result = chaos(broker, tmp_path, plan, quiet, {})
    for line in lines(result, unclean=True):
        show(line)
    assert not violations(result, unclean=True)
    # the trouble was real
    assert len(result.placed) == 600
    assert [one.kind for one in result.incidents].count(Kind.KILL) == 3
    assert result.account.bound > 0


@pytest.mark.timeout(120)
def test_a_rolling_restart_of_three_workers_repeats_no_bill(
    broker: Broker, tmp_path: Path, show: Callable[[str], None]
) -> None:
    plan = Plan(events=300, seed=3, session_timeout=SESSION)
    result = rolling(broker, tmp_path, plan, quiet, {}, turns=1)
    for line in lines(result, unclean=False):
        show(line)
    assert not violations(result, unclean=False)
    assert result.repeated == 0
    assert len(result.incidents) == 3
