"""Replaying a confirmed plan: letters and progress in one transaction after the other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from worker.core.replay_codec import encode
from worker.core.replay_fates import Judge
from worker.core.replay_plan import Fate, Plan
from worker.errors import CommitAborted, CommitError, CommitFenced, MessageRefused, ReplayInterrupted
from worker.model import Message, Position, TopicPartition
from worker.replay.letters import Found, Letters, message_of
from worker.replay.ports import Watch
from worker.replay.progress import Progress

CHUNK_LETTERS: Final = 500
CHUNK_BYTES: Final = 4 * 1_048_576
CHUNK_SCANNED: Final = 50_000
"""Records looked at after which progress is committed although there is little to send."""
_TRIES: Final = 6
_FIRST_PAUSE: Final = 0.5
_STEP: Final = 0.2
"""Seconds between two looks whether to stop, while the rate is waited for."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Time, and whether to stop. `now`: seconds since the epoch; `monotonic`, `sleep`: seconds; `rate`: letters a second."""

    now: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    stop: Callable[[], bool] = lambda: False
    rate: float | None = None


@dataclass(slots=True)
class _Chunk:
    """What the next transaction carries. `offsets`: of the messages' letters."""

    messages: list[Message] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    size: int = 0
    scanned: int = 0

    def add(self, message: Message, offset: int) -> None:
        """One letter more."""
        self.messages.append(message)
        self.offsets.append(offset)
        self.size += len(message.key or b"") + len(message.value or b"")

    def drop(self, indexes: frozenset[int]) -> tuple[int, ...]:
        """Take messages out; the offsets of their letters."""
        dropped = tuple(offset for index, offset in enumerate(self.offsets) if index in indexes)
        self.messages = [message for index, message in enumerate(self.messages) if index not in indexes]
        self.offsets = [offset for offset in self.offsets if offset not in dropped]
        return dropped


class Run:
    """Runs one plan. `plan` is what is committed: it grows with each transaction."""

    def __init__(
        self,
        plan: Plan,
        letters: Letters,
        judge: Judge,
        progress: Progress,
        partitions: Mapping[str, int],
        pulse: Pulse,
        watch: Watch,
    ) -> None:
        self.plan = plan
        self._letters = letters
        self._judge = judge
        self._progress = progress
        self._partitions = partitions
        self._pulse = pulse
        self._watch = watch
        self._began = pulse.monotonic()
        self._sent = 0
        self._most = CHUNK_LETTERS if pulse.rate is None else max(1, min(CHUNK_LETTERS, int(pulse.rate)))

    def until_done(self) -> bool:
        """Replay what is left; whether all of it is done (False: it was told to stop). Raises ReplayInterrupted, StartError."""
        self._watch.phase("replaying", self.plan.letters)
        self._watch.advance(self.plan.sent + self.plan.refused)
        return all(self._partition(source, number) for number, source in enumerate(sorted(self.plan.shares)))

    def _partition(self, source: TopicPartition, number: int) -> bool:
        share, chunk = self.plan.shares[source], _Chunk()
        for found in self._letters.within(source, number, share.position, share.end):
            if self._pulse.stop():
                return False
            self._take(found, chunk)
            if self._is_full(chunk):
                self._commit(source, chunk, found.record.offset + 1)
                self._keep_the_rate()
                chunk = _Chunk()
        if self._pulse.stop():
            return False
        if self.plan.shares[source].position < share.end:
            self._commit(source, chunk, share.end)
            self._keep_the_rate()
        return True

    def _take(self, found: Found, chunk: _Chunk) -> None:
        chunk.scanned += 1
        letter = found.letter
        if letter is None:
            return
        fate, _ = self._judge.judge(letter, self._letters.key(letter), found.order)
        original = self._letters.original(letter) if fate is Fate.SENT else None
        if original is not None:
            terms = self.plan.terms
            partitions = self._partitions.get(terms.target(letter), 0)
            chunk.add(message_of(letter, original, terms, partitions, self._pulse.now()), found.record.offset)

    def _is_full(self, chunk: _Chunk) -> bool:
        return len(chunk.messages) >= self._most or chunk.size >= CHUNK_BYTES or chunk.scanned >= CHUNK_SCANNED

    def _commit(self, source: TopicPartition, chunk: _Chunk, position: int) -> None:
        refused: tuple[int, ...] = ()
        pause, tries = _FIRST_PAUSE, _TRIES
        while True:
            grown = _grown(self.plan, source, position, len(chunk.messages), refused)
            try:
                self._progress.commit(chunk.messages, {source: Position(position, encode(grown, source))})
            except MessageRefused as problem:
                refused += chunk.drop(frozenset(problem.indexes))
            except CommitFenced as problem:
                raise ReplayInterrupted(_taken_over(self.plan.id, problem)) from None
            except CommitAborted as problem:
                tries -= 1
                if not tries or self._pulse.stop():
                    raise ReplayInterrupted(_to_resume(self.plan.id, problem)) from None
                self._pulse.sleep(pause)
                pause *= 2
            except CommitError as problem:
                raise ReplayInterrupted(_to_resume(self.plan.id, problem)) from None
            else:
                break
        self.plan = grown
        self._sent += len(chunk.messages)
        self._watch.advance(len(chunk.messages) + len(refused))

    def _keep_the_rate(self) -> None:
        """Wait until so much may have been sent."""
        if self._pulse.rate is None:
            return
        due = self._began + self._sent / self._pulse.rate
        while (left := due - self._pulse.monotonic()) > 0 and not self._pulse.stop():
            self._pulse.sleep(min(left, _STEP))


def _grown(plan: Plan, source: TopicPartition, position: int, sent: int, refused: tuple[int, ...]) -> Plan:
    share = plan.shares[source]
    share = replace(share, position=position, sent=share.sent + sent, refused=share.refused + refused)
    return replace(plan, shares={**plan.shares, source: share})


def _to_resume(plan_id: str, problem: CommitError) -> str:
    return f"{problem}: what was replayed stands, go on with: embedding-worker replay --resume {plan_id}"


def _taken_over(plan_id: str, problem: CommitError) -> str:
    return (
        f"another process has taken up plan {plan_id}, or a transaction took longer than it may ({problem}): unless another one "
        f"goes on with it, go on with: embedding-worker replay --resume {plan_id}"
    )
