"""One partition: records, some of them in transactions that are not decided yet."""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from worker.model import Record


class Part:
    """What one transaction has in one partition. `committed` is None until its marker is there."""

    __slots__ = ("committed",)

    def __init__(self) -> None:
        self.committed: bool | None = None


class Log:
    """`records` is what a `read_committed` consumer gets: nothing of aborted transactions, nothing at or above the first record
    of an undecided one. Offsets may have gaps. No operation looks at more than what is new since the last."""

    __slots__ = ("_offsets", "_undecided", "begin", "end", "records")

    def __init__(self) -> None:
        self.begin = 0
        self.end = 0
        self.records: list[Record] = []
        self._offsets: list[int] = []
        self._undecided: deque[tuple[Record, Part | None]] = deque()

    @property
    def stable(self) -> int:
        """The last stable offset: what lies below is decided."""
        return self._undecided[0][0].offset if self._undecided else self.end

    def append(self, record: Record, part: Part | None) -> None:
        """At `end`; `part`: in a transaction."""
        self.end = record.offset + 1
        if part is None and not self._undecided:
            self._show(record)
        else:
            self._undecided.append((record, part))

    def skip(self, count: int = 1) -> None:
        """Offsets that hold no record: a marker, or what compaction has removed."""
        self.end += count

    def decide(self, part: Part, *, committed: bool, marker: bool) -> None:
        """The marker of a transaction."""
        part.committed = committed
        if marker:
            self.skip()
        while self._undecided:
            record, of = self._undecided[0]
            if of is not None and of.committed is None:
                return
            self._undecided.popleft()
            if of is None or of.committed:
                self._show(record)

    def fetch(self, position: int, most: int) -> tuple[Sequence[Record], int]:
        """Records from a position on, and the position after them: past gaps and markers where nothing follows."""
        first = bisect_left(self._offsets, position)
        found = self.records[first : first + most]
        if first + len(found) == len(self.records):
            return found, max(position, self.stable)
        return found, found[-1].offset + 1 if found else position

    def truncate(self, begin: int) -> None:
        """Retention: what lies below an offset is gone."""
        first = bisect_left(self._offsets, begin)
        del self._offsets[:first]
        del self.records[:first]
        while self._undecided and self._undecided[0][0].offset < begin:
            self._undecided.popleft()
        self.begin = max(self.begin, begin)
        self.end = max(self.end, begin)

    def _show(self, record: Record) -> None:
        self.records.append(record)
        self._offsets.append(record.offset)
