"""Which offsets of a partition are done: completion out of order, a watermark that never passes an unfinished record."""

from collections.abc import Collection


class OffsetTracker:
    """The offsets of one partition under one assignment.

    Offsets are started in growing order (Kafka delivers them so) and finished in any. Offsets that were never delivered
    (compacted away, transaction markers) count as finished.
    """

    def __init__(self, start: int) -> None:
        self._next = start
        self._unfinished: dict[int, None] = {}  # insertion order is offset order: the first key is the lowest

    @property
    def watermark(self) -> int:
        """The offset to commit: everything below it is finished."""
        return next(iter(self._unfinished), self._next)

    @property
    def next_offset(self) -> int:
        """The lowest offset that has not been started."""
        return self._next

    @property
    def span(self) -> int:
        """How many offsets lie between the watermark and the newest started one, both included."""
        return self._next - self.watermark

    @property
    def unfinished(self) -> Collection[int]:
        """The started, unfinished offsets, lowest first."""
        return self._unfinished.keys()

    def started(self, offset: int) -> None:
        """A record was taken up. Raises ValueError if offsets go backwards: the caller mixed two assignments."""
        if offset < self._next:
            raise ValueError(f"offset {offset} comes after {self._next - 1} was started")
        self._unfinished[offset] = None
        self._next = offset + 1

    def finished(self, offset: int) -> None:
        """A record's outcome stands. Raises KeyError if it was not started or is finished already."""
        del self._unfinished[offset]

    def watermark_after(self, finished: Collection[int]) -> int:
        """What the watermark would be if these were finished too."""
        return next((offset for offset in self._unfinished if offset not in finished), self._next)
