"""Which offsets of a partition are done, across takeovers: a watermark that never passes an unfinished record, and the runs of
finished offsets above it, which Kafka will deliver again to the next owner."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

WIDEST_SPAN = 2**28
"""Offsets: how far above the watermark a record may be taken up. Four bytes then hold every run of a ledger. Reached only
across enormous compacted gaps, where records are taken up in smaller companies, in the end one at a time."""


class Run(NamedTuple):
    """Offsets from `start` up to, not including, `stop`."""

    start: int
    stop: int


class OffsetRuns:
    """The offsets of one partition under one assignment.

    Offsets are delivered in growing order and finished in any. Offsets that were never delivered (compacted away, transaction
    markers) count as finished.
    """

    def __init__(self, start: int, unfinished: Iterable[int] = (), end: int | None = None) -> None:
        """`start`: the committed offset. `unfinished` and `end` come from its ledger: what lies from `start` up to `end` is
        finished, except these, in growing order; all of it will be delivered again."""
        self._unfinished = dict.fromkeys(unfinished)  # insertion order is offset order: the first key is the lowest
        self._next = start if end is None else max(start, end)
        self._position = start

    @property
    def watermark(self) -> int:
        """The offset to commit: everything below it is finished."""
        return next(iter(self._unfinished), self._next)

    @property
    def next_offset(self) -> int:
        """The lowest offset above all that were ever started, by this owner or an earlier one."""
        return self._next

    @property
    def span(self) -> int:
        """How many offsets lie between the watermark and the newest started one, both included."""
        return self._next - self.watermark

    @property
    def unfinished(self) -> Collection[int]:
        """The started, unfinished offsets, lowest first; those that an earlier owner started included."""
        return self._unfinished.keys()

    @property
    def awaited(self) -> int:
        """How many of the unfinished ones have not been delivered again yet."""
        return sum(offset >= self._position for offset in self._unfinished) if self._position < self._next else 0

    def is_finished(self, offset: int) -> bool:
        """Whether this offset is done, or holds no record."""
        return offset < self._next and offset not in self._unfinished

    def admits(self, offset: int, limit: int) -> bool:
        """Whether this record may be taken up when at most `limit` may be started and unfinished. What an earlier owner had
        started is counted already and always admitted."""
        if offset < self._next:
            return True
        return len(self._unfinished) < limit and (not self._unfinished or offset - self.watermark < WIDEST_SPAN)

    def started(self, offset: int) -> tuple[int, ...]:
        """A record was taken up. Returns the unfinished offsets that turn out to be gone, see `passed`.

        Raises ValueError if offsets go backwards (the caller mixed two assignments) or the record is finished already (the caller
        did not ask the ledger).
        """
        if offset < self._position:
            raise ValueError(f"offset {offset} comes after {self._position - 1} was delivered")
        if self.is_finished(offset):
            raise ValueError(f"offset {offset} is finished and was started again")
        gone = self.passed(offset)
        self._unfinished[offset] = None
        self._next = max(self._next, offset + 1)
        self._position = offset + 1
        return gone

    def passed(self, position: int) -> tuple[int, ...]:
        """The next record to be taken up has at least this offset: no fetched record below it may still wait its turn, or it
        would be lost. An unfinished one below it that an earlier owner had started and that did not come again exists no more
        (compaction removed it): it is finished from now on, and returned."""
        gone: tuple[int, ...] = ()
        if self._position < self._next:
            gone = tuple(offset for offset in self._unfinished if self._position <= offset < position)
            for offset in gone:
                del self._unfinished[offset]
        self._position = max(self._position, position)
        return gone

    def finished(self, offset: int) -> None:
        """A record's outcome stands. Raises KeyError if it was not started under this assignment or is finished already."""
        if offset >= self._position:
            raise KeyError(offset)
        del self._unfinished[offset]

    def watermark_after(self, finished: Collection[int]) -> int:
        """What the watermark would be if these were finished too."""
        return next((offset for offset in self._unfinished if offset not in finished), self._next)

    def runs_after(self, finished: Collection[int]) -> tuple[Run, ...]:
        """The finished runs above that watermark, if these were finished too."""
        bounds = [offset for offset in self._unfinished if offset not in finished]
        stops = [*bounds[1:], self._next] if bounds else []
        return tuple(Run(offset + 1, stop) for offset, stop in zip(bounds, stops, strict=True) if offset + 1 < stop)
