"""The simulation, in small: some seeds hold every promise, a seed replays exactly, and planted bugs are found. `make simulate`
runs it in full."""

import os
import subprocess
import sys

import pytest

from tests.simulation.planted import BUGS, planted
from tests.simulation.report import story
from tests.simulation.runner import first_that_finds, run, short

SEEDS = 60
FOR_A_BUG = 150
"""Seeds in which a bug has to show itself here."""

RARE = frozenset({"wait-not-passed-on", "expiry-not-honoured", "metadata-too-large-ignored", "last-commit-tried-once"})
"""Bugs that need more seeds than a test has time for: `python -m tests.simulation --planted` finds them."""


@pytest.mark.parametrize("first", range(1, SEEDS, 20))
def test_every_promise_holds_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + 20):
        ended = run(seed)
        assert ended.broken is None, story(ended, whole=False)


def test_a_seed_replays_exactly_also_in_another_process_with_another_hash_seed() -> None:
    seeds = [3, 6, 11, 27]
    here = [short(seed).digest for seed in seeds]
    assert [short(seed).digest for seed in seeds] == here
    code = f"from tests.simulation.runner import short\nprint(*(short(seed).digest for seed in {seeds}))"
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.split() == here


def test_two_seeds_are_two_runs() -> None:
    assert len({short(seed).digest for seed in range(1, 6)}) == 5


@pytest.mark.parametrize("bug", [name for name in BUGS if name not in RARE])
def test_a_planted_bug_is_found(bug: str) -> None:
    assert first_that_finds(bug, range(1, FOR_A_BUG + 1)) is not None


def test_a_planted_bug_is_gone_afterwards() -> None:
    before = short(1).digest
    with planted("lease-not-checked"):
        assert short(1).digest != before
    assert short(1).digest == before


def test_there_are_bugs_enough() -> None:
    assert len(BUGS) >= 15
