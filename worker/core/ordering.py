"""Outcomes with the same key leave in input order, while their jobs run in any order.

             enter                    ready, earlier ones of its key have left
(arrives) ----------> working ------------------------------------------------> (leaves)
                       ^ |                                                       ^    |
                       | | ready, an earlier one has not left                    |    |
                       | '-------------------------> held -----------------------'    |
                       '--------------------------------------------------------------'
                                its message was refused: it has to become another one
"""

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Released(NamedTuple, Generic[T]):
    """An outcome that may be published now."""

    offset: int
    outcome: T


class KeyOrder(Generic[T]):
    """The order of one partition under one assignment. Holds nothing but records between `enter` and their leaving: as many as
    are in flight. What an earlier owner has finished never enters, and nobody waits for it."""

    def __init__(self) -> None:
        self._queues: dict[bytes, dict[int, None]] = {}  # key to its offsets; insertion order is offset order
        self._keys: dict[int, bytes] = {}
        self._held: dict[int, T] = {}
        self._superseded: set[int] = set()
        self._gone: dict[int, bytes] = {}  # those that have left and are not committed
        self._last = -1

    def __len__(self) -> int:
        """Records with a key that have entered and not left."""
        return len(self._keys)

    @property
    def held(self) -> int:
        """Outcomes that wait for an earlier record of their key."""
        return len(self._held)

    def enter(self, offset: int, key: bytes | None) -> None:
        """A record was taken up; None: it has no key and no order. Raises ValueError if offsets do not grow."""
        if offset <= self._last:
            raise ValueError(f"offset {offset} comes after {self._last} has entered")
        self._last = offset
        if key is not None:
            self._keys[offset] = key
            self._queues.setdefault(key, {})[offset] = None

    def ready(self, offset: int, outcome: T) -> list[Released[T]]:
        """A record has its outcome: what may leave now, in input order. Empty: it is held, until all earlier records of its key
        have left. A held outcome is replaced by a later one of the same record. A record without a key leaves at once."""
        key = self._keys.get(offset)
        if key is None:
            return [Released(offset, outcome)]
        self._held[offset] = outcome
        return list(self._leaving(key))

    def committed(self, offset: int) -> None:
        """The outcome of a record that has left stands: it never comes back."""
        self._gone.pop(offset, None)

    def comes_back(self, offset: int) -> bytes | None:
        """The message of a record that has left was refused: it is in its place again, and the younger ones of its key that have
        not left wait for it. Returns its key; None: it has none, or has not left."""
        key = self._gone.pop(offset, None)
        if key is not None:
            self._keys[offset] = key
            self._queues[key] = dict.fromkeys(sorted((offset, *self._queues.get(key, ()))))
        return key

    def supersede(self, offset: int) -> tuple[int, ...]:
        """This record holds a usable text, or is a tombstone: the earlier ones of its key that have not left, and were not named
        before, are superseded and returned, oldest first. The caller makes each of them `ready` with an outcome that publishes
        nothing, whether it is held or not; until then it keeps its place."""
        key = self._keys.get(offset)
        if key is None:
            return ()
        older = tuple(other for other in self._queues[key] if other < offset and other not in self._superseded)
        self._superseded.update(older)
        return older

    def held_outcome(self, offset: int) -> T | None:
        """The outcome of a record that is held; None: it is not."""
        return self._held.get(offset)

    def is_superseded(self, offset: int) -> bool:
        """Whether a newer one of its key has come: to be asked right before the submit and before an outcome is made."""
        return offset in self._superseded

    def _leaving(self, key: bytes) -> Iterator[Released[T]]:
        queue = self._queues[key]
        for offset in [*queue]:
            if offset not in self._held:
                return
            self._gone[offset] = key
            del queue[offset], self._keys[offset]
            self._superseded.discard(offset)
            yield Released(offset, self._held.pop(offset))
        del self._queues[key]
