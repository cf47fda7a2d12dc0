"""The composition root: adapters and stages put together into what one worker consists of."""

from collections.abc import Callable
from dataclasses import dataclass

from worker.core.dead_letter_budget import DeadLetterBudget
from worker.core.extraction import InputMapping, compile_mapping
from worker.core.lease import Lease, lease_cap
from worker.core.ledger import job_of
from worker.core.pace import Pace
from worker.core.partitions import Partitions
from worker.core.polling import PollSchedule
from worker.gate.gate import Gate
from worker.gate.leasehold import Leasehold
from worker.gate.outbox import Outbox
from worker.gate.spend_guard import SpendGuard
from worker.gate.trials import Trials
from worker.model import Record
from worker.pipeline import Pipeline
from worker.ports import Clock, Codec, EmbeddingApi, Observer, Sink, Source
from worker.settings import InputSettings, OnOutage, OnUnknownSubmit, OnUnreadableLedger, Settings
from worker.stages.adopt import Adopt
from worker.stages.commit import Commit
from worker.stages.consume import Consume
from worker.stages.decode import Decode
from worker.stages.poll import Poll
from worker.stages.publish import Publish
from worker.stages.recall import Recall
from worker.stages.submit import Submit


@dataclass(frozen=True, slots=True)
class Ports:
    """What a worker stands on. `partition_count`: all partitions of the input topics, whoever owns them. `session_timeout`: the
    group's, in seconds; it has to be the same in all workers of the group. `metadata_limit`: characters that brokers take with an
    offset, as far as they tell; a smaller one is learned. `bare_schema`: names the schema that bare records are read by."""

    source: Source
    sink: Sink
    codec: Codec
    api: EmbeddingApi
    clock: Clock
    observer: Observer
    partition_count: int
    session_timeout: float = 15.0
    metadata_limit: int = 4096
    bare_schema: str = ""


class Assembly:
    """The parts of one worker, each made once. Must be made inside a running event loop.

    They are made from the bottom up; what a lower one tells a higher one is tied at the end.
    """

    def __init__(self, settings: Settings, ports: Ports, chance: Callable[[], float]) -> None:
        self._settings = settings
        self._ports = ports
        self._chance = chance
        self._job = job_of(settings.api, settings.input, ports.bare_schema)
        lease = Lease(lease_cap(ports.session_timeout))
        self.partitions = self._make_partitions()
        self.leasehold = Leasehold(lease, ports.clock, ports.observer)
        self.gate = self._make_gate()
        dead = settings.dead_letters
        self.trials = Trials(DeadLetterBudget(dead.share, dead.window, dead.run), self.gate, ports.clock)
        self.guard = SpendGuard(self.partitions, self.gate, ports.clock, ports.observer, settings.spend)
        self._outbox = Outbox(self.partitions)
        self.commit = self._make_commit()
        self._recall = Recall(
            self.partitions, self.commit.recorded, self.commit.want, settings.guarantees.on_unknown_submit
        )
        self._submit = self._make_submit()
        self.pipeline = self._make_pipeline()
        self.consume = self._make_consume()
        self._tie()

    def _make_partitions(self) -> Partitions:
        guarantees = self._settings.guarantees
        return Partitions(
            self._job,
            lease_cap(self._ports.session_timeout),
            self._ports.metadata_limit,
            discard=guarantees.on_unreadable_ledger is OnUnreadableLedger.DISCARD,
            strict=guarantees.on_unknown_submit is OnUnknownSubmit.DEAD_LETTER,
        )

    def _make_gate(self) -> Gate:
        settings, ports = self._settings, self._ports
        return Gate(
            Pace(ports.clock.monotonic(), settings.pace.requests_per_minute),
            ports.api,
            ports.clock,
            ports.observer,
            self._chance,
            counts_outages=settings.guarantees.on_outage is OnOutage.DEAD_LETTER,
            connections=settings.api.connections,
        )

    def _make_commit(self) -> Commit:
        ports = self._ports
        return Commit(
            ports.source,
            ports.sink,
            self.partitions,
            self._outbox,
            self.leasehold,
            ports.clock,
            ports.observer,
            self._settings.limits.commit_interval,
        )

    def _make_submit(self) -> Submit:
        settings, ports = self._settings, self._ports
        return Submit(
            ports.api,
            self.gate,
            self.leasehold,
            self.trials,
            self.guard,
            self.partitions,
            ports.clock,
            ports.observer,
            settings.api.attempts,
            self._chance,
            recorded=self.commit.recorded,
            changed=self.commit.want,
            strict=settings.guarantees.on_unknown_submit is OnUnknownSubmit.DEAD_LETTER,
        )

    def _make_pipeline(self) -> Pipeline:
        settings, ports, api = self._settings, self._ports, self._settings.api
        clock, observer = ports.clock, ports.observer
        return Pipeline(
            self._recall,
            Decode(ports.codec, compile_mapping(input_mapping(settings.input)), api),
            Adopt(self.partitions, self._job, clock, observer, self.commit.want),
            self._submit,
            Poll(ports.api, self.gate, self.guard, PollSchedule(), clock, observer, api.deadline, self._chance),
            Publish(ports.codec, settings.topics, settings.dead_letters, api.model, self._job, clock),
            self.commit,
            self.gate,
            self.trials,
            attempts=api.attempts,
            supersede=settings.guarantees.supersede,
            clock=clock,
            observer=observer,
        )

    def _make_consume(self) -> Consume:
        settings, ports = self._settings, self._ports
        return Consume(
            ports.source,
            self.partitions,
            self.gate,
            self.trials,
            settings.limits,
            ports.clock,
            ports.observer,
            journey=self.pipeline.run,
            is_finished=self._recall.is_finished,
            is_decided=self._outbox.holds,
            commit_last=self.commit.last,
            commit_first=self.commit.urge,
            owns=self._owns,
            left=self._left,
            ordering=settings.guarantees.ordering,
            drain=settings.guarantees.drain,
        )

    def _tie(self) -> None:
        self._recall.when_survived = self.consume.suspect_survived
        self._submit.when_answered = self.consume.look_again
        self.commit.when_settled = self.consume.admit_more
        self.leasehold.renew = self.commit.urge
        self.gate.when_healed = self.consume.admit_more
        self.gate.when_stuck = self.consume.admit_another
        self.trials.when_due = self.consume.admit_more
        self.trials.when_turned = self._budget_turned

    def _owns(self, owned: int) -> None:
        """So many partitions: they are its share of what the account may do and spend."""
        share = owned / max(1, self._ports.partition_count)
        self.gate.set_share(share)
        self.guard.owns(share)

    def _left(self, record: Record) -> None:
        """A record is in work no more."""
        self.trials.left(record)
        self.guard.left()

    def _budget_turned(self) -> None:
        """Ledgers say whether their owner has too many dead letters: the next one goes on from there."""
        if self.partitions.exceed(self.trials.exceeded):
            self.commit.want()


def input_mapping(settings: InputSettings) -> InputMapping:
    """Where the event lies in an input record."""
    return InputMapping(settings.text, settings.id, settings.max_text_bytes)
