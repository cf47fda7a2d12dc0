"""Of which events a newer one has come under the same key, and which have been replayed already: what the input topics say.

Memory grows with the letters that are asked about, never with what is read: digests of 16 bytes and a number each.
"""

from hashlib import blake2b
from typing import Final

from worker.core.dead_letters import Event, Letter, event_of, replays_of
from worker.model import Record, TopicPartition

_DIGEST: Final = 16
_NO_LETTER: Final = -(2**127)
"""Below the order of every letter, negated."""


class NewerEvents:
    """First `want` every letter (with the key of its event), then `see` what stands on the input, then ask.

    The order of events is that in which they came in first: a record that is a replay counts as the event it repeats, so that
    it never makes a letter of its own event, or of a newer one, look superseded.
    """

    def __init__(self) -> None:
        self._newest: dict[bytes, int] = {}
        self._events: dict[bytes, tuple[int, int]] = {}
        self._starts: dict[TopicPartition, int] = {}

    def __len__(self) -> int:
        """How many events are asked about."""
        return len(self._events)

    @property
    def starts(self) -> dict[TopicPartition, int]:
        """From where each input partition has to be read."""
        return dict(self._starts)

    def want(self, letter: Letter, key: bytes | None, order: int) -> None:
        """Ask about a letter, the `order`th of those that are read."""
        event, mine = _digest(str(letter.event).encode()), (letter.replays, -order)
        self._events[event] = max(self._events.get(event, mine), mine)
        start = _age(letter) + 1
        self._starts[letter.source] = min(self._starts.get(letter.source, start), start)
        if key is not None:
            self._newest.setdefault(_key_digest(letter.source, key), -1)

    def heed(self, letter: Letter) -> None:
        """A letter that is not asked about shows all the same that its event has been replayed."""
        self._replayed(letter.event, letter.replays)

    def see(self, record: Record) -> None:
        """Take one input record."""
        event = event_of(record)
        if event.offset != record.offset or event.source != record.source:
            self._replayed(event, replays_of(record.headers))
        if record.key is None:
            return
        digest = _key_digest(record.source, record.key)
        newest = self._newest.get(digest)
        if newest is not None:
            self._newest[digest] = max(newest, event.offset if event.source == record.source else record.offset)

    def superseded(self, letter: Letter, key: bytes | None) -> bool:
        """Whether a newer event of the key stands on the letter's input partition. Without a key nothing is newer."""
        return key is not None and self._newest.get(_key_digest(letter.source, key), -1) > _age(letter)

    def replayed(self, letter: Letter) -> bool:
        """Whether the event has been replayed since the letter was written."""
        return self._of(letter)[0] > letter.replays

    def repeated(self, letter: Letter, order: int) -> bool:
        """Whether an earlier letter says the very same (at-least-once delivery writes some twice)."""
        replays, first = self._of(letter)
        return replays == letter.replays and -first < order

    def _of(self, letter: Letter) -> tuple[int, int]:
        return self._events.get(_digest(str(letter.event).encode()), (-1, 0))

    def _replayed(self, event: Event, replays: int) -> None:
        digest = _digest(str(event).encode())
        known = self._events.get(digest)
        if known is not None and replays > known[0]:
            self._events[digest] = (replays, _NO_LETTER)


def _age(letter: Letter) -> int:
    """The place of the letter's event in the order of its input partition."""
    return letter.event.offset if letter.event.source == letter.source else letter.offset


def _key_digest(source: TopicPartition, key: bytes) -> bytes:
    return _digest(b"%b:%d:%b" % (source.topic.encode(), source.partition, key))


def _digest(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=_DIGEST).digest()
