"""The figures for people: one line each, better or worse said of each."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Final

from tests.bench.contenders import SDK, WORKER
from tests.bench.figures import (
    MEASURES,
    NET_CPU,
    Measure,
    Run,
    cost_of_exactly_once,
    name,
    ratios,
    values,
    warnings,
)
from tests.bench.processes import Usage
from tests.bench.restart import Restart

GOAL: Final = 3.0
"""Times the SDK's events per CPU second that the worker is to reach."""
DEAREST: Final = 1.25
"""Times the CPU per event of at-least-once delivery that exactly-once may take."""
SLOWEST: Final = 2.0
"""Seconds from the assignment of partitions until every job that was running has been asked for."""


def lines(about: Mapping[str, Any], runs: Sequence[Run], idle: Mapping[str, Usage]) -> Iterator[str]:
    """The whole report."""
    kafka, work = about["kafka"], about["workload"]
    real = "a real broker" if kafka["real"] else "the embedded broker: no real Kafka here"
    yield (
        f"{work['events']} events of {work['characters']} characters, {work['dimension']} floats each, "
        f"latency {work['latency']} s, result endpoint answers {work['running_result']} for a running job"
    )
    yield f"Kafka backend {kafka['backend']} ({real}); {about['cpus']} CPUs; Python {about['python']}"
    yield ""
    yield f"{'medians':<32}{'worker':>10}{'SDK':>10}   worker / SDK"
    for measure in MEASURES:
        yield _line(measure, runs, idle)
    yield ""
    start = ", ".join(f"{who} {usage.cpu_seconds:.2f} CPU s" for who, usage in idle.items())
    yield f"start-up (a run on an empty topic; it is part of all figures but those net of it): {start}"
    for run in runs:
        routes = ", ".join(f"{route} {count / run.events:.2f}" for route, count in run.by_route.items())
        yield (
            f"{name(run)}: {run.outcomes.vectors} vectors, {run.bills} bills, {run.double_billed} double; per event: {routes}; "
            f"emulator {run.emulator.mean:.0%} of a core, {run.emulator.busiest:.0%} in its busiest second"
        )
    yield ""
    yield from (f"WARNING: {warning}" for warning in warnings(runs))
    yield from _verdict(runs, idle)
    yield from _exactly_once(runs, idle)


def restart_lines(restart: Restart) -> Iterator[str]:
    """What a restart with full ledgers took."""
    sound = restart.repeated_posts == 0 and restart.all_asked <= SLOWEST
    yield f"restart with full ledgers, {restart.partitions} partitions x {restart.jobs // restart.partitions} jobs:"
    yield (
        f"  stopped in {restart.stop:.2f} s, assigned {restart.assigned:.2f} s after the start; from there the first job "
        f"was asked for in {restart.first_asked:.2f} s, all {restart.asked} in {restart.all_asked:.2f} s; "
        f"repeated POSTs: {restart.repeated_posts}"
    )
    yield f"goal, every job asked for within {SLOWEST:.0f} s and none paid again: {'met' if sound else 'missed'}"


def _line(measure: Measure, runs: Sequence[Run], idle: Mapping[str, Usage]) -> str:
    pairs = ratios(measure, runs, idle)
    middle = median(pairs)
    worker, sdk = (median(values(measure, runs, idle, contender)) for contender in (WORKER, SDK))
    remark = "" if (middle > 1) == measure.higher_is_better else "  the SDK is better"
    listed = " ".join(f"{pair:.2f}" for pair in pairs)
    return f"{measure.title:<32}{worker:>10.2f}{sdk:>10.2f}   {middle:.2f} (pairs: {listed}){remark}"


def _verdict(runs: Sequence[Run], idle: Mapping[str, Usage]) -> Iterator[str]:
    ratio = median(ratios(MEASURES[0], runs, idle))
    verb = "met" if ratio >= GOAL else "missed"
    yield f"goal, {GOAL:.0f} times the SDK's events per CPU second, start-up included: {verb} ({ratio:.2f})"


def _exactly_once(runs: Sequence[Run], idle: Mapping[str, Usage]) -> Iterator[str]:
    costs = cost_of_exactly_once(runs, idle)
    for measure, cost in costs.items():
        listed = " ".join(f"{pair:.2f}" for pair in cost["ratios"])
        what = "net of start-up" if measure == NET_CPU else "start-up included"
        yield (
            f"CPU ms per event, {what}: exactly once {cost['exactly_once']:.2f}, at least once {cost['at_least_once']:.2f}: "
            f"{cost['ratio']:.2f} times (rounds: {listed})"
        )
    if costs:
        ratio = costs[NET_CPU]["ratio"]
        verb = "met" if ratio <= DEAREST else "missed"
        yield f"goal, exactly once at most {DEAREST:.2f} times at least once, net of start-up: {verb} ({ratio:.2f})"
