"""From what was measured to what is compared. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from tests.bench.contenders import AT_LEAST_ONCE, SDK, WORKER
from tests.bench.emulator import CoreShare
from tests.bench.outcomes import Outcomes
from tests.bench.processes import Usage

EMULATOR_LIMIT: Final = 0.7
"""Share of a core above which the emulator may be what is measured."""
CPU: Final = "cpu_ms_per_event"
NET_CPU: Final = "net_cpu_ms_per_event"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contender. `requests` are all that the emulator got; `by_route` counts them by what they asked for."""

    contender: str
    round: int
    events: int
    usage: Usage
    outcomes: Outcomes
    requests: int
    by_route: Mapping[str, int]
    bills: int
    double_billed: int
    emulator: CoreShare

    @property
    def complete(self) -> bool:
        """Every event has exactly one vector, as asked for, paid once."""
        outcomes = self.outcomes
        clean = not (outcomes.duplicates or outcomes.wrong or outcomes.dead_letters or self.double_billed)
        return clean and outcomes.vectors == self.bills == self.events


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a run. `idle` is the CPU of the same contender on an empty topic, in seconds."""

    name: str
    title: str
    higher_is_better: bool
    of: Callable[[Run, float], float]


MEASURES: Final = (
    Measure("events_per_cpu_second", "events per CPU second", True, lambda run, _: run.events / run.usage.cpu_seconds),
    Measure(
        "net_events_per_cpu_second",
        "  net of start-up",
        True,
        lambda run, idle: run.events / _net(run, idle),
    ),
    Measure(CPU, "CPU ms per event", False, lambda run, _: run.usage.cpu_seconds * 1000 / run.events),
    Measure(NET_CPU, "  net of start-up", False, lambda run, idle: _net(run, idle) * 1000 / run.events),
    Measure("requests_per_event", "requests per event", False, lambda run, _: run.requests / run.events),
    Measure("peak_rss_mib", "peak RSS, MiB", False, lambda run, _: run.usage.peak_rss_mib),
    Measure(
        "wall_events_per_second",
        "events per second of wall time",
        True,
        lambda run, _: run.events / run.usage.wall_seconds,
    ),
)


def values(measure: Measure, runs: Sequence[Run], idle: Mapping[str, Usage], contender: str) -> list[float]:
    """The figure of each of the contender's runs, in order."""
    return [measure.of(run, idle[contender].cpu_seconds) for run in runs if run.contender == contender]


def ratios(measure: Measure, runs: Sequence[Run], idle: Mapping[str, Usage], other: str = SDK) -> list[float]:
    """Worker / SDK (or another), for each round."""
    pairs = zip(values(measure, runs, idle, WORKER), values(measure, runs, idle, other), strict=True)
    return [worker / against for worker, against in pairs]


def cost_of_exactly_once(runs: Sequence[Run], idle: Mapping[str, Usage]) -> dict[str, dict[str, Any]]:
    """CPU per event of both kinds of delivery, gross and net of start-up; empty where only one was measured."""
    if AT_LEAST_ONCE not in idle:
        return {}
    costs: dict[str, dict[str, Any]] = {}
    for measure in (one for one in MEASURES if one.name in {CPU, NET_CPU}):
        pairs = ratios(measure, runs, idle, AT_LEAST_ONCE)
        costs[measure.name] = {
            "exactly_once": median(values(measure, runs, idle, WORKER)),
            AT_LEAST_ONCE: median(values(measure, runs, idle, AT_LEAST_ONCE)),
            "ratios": pairs,
            "ratio": median(pairs),
        }
    return costs


def warnings(runs: Sequence[Run]) -> list[str]:
    """What makes the figures doubtful."""
    found = [
        f"{name(run)}: the emulator took {run.emulator.busiest:.0%} of a core in its busiest second: it may be the limit"
        for run in runs
        if run.emulator.busiest > EMULATOR_LIMIT
    ]
    for run in runs:
        if not run.complete:
            counts = asdict(run.outcomes) | {"bills": run.bills, "double_billed": run.double_billed}
            listed = ", ".join(f"{what} {count}" for what, count in counts.items() if what != "digest")
            found.append(f"{name(run)} is not complete: of {run.events} events: {listed}")
    if len({run.outcomes.digest for run in runs}) > 1:
        found.append("the runs did not bring the same vectors")
    return found


def json_object(about: Mapping[str, Any], runs: Sequence[Run], idle: Mapping[str, Usage]) -> dict[str, Any]:
    """Everything, as `--json` prints it. `about` says on what machine and with what work it was measured."""
    return {
        **about,
        "complete": all(run.complete for run in runs) and len({run.outcomes.digest for run in runs}) == 1,
        "warnings": warnings(runs),
        "runs": [asdict(run) | {"complete": run.complete} for run in runs],
        "idle": {contender: asdict(usage) for contender, usage in idle.items()},
        "exactly_once": cost_of_exactly_once(runs, idle),
        "measures": {measure.name: _summary(measure, runs, idle) for measure in MEASURES},
    }


def name(run: Run) -> str:
    """How a run is called in a sentence."""
    return f"{run.contender}, round {run.round}"


def _summary(measure: Measure, runs: Sequence[Run], idle: Mapping[str, Usage]) -> dict[str, Any]:
    pairs = ratios(measure, runs, idle)
    return {
        "better": "higher" if measure.higher_is_better else "lower",
        WORKER: median(values(measure, runs, idle, WORKER)),
        SDK: median(values(measure, runs, idle, SDK)),
        "ratios": pairs,
        "ratio": median(pairs),
    }


def _net(run: Run, idle: float) -> float:
    """CPU seconds beyond those of an empty run; a run of few events can drown in the noise of starting."""
    return max(1e-6, run.usage.cpu_seconds - idle)
