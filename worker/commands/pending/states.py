"""`pending --fetch`: what the API says of each job, asked so slowly that the worker does not feel it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from worker.commands.embed import explained
from worker.core.endings import Call, Halt, Retry, Step
from worker.core.ledger import Mark
from worker.core.pending import PartitionState
from worker.core.verdicts import judge
from worker.errors import ApiError, JobFailed, Unanswered
from worker.ports import Clock, EmbeddingApi
from worker.settings import PaceSettings

SHARE = 0.1
"""Of the account's limit, at most, unless --rate says otherwise."""

UNKNOWN_PACE = 60.0
"""Requests a minute, where no limit is set: what a worker begins with."""

FASTEST = 1.0
"""Calls a second at most, unless --rate says otherwise."""

SILENT = 3
"""Calls in a row without an answer after which nothing more is asked."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a job: QUEUED, PROCESSING, COMPLETED or FAILED, `gone` (the API does not know it any more) or `unknown` (it
    could not be told). `detail`: what the API says of a job that FAILED, or why it could not be told."""

    state: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.detail}" if self.detail else self.state


@dataclass(frozen=True, slots=True)
class Answers:
    """What was seen of jobs, by request_id. `stopped`: why the rest was not asked for."""

    seen: Mapping[str, Seen]
    stopped: str | None = None


def polite_rate(pace: PaceSettings) -> float:
    """Calls a second."""
    return min(FASTEST, SHARE * (pace.requests_per_minute or UNKNOWN_PACE) / 60.0)


async def states_of(
    states: Sequence[PartitionState], api: EmbeddingApi, rate: float, clock: Clock, say: Callable[[str], None]
) -> Answers:
    """Ask for each known request_id once, at most `rate` a second, the one that expires first before the others. The first sign
    that the API does not want more ends it."""
    marks = [entry.mark for state in states for entry in state.entries if entry.mark.request_id]
    found = list(dict.fromkeys(mark.request_id or "" for mark in sorted(marks, key=_submitted)))
    if len(found) > 1:
        say(f"asking for {len(found)} jobs at {rate:g} a second, in {len(found) / rate:.0f} s (--rate changes that)")
    seen: dict[str, Seen] = {}
    silent = 0
    for number, request_id in enumerate(found):
        if number:
            await clock.sleep(1.0 / rate)
        try:
            seen[request_id] = Seen((await api.status(request_id)).value)
            silent = 0
        except ApiError as error:
            silent = silent + 1 if isinstance(error, Unanswered) else 0
            judged = seen_in(error, request_id)
            if silent >= SILENT or isinstance(judged, str):
                stop = judged if isinstance(judged, str) else explained(Call.STATUS, error)
                return Answers(seen, f"{stop}; {len(found) - number} of {len(found)} jobs were not asked for")
            seen[request_id] = judged
    return Answers(seen)


def seen_in(error: ApiError, request_id: str) -> Seen | str:
    """The state of a job whose status call brought no success; a sentence: ask nothing more."""
    verdict = judge(Call.STATUS, error, age=math.inf, request_id=request_id)
    if isinstance(verdict, Halt):
        return explained(Call.STATUS, error)
    if isinstance(verdict, Retry) and verdict.throttled:
        return "the account's rate limit is reached (429), and the worker needs the rest: try again later, with a lower --rate"
    detail = getattr(verdict, "detail", str(error))
    if isinstance(error, JobFailed):
        return Seen("FAILED", detail)
    if isinstance(verdict, Retry) and verdict.step is Step.RESUBMIT:
        return Seen("gone")
    return Seen("unknown", detail)


def _submitted(mark: Mark) -> float:
    return mark.submitted_at
