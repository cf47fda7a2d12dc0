"""What a run, and what many runs, look like in print."""

from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.trace import shown
from tests.simulation.world import Run

RELATED = 60
"""Lines of a trace that are printed for a failing seed: the last ones about what is broken."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is left of a run: small enough to travel between processes of the machine. `seconds`: virtual."""

    seed: int
    broken: str | None
    digest: str
    faults: Counter[str]
    repeats: Counter[str]
    events: int
    posts: int
    commits: int
    seconds: float


def result_of(run: Run) -> Result:
    """A run in short."""
    return Result(
        run.scenario.seed,
        str(run.broken) if run.broken else None,
        run.trace.digest(),
        run.faults,
        run.repeats,
        len(run.scenario.events),
        run.posts,
        run.commits,
        run.seconds,
    )


@dataclass(slots=True)
class Totals:
    """Of many runs."""

    runs: int = 0
    events: int = 0
    posts: int = 0
    commits: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    seeds_with: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        """One more."""
        self.runs += 1
        self.events += result.events
        self.posts += result.posts
        self.commits += result.commits
        self.seconds += result.seconds
        self.faults += result.faults
        self.seeds_with.update(result.faults.keys())
        self.repeats += result.repeats

    def table(self, took: float) -> str:
        """All figures; `took` seconds of real time."""
        runs = max(1, self.runs)
        rate = f"{self.runs} seeds in {took:.1f} s, {self.runs / max(took, 1e-9):.1f} a second"
        done = (
            f"{self.events} events, {self.posts} POSTs, {self.commits} commits, {self.seconds / 3600:.1f} virtual hours"
        )
        lines = ["", f"{rate}: {done}", "", f"{'fault':40} {'injected':>9} {'in seeds':>9}"]
        for kind, count in sorted(self.faults.items(), key=lambda item: (-item[1], item[0])):
            lines.append(f"{kind:40} {count:9} {100 * self.seeds_with[kind] / runs:8.0f}%")
        lines += ["", f"{'live jobs that were paid again, by cause':40} {'POSTs':>9}"]
        lines += [f"{cause:40} {count:9}" for cause, count in sorted(self.repeats.items())] or ["none"]
        return "\n".join(lines)


def story(run: Run, *, whole: bool) -> str:
    """A run, for reading: its trace (all of it, or what concerns the promise that it broke) and how it ended."""
    scenario, lines = run.scenario, run.trace.lines
    if run.broken and not whole:
        lines = run.trace.related(run.broken.about)[-RELATED:]
    settings = " ".join(f"{name.removeprefix('WORKER_')}={value}" for name, value in scenario.environment.items())
    size = f"{scenario.partitions} partitions, {scenario.workers} workers, {len(scenario.events)} events"
    limits = f"session timeout {scenario.session_timeout:g} s, {scenario.metadata_limit} characters of metadata"
    faults = ", ".join(f"{count} x {kind}" for kind, count in sorted(run.faults.items())) or "none"
    figures = f"{run.posts} POSTs, {run.commits} commits, {run.seconds:.0f} virtual seconds"
    told = [
        f"seed {scenario.seed}: {size}, {limits}",
        f"  {settings}",
        f"  faults: {faults}",
        f"  trace {run.trace.digest()}, {len(run.trace.lines)} lines; {figures}",
    ]
    if whole or run.broken:
        told.append(shown(lines))
    told.append(f"BROKEN {run.broken}" if run.broken else "every promise held")
    return "\n".join(told)
