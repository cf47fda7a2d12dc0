"""Dead letters back to the input: plan, run, resume. The same for the command line and for Python."""

import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from worker.core.replay_codec import UnreadablePlan, decode
from worker.core.replay_fates import Judge
from worker.core.replay_plan import Fate, Plan
from worker.errors import ConfigurationError, ReplayInterrupted, StartError, WorkerError
from worker.replay.letters import Letters
from worker.replay.planning import Order, Planning, require_room
from worker.replay.ports import Archive, NoWatch, OpenProduction, Plans, Watch
from worker.replay.progress import Progress, abandoned
from worker.replay.proposal import Proposal
from worker.replay.running import Pulse, Run
from worker.replay.survey import judge_of

_ID: Final = re.compile(r"[0-9a-f]{8}")
_NOTHING: Final = NoWatch()
_LOOKS, _LOOK_SECONDS = 10, 0.3
"""A group is listed soon after its first offsets are committed."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended. `finished` False: it was told to stop, and can be resumed. `lost`: offsets of the plan that retention
    deleted before their turn."""

    plan: Plan
    finished: bool
    lost: int = 0

    @property
    def sent(self) -> int:
        """Letters of the plan replayed until now, by this run and those before it."""
        return self.plan.sent

    @property
    def refused(self) -> int:
        """Letters that the target topic did not take for their size."""
        return self.plan.refused


