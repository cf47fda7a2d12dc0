"""What a replay shows, asks and answers: the plan and the end on stdout, everything else on stderr."""

import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from worker.commands.output import say, writing
from worker.commands.progress import ProgressBar
from worker.commands.replay.report import plan_document, plan_text, show, summary_document, summary_lines
from worker.errors import ConfigurationError
from worker.replay import Order, Proposal, Pulse, Replay, Summary

NOT_CONFIRMED = 2
SOME_REFUSED = 1
BY_SIGNAL = 128


@dataclass(frozen=True, slots=True)
class Consent:
    """Under which conditions a plan is run. `max_cost` in USD."""

    max_cost: float | None
    yes: bool
    dry_run: bool


@dataclass(slots=True)
class Stopping:
    """SIGINT and SIGTERM end a replay behind the transaction under way; a second one ends the process at once, and that loses
    nothing either."""

    number: int = 0
    _before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> "Stopping":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def told(self) -> bool:
        """Whether to stop."""
        return self.number != 0

    def _told(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Stage:
    """One command's talk. `rate` in letters a second."""

    def __init__(self, errors: Console, output: Console, rate: float | None, *, as_json: bool) -> None:
        self._errors = errors
        self._output = output
        self._rate = rate
        self._as_json = as_json

    def tell(self, line: str) -> None:
        """A line to stderr."""
        self._errors.print(Text(line), soft_wrap=True)

    def replay(self, replays: Replay, order: Order, consent: Consent) -> None:
        """Plan, ask, run. Raises as `Replay`, and Exit with the command's exit code."""
        with ProgressBar(self._errors) as bar:
            proposal = replays.propose(order, bar)
        if self._as_json:
            say(json.dumps(plan_document(proposal)))
        else:
            with writing():
                show(self._output, plan_text(proposal, order))
        if consent.max_cost is not None and proposal.cost > consent.max_cost:
            raise ConfigurationError(
                f"the estimate of {proposal.cost:g} USD is above --max-cost {consent.max_cost:g}: select less, or use --limit"
            )
        if consent.dry_run:
            self.tell("--dry-run: nothing was written")
        elif not proposal.plan.letters:
            self.tell("there is nothing to replay")
        elif consent.yes or self._agreed(proposal):
            self._run(lambda bar, pulse: replays.run(proposal, bar, pulse))
        else:
            self.tell("nothing was replayed")
            raise typer.Exit(NOT_CONFIRMED)

    def resume(self, replays: Replay, plan_id: str) -> None:
        """Go on with a plan. Raises as `replay`."""
        self._run(lambda bar, pulse: replays.resume(plan_id, bar, pulse))

    def give_up(self, replays: Replay, plan_id: str) -> None:
        """Abandon a plan. Raises as `replay`."""
        plan = replays.abandon(plan_id)
        if self._as_json:
            say(json.dumps({"plan": plan.id, "abandoned": True, "to_replay": plan.letters, "replayed": plan.sent}))
        else:
            say(f"plan {plan.id} is given up: {plan.sent:,} of {plan.letters:,} dead letters were replayed")

    def _agreed(self, proposal: Proposal) -> bool:
        if not sys.stdin.isatty():
            raise ConfigurationError(
                "no terminal to ask on: confirm with --yes, or only look with --dry-run (nothing was written)"
            )
        letters = proposal.plan.letters
        question = f"Replay {letters:,} dead letter{'s' if letters != 1 else ''}?"
        return typer.confirm(question, default=False, err=True)

    def _run(self, run: Callable[[ProgressBar, Pulse], Summary]) -> None:
        with Stopping() as stopping, ProgressBar(self._errors) as bar:
            pulse = Pulse(time.time, time.monotonic, time.sleep, stopping.told, self._rate)
            summary = run(bar, pulse)
        if self._as_json:
            say(json.dumps(summary_document(summary)))
        else:
            for line in summary_lines(summary):
                say(line)
        if not summary.finished:
            self.tell(f"stopped: go on with: embedding-worker replay --resume {summary.plan.id}")
            raise typer.Exit(BY_SIGNAL + stopping.number)
        if summary.refused:
            raise typer.Exit(SOME_REFUSED)
