"""The journey of one record, the verbs in order. One coroutine per record, no queues between the stages."""

from worker.errors import MessageRefused, Rejected
from worker.model import Outcome, Reason, Record, TextEvent
from worker.notices import Ended
from worker.ports import Clock, Observer
from worker.stages.commit import Commit
from worker.stages.decode import Decode
from worker.stages.poll import JobLostError, Poll
from worker.stages.publish import Publish
from worker.stages.submit import Submit


class Pipeline:
    """decode, submit, poll, publish, commit: every record ends in exactly one outcome."""

    def __init__(
        self,
        decode: Decode,
        submit: Submit,
        poll: Poll,
        publish: Publish,
        commit: Commit,
        *,
        attempts: int,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._decode = decode
        self._submit = submit
        self._poll = poll
        self._publish = publish
        self._commit = commit
        self._attempts = attempts
        self._clock = clock
        self._observer = observer

    async def run(self, record: Record) -> None:
        """Carry the record to its committed end."""
        started = self._clock.monotonic()
        event = None
        try:
            if record.value is None:
                outcome = self._publish.tombstone(record)
            else:
                event = await self._decode(record, record.value)
                outcome = await self._embed(record, event)
            await self._commit(record, outcome)
        except (Rejected, MessageRefused) as error:
            outcome = await self._dead_letter(record, as_rejected(error), event)
        self._observer.notice(Ended(record, outcome.kind, outcome.reason, self._clock.monotonic() - started))

    async def _embed(self, record: Record, event: TextEvent) -> Outcome:
        """The vector: one job after the other until one of them brings it. Raises Rejected when the attempts are used up."""
        request = self._decode.request(event)
        attempt = 1
        while True:
            job = await self._submit(record, request, attempt)
            try:
                completed = await self._poll(record, job)
            except JobLostError as lost:
                if lost.counted and job.attempt >= self._attempts:
                    raise lost.rejection from None
                attempt = job.attempt + lost.counted
            else:
                return self._publish.vector(record, event, request, job, completed)

    async def _dead_letter(self, record: Record, rejected: Rejected, event: TextEvent | None) -> Outcome:
        """Commit the dead letter; where the broker refuses it for its size, without its value, then without its headers."""
        text = event.text if event else None
        for value, headers in ((True, True), (False, True)):
            outcome = self._publish.dead_letter(record, rejected, text, value=value, headers=headers)
            try:
                await self._commit(record, outcome)
            except MessageRefused:
                continue
            return outcome
        outcome = self._publish.dead_letter(record, rejected, text, value=False, headers=False)
        await self._commit(record, outcome)
        return outcome


def as_rejected(error: Rejected | MessageRefused) -> Rejected:
    """Why the record becomes a dead letter."""
    if isinstance(error, Rejected):
        return error
    return Rejected(Reason.INVALID_RESULT, f"the output topic refuses the message: {error}", retryable=True)
