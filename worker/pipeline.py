"""The journey of one record, the verbs in order. One coroutine per record, no queues between the stages.

consume comes before: it starts the coroutine, unless the ledger says that the record is finished."""

from dataclasses import replace

from worker.core.resume import Follow, Start
from worker.errors import MessageRefused, Rejected, Superseded
from worker.gate.gate import Gate
from worker.gate.trials import Trials
from worker.model import EmbedRequest, Outcome, OutcomeKind, Reason, Record, TextEvent
from worker.notices import CommitFailed, Ended
from worker.ports import Clock, Observer
from worker.stages.adopt import Adopt
from worker.stages.commit import Commit
from worker.stages.decode import Decode
from worker.stages.poll import JobLostError, Poll
from worker.stages.publish import Publish
from worker.stages.recall import Recall
from worker.stages.submit import Submit

KEY_BYTES = 1024
"""Longest key that a dead letter keeps in its smallest form."""

SHORTEST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds between two tries to publish a dead letter that is refused in its smallest form."""


class Pipeline:
    """recall, decode, adopt or submit, poll, publish, commit: every record ends in exactly one outcome."""

    def __init__(
        self,
        recall: Recall,
        decode: Decode,
        adopt: Adopt,
        submit: Submit,
        poll: Poll,
        publish: Publish,
        commit: Commit,
        gate: Gate,
        trials: Trials,
        *,
        attempts: int,
        supersede: bool,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._recall = recall
        self._decode = decode
        self._adopt = adopt
        self._submit = submit
        self._poll = poll
        self._publish = publish
        self._commit = commit
        self._gate = gate
        self._trials = trials
        self._attempts = attempts
        self._supersede = supersede
        self._clock = clock
        self._observer = observer
        self._refused: dict[tuple[object, ...], str] = {}

    @property
    def stuck(self) -> str | None:
        """Why records cannot end, one sentence that names the fix; None: nothing is in their way."""
        sentence = next(iter(self._refused.values()), None)
        more = len(self._refused) - 1
        return f"{sentence} ({more} more like it)" if more > 0 else sentence

    async def run(self, record: Record) -> None:
        """Carry the record to its committed end."""
        started = self._clock.monotonic()
        event = request = known = None
        try:
            known = await self._recall(record)
            if record.value is None:
                self._recall.survived(record)
                self._is_newest(record)
                outcome = self._publish.tombstone(record)
            else:
                event = await self._decode(record, record.value)
                self._recall.survived(record)
                self._is_newest(record)
                request = self._decode.request(event)
                outcome = await self._embed(record, event, request, known)
            outcome = await self._commit(record, outcome)
        except (Rejected, MessageRefused) as error:
            self._recall.survived(record)
            outcome = await self._dead_letter(record, as_rejected(error), event, request)
        if known is not None:  # else an earlier owner's end has decided, which says nothing of what records meet now
            self._trials.ended(record, outcome)
        self._observer.notice(Ended(record, outcome.kind, outcome.reason, self._clock.monotonic() - started))

    def _is_newest(self, record: Record) -> None:
        """Where the setting says so, older vectors of the same key need not be published any more."""
        if self._supersede:
            self._commit.supersede(record)

    async def _embed(self, record: Record, event: TextEvent, request: EmbedRequest, known: Follow | Start) -> Outcome:
        """The vector: one job after the other until one of them brings it, beginning with the one that the ledger knows or that
        the record itself names. Raises Rejected when the attempts are used up."""
        known = self._adopt(record, request, known)
        while True:
            try:
                job = known.job if isinstance(known, Follow) else await self._submit(record, request, known.attempt)
                completed = await self._poll(record, job)
                outcome = self._publish.vector(record, event, request, job, completed)
            except JobLostError as lost:
                if lost.counted and lost.attempt >= self._attempts:
                    raise lost.rejection from None
                known = Start(lost.attempt + lost.counted)
            except Rejected as unusable:
                if unusable.reason is not Reason.INVALID_RESULT:
                    raise
                if await self._gate.is_unusable(unusable.detail, (record.source, record.offset)):
                    raise
                known = Start(unusable.attempts)
            except Superseded:
                return Outcome(OutcomeKind.SUPERSEDED, None)
            else:
                self._gate.usable()
                return outcome

    async def _dead_letter(
        self, record: Record, rejected: Rejected, event: TextEvent | None, request: EmbedRequest | None
    ) -> Outcome:
        """Commit the dead letter; where the broker refuses it, without its value, then in its smallest form."""
        for value, headers in ((True, True), (False, True)):
            outcome = self._publish.dead_letter(record, rejected, event, request, value=value, headers=headers)
            try:
                await self._commit(record, outcome)
            except MessageRefused:
                continue
            return outcome
        return await self._smallest_dead_letter(record, rejected, event, request)

    async def _smallest_dead_letter(
        self, record: Record, rejected: Rejected, event: TextEvent | None, request: EmbedRequest | None
    ) -> Outcome:
        """Nothing of the record but its key. Refused even so, it is the topic's fault: try until somebody has mended it, as to go
        on without would lose the record, and to end the process would only begin the same again."""
        made = self._publish.dead_letter(record, rejected, event, request, value=False, headers=False)
        outcome = replace(made, message=made.message and replace(made.message, key=smallest_key(record)))
        topic = outcome.message.topic if outcome.message else ""
        where, pause = (record.source, record.offset, record.assignment), SHORTEST_PAUSE
        try:
            while True:
                try:
                    await self._commit(record, outcome)
                except MessageRefused as error:
                    self._refused[where] = (
                        f"the topic {topic} refuses even the smallest dead letter of offset {record.offset} of "
                        f"{record.source}: {error}: check its configuration"
                    )
                    self._observer.notice(CommitFailed(self._refused[where]))
                    await self._clock.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                else:
                    return outcome
        finally:
            self._refused.pop(where, None)


def smallest_key(record: Record) -> bytes:
    """The record's key; where it is long or null (a compacted topic takes no null key) the name of the record instead."""
    if record.key is not None and len(record.key) <= KEY_BYTES:
        return record.key
    return f"{record.source}-{record.offset}".encode()


def as_rejected(error: Rejected | MessageRefused) -> Rejected:
    """Why the record becomes a dead letter."""
    if isinstance(error, Rejected):
        return error
    return Rejected(Reason.INVALID_RESULT, f"the output topic refuses the message: {error}", retryable=True)