class Replay:
    """Plans replays and runs them. Blocks; one call at a time. `new_id` makes the id of a plan."""

    def __init__(
        self,
        archive: Archive,
        plans: Plans,
        open_production: OpenProduction,
        pulse: Pulse,
        new_id: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        self._archive = archive
        self._plans = plans
        self._open = open_production
        self._pulse = pulse
        self._new_id = new_id

    def propose(self, order: Order, watch: Watch = _NOTHING) -> Proposal:
        """What a replay would do; writes nothing. Raises ConfigurationError and StartError."""
        known = frozenset(plan_id for plan_id in self._plans.ids() if _ID.fullmatch(plan_id))
        earlier, notes = [], []
        for plan_id in sorted(known):
            try:
                earlier.append(self.plan(plan_id, order.dead_letters))
            except ConfigurationError:
                continue  # it has expired just now, or is about other topics
            except StartError as problem:
                notes.append(f"what an earlier plan has replayed is not known: {problem}")
        earlier.sort(key=lambda plan: plan.created_at)
        proposal = Planning(self._archive, earlier, self._pulse.now, watch).propose(order, self._new_id())
        return replace(proposal, notes=(*proposal.notes, *notes), known=known)

    def run(self, proposal: Proposal, watch: Watch = _NOTHING, pulse: Pulse | None = None) -> Summary:
        """Confirm the plan, which can be resumed from here on, and replay it. Raises ConfigurationError and StartError before
        anything is written, ReplayInterrupted afterwards."""
        plan = proposal.plan
        if not plan.letters:
            return Summary(plan, finished=True)
        require_room(plan, self._plans.metadata_limit())
        with self._progress(plan, is_new=True) as progress:
            progress.note_down(plan)
            self._require_alone(progress, proposal)
            return self._go(plan, progress, watch, pulse or self._pulse, proposal.judge)

    def resume(self, plan_id: str, watch: Watch = _NOTHING, pulse: Pulse | None = None) -> Summary:
        """Go on with a plan; whoever else runs it is fenced. Raises ConfigurationError where there is none, StartError and
        ReplayInterrupted."""
        with self._progress(self.plan(plan_id)) as progress:
            plan = self.plan(plan_id)
            progress.believe(plan)
            if plan.abandoned:
                raise ConfigurationError(f"plan {plan_id} was given up: plan anew, what it has replayed is known")
            if plan.finished:
                return Summary(plan, finished=True)
            return self._go(plan, progress, watch, pulse or self._pulse)

    def abandon(self, plan_id: str) -> Plan:
        """Give a plan up: what it has not replayed is free for others. Raises as `resume`."""
        with self._progress(self.plan(plan_id)) as progress:
            plan = abandoned(self.plan(plan_id))
            progress.note_down(plan)
            return plan

    def plan(self, plan_id: str, topics: Collection[str] | None = None) -> Plan:
        """A confirmed plan and how far it is; with `topics`, its part over these. Raises ConfigurationError and StartError."""
        if not _ID.fullmatch(plan_id):
            raise ConfigurationError(f"{plan_id!r} is no plan's id: want its eight hex digits")
        positions = self._plans.read(plan_id, topics)
        if not positions:
            raise ConfigurationError(
                f"there is no plan {plan_id}: it was never confirmed, its group has expired (offsets.retention.minutes of the "
                "brokers, a week unless set), or WORKER_KAFKA__GROUP_ID is another one"
            )
        try:
            plan = decode(positions)
        except UnreadablePlan as problem:
            raise StartError(f"plan {plan_id} cannot be read ({problem}): plan anew") from None
        if plan.id != plan_id:
            raise StartError(f"plan {plan_id} cannot be read (its group holds plan {plan.id}): plan anew")
        return plan

    def _go(self, plan: Plan, progress: Progress, watch: Watch, pulse: Pulse, known: Judge | None = None) -> Summary:
        archive, terms = self._archive, plan.terms
        try:
            names = {source.topic for source in plan.shares} | {*terms.inputs} | ({terms.to} if terms.to else set())
            partitions = archive.partition_counts(sorted(names))
            self._require_same_topics(plan)
            lost = self._lost(plan)
            letters = Letters(archive, {name: partitions[name] for name in terms.inputs}, watch)
            if known is None:
                self._require_input(plan)
            judge = known or judge_of(plan, letters, archive, self._those_before(plan), watch)
            run = Run(plan, letters, judge, progress, partitions, pulse, watch)
            finished = run.until_done()
        except (StartError, ConfigurationError) as problem:
            raise ReplayInterrupted(
                f"{problem} - what was replayed stands, go on with: embedding-worker replay --resume {plan.id}"
            ) from None
        return Summary(run.plan, finished, lost)

    def _require_same_topics(self, plan: Plan) -> None:
        """Offsets of a topic made anew are those of other records. Raises ReplayInterrupted."""
        found = self._archive.fingerprints(sorted(plan.topics))
        anew = [name for name, mark in sorted(plan.topics.items()) if found[name] != mark]
        if anew:
            raise ReplayInterrupted(
                f"topic {anew[0]} was made anew since plan {plan.id} was made: give it up (replay --abandon {plan.id}) and plan "
                "anew"
            )

    def _require_input(self, plan: Plan) -> None:
        """What is superseded must still be seen to be. Raises ReplayInterrupted."""
        if Fate.SUPERSEDED in plan.terms.force:
            return
        bounds = self._archive.bounds(sorted(plan.ranges))
        for source, (begin, end) in plan.ranges.items():
            if begin < min(bounds[source][0], end):
                raise ReplayInterrupted(
                    f"retention has deleted records of {source} by which plan {plan.id} tells which letters are superseded: "
                    f"give it up (replay --abandon {plan.id}) and plan anew; what it has replayed is known"
                )

    def _those_before(self, plan: Plan) -> list[Plan]:
        """The plans that had letters of this one. Raises ReplayInterrupted."""
        try:
            return [self.plan(earlier, topics_of(plan)) for earlier in plan.earlier]
        except ConfigurationError as problem:
            raise ReplayInterrupted(
                f"what had been replayed before is not known any more ({problem}): give the plan up (replay --abandon "
                f"{plan.id}) and plan anew"
            ) from None

    def _lost(self, plan: Plan) -> int:
        bounds = self._archive.bounds(sorted(plan.shares))
        return sum(max(0, min(bounds[source][0], share.end) - share.position) for source, share in plan.shares.items())

    def _require_alone(self, progress: Progress, proposal: Proposal) -> None:
        """Two plans made at the same time do not know of each other: whoever sees the other's gives its own up. Raises
        StartError."""
        plan, ids = proposal.plan, frozenset(self._plans.ids())
        for _ in range(_LOOKS):
            if plan.id in ids:
                break
            self._pulse.sleep(_LOOK_SECONDS)
            ids = frozenset(self._plans.ids())
        else:
            progress.note_down(abandoned(plan))
            raise StartError(
                "replays keep their plans as consumer groups, and this user cannot see them: grant DESCRIBE on groups that begin "
                "with WORKER_KAFKA__GROUP_ID"
            )
        for other in sorted(
            plan_id for plan_id in ids - proposal.known if _ID.fullmatch(plan_id) and plan_id != plan.id
        ):
            if self._shares_letters(other, plan):
                progress.note_down(abandoned(plan))
                raise StartError(f"plan {other} was made meanwhile, over the same dead letters: plan anew")

    def _shares_letters(self, other: str, plan: Plan) -> bool:
        try:
            found = self.plan(other, topics_of(plan))
        except ConfigurationError:
            return False
        except WorkerError:
            return True
        return not found.abandoned and not plan.shares.keys().isdisjoint(found.shares)

    @contextmanager
    def _progress(self, plan: Plan, *, is_new: bool = False) -> Iterator[Progress]:
        progress = Progress(self._plans, self._open, plan.id, topics_of(plan), is_new=is_new)
        try:
            progress.connect()
            yield progress
        finally:
            progress.close()


def topics_of(plan: Plan) -> list[str]:
    """The dead-letter topics that a plan is about."""
    return sorted({source.topic for source in plan.shares})
