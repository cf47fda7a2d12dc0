"""The command: many seeds with figures, or one seed with its trace.

python -m tests.simulation --seeds 1000 [--first N] [--jobs 2]      all green, or the failing seeds, the first ones with traces
python -m tests.simulation --seed 123 [--trace] [--bug NAME]        the same run again, exactly; with a bug planted
python -m tests.simulation --planted [--seeds 200] [--bug NAME]     does the simulation find each planted bug?
"""

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.planted import BUGS, planted
from tests.simulation.report import Result, Totals, result_of, story
from tests.simulation.scenario import draw
from tests.simulation.world import Run, World

MOST_SHOWN, MOST_FAILED = 3, 20
"""Failing seeds whose traces are printed, and after which the command ends."""

FOR_A_BUG = 200
"""Seeds in which a planted bug has to be found."""

CHUNK = 20
"""Seeds that go to a process of the machine at once."""


def run(seed: int) -> Run:
    """One seed, from its first event to its last promise."""
    return World(draw(seed)).run()


def short(seed: int) -> Result:
    """One seed, in short."""
    return result_of(run(seed))


def first_that_finds(bug: str, seeds: Iterable[int]) -> Result | None:
    """The first seed whose run breaks a promise with this bug planted, and none without it."""
    for seed in seeds:
        with planted(bug):
            result = short(seed)
        if result.broken and not short(seed).broken:
            return result
    return None


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: every promise has held (with --planted: every bug was found)."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=0, help=f"how many (1000; with --planted {FOR_A_BUG})")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes of this machine")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--trace", action="store_true", help="with --seed: all lines")
    parser.add_argument("--planted", action="store_true", help="plant each bug and look whether it is found")
    parser.add_argument("--bug", choices=sorted(BUGS), help="with --planted or --seed: this bug")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        return _one(chosen.seed, whole=chosen.trace, bug=chosen.bug)
    if chosen.planted:
        return _planted(range(chosen.first, chosen.first + (chosen.seeds or FOR_A_BUG)), chosen.bug)
    return _many(range(chosen.first, chosen.first + (chosen.seeds or 1000)), min(chosen.jobs, os.cpu_count() or 1))


def _one(seed: int, *, whole: bool, bug: str | None) -> int:
    with planted(bug):
        ended = run(seed)
    print(story(ended, whole=whole))
    return 1 if ended.broken else 0


def _many(seeds: Sequence[int], jobs: int) -> int:
    totals, failed = Totals(), []
    began = told = time.perf_counter()
    for result in _results(seeds, jobs):
        totals.add(result)
        if result.broken:
            failed.append(result)
            print(f"seed {result.seed}: {result.broken}", flush=True)
            if len(failed) >= MOST_FAILED:
                break
        if time.perf_counter() - told > 5.0:
            told = time.perf_counter()
            print(f"  {totals.runs} of {len(seeds)} seeds, {totals.runs / (told - began):.1f} a second", flush=True)
    print(totals.table(time.perf_counter() - began))
    for result in failed[:MOST_SHOWN]:
        print(f"\n{story(run(result.seed), whole=False)}")
    verdict = f"{len(failed)} of {totals.runs} seeds broke a promise" if failed else "every promise held"
    print(f"\n{verdict}")
    return 1 if failed else 0


def _results(seeds: Sequence[int], jobs: int) -> Iterator[Result]:
    """All seeds, in order."""
    if jobs <= 1:
        yield from map(short, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(short, seeds, chunksize=CHUNK)


def _planted(seeds: Sequence[int], only: str | None) -> int:
    missed = []
    for name in [only] if only else BUGS:
        began = time.perf_counter()
        found = first_that_finds(name, seeds)
        if found is None:
            missed.append(name)
        told = f"seed {found.seed}: {found.broken}" if found else f"NOT FOUND in {len(seeds)} seeds"
        print(f"{name:46} {time.perf_counter() - began:6.1f} s  {told}", flush=True)
    print(f"\nnot found: {', '.join(missed)}" if missed else "\nevery planted bug was found")
    return 1 if missed else 0
