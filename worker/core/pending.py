"""What the committed offsets of a group say of the jobs that run, for people and programs that only look."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from worker.core.ledger import BLANK, Entry, Ledger, Mark, Place, Refused, Void
from worker.core.ledger_codec import decode
from worker.core.verdicts import RESULT_LIFETIME
from worker.model import Position, TopicPartition


class Standing(StrEnum):
    """What is committed for a partition. NOTHING: no offset; NONE: an offset without a ledger; VOID: with one that belongs
    elsewhere; UNREADABLE: with one that cannot be read."""

    LEDGER = "ledger"
    NOTHING = "no offset"
    NONE = "no ledger"
    VOID = "void"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition. `offset`: the committed one; `problem`: why its ledger counts as none, and what follows from it, as a
    sentence; `unfinished`: records above the offset that were started and are not finished; `entries`: those of them of which
    something is known; `handed_over`: the last owner has ended its work in order."""

    where: TopicPartition
    standing: Standing
    offset: int | None = None
    problem: str | None = None
    unfinished: int = 0
    entries: tuple[Entry, ...] = ()
    handed_over: bool = False
    unclean_takeovers: int = 0

    @property
    def jobs(self) -> Sequence[Mark]:
        """The marks of jobs whose request_id is known."""
        return [entry.mark for entry in self.entries if has_job(entry.mark)]


@dataclass(frozen=True, slots=True)
class Totals:
    """Over all partitions. `oldest`: seconds since the first submit; `next_expiry`: seconds until the next result is gone;
    both None where there is no such job. `expired`: jobs whose result is gone already."""

    partitions: int
    with_jobs: int
    jobs: int
    oldest: float | None
    next_expiry: float | None
    expired: int
    intents: int
    claims: int
    problems: int


def has_job(mark: Mark) -> bool:
    """Whether the mark is that of a job, and not of an intent to submit one."""
    return mark.request_id is not None and not mark.intent


def expires_in(mark: Mark, now: float) -> float:
    """Seconds until the API forgets the result; negative: it has. `now` in seconds since the epoch."""
    return mark.submitted_at + RESULT_LIFETIME - now


def state_of(
    where: TopicPartition, position: Position | None, cluster: str, topic_id: str, job: bytes
) -> PartitionState:
    """What is committed for a partition of this cluster and topic. `job`: the `job_fingerprint` of who would go on."""
    if position is None:
        return PartitionState(where, Standing.NOTHING)
    found = decode(position.metadata, Place(cluster, topic_id, where.partition), position.offset)
    if isinstance(found, Ledger):
        return _of_ledger(where, found, job)
    if isinstance(found, Refused):
        problem = (
            f"its ledger cannot be read ({found.reason}): a worker halts it; run the worker that wrote it, or set "
            "WORKER_GUARANTEES__ON_UNREADABLE_LEDGER=discard"
        )
        return PartitionState(where, Standing.UNREADABLE, position.offset, problem)
    if isinstance(found, Void):
        return PartitionState(
            where, Standing.VOID, position.offset, f"its ledger is void: {found.reason}: {_after(found)}"
        )
    problem = f"it has no ledger ({found.reason}): {_AGAIN}"
    return PartitionState(where, Standing.NONE, position.offset, problem)


def totals(states: Iterable[PartitionState], now: float) -> Totals:
    """The sums. `now` in seconds since the epoch."""
    states = list(states)
    jobs = [mark for state in states for mark in state.jobs]
    left = [expires_in(mark, now) for mark in jobs]
    marks = [entry.mark for state in states for entry in state.entries]
    return Totals(
        partitions=len(states),
        with_jobs=sum(bool(state.jobs) for state in states),
        jobs=len(jobs),
        oldest=max((now - mark.submitted_at for mark in jobs), default=None),
        next_expiry=min((seconds for seconds in left if seconds > 0), default=None),
        expired=sum(seconds <= 0 for seconds in left),
        intents=sum(mark.intent for mark in marks),
        claims=sum(mark.claims > 0 for mark in marks),
        problems=sum(state.problem is not None for state in states),
    )


_AGAIN = "everything from its offset on is done again"


def _after(void: Void) -> str:
    if void.reason.endswith("topic"):
        return "its topic was made anew, a worker begins at the first record"
    return _AGAIN


def _of_ledger(where: TopicPartition, ledger: Ledger, job: bytes) -> PartitionState:
    state = PartitionState(
        where,
        Standing.LEDGER,
        ledger.offset,
        unfinished=len(ledger.entries),
        entries=tuple(entry for entry in ledger.entries if entry.mark != BLANK),
        handed_over=ledger.clean,
        unclean_takeovers=ledger.unclean,
    )
    if ledger.job == job or not any(entry.mark.request_id or entry.mark.intent for entry in state.entries):
        return state
    problem = (
        "its jobs were made under other settings than these (model, origin, parameters, or how the text is read): "
        "a worker with these settings pays for them again"
    )
    return replace(state, problem=problem)
