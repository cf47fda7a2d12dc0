"""`run --until-end`: when is everything below the given offsets finished, by this worker or by others of its group?"""

from collections.abc import Mapping, Sequence

from worker.assembly import Assembly, Ports
from worker.errors import CommitAborted
from worker.model import TopicPartition

LOOK = 0.2
"""Seconds between two looks whether the end is reached."""

LOOK_AT_GROUP = 2.0
"""Seconds between two such looks while others have something left to do: each asks the brokers."""


class UntilEnd:
    """Looks again and again. `deadline`: seconds that a job may take."""

    def __init__(self, parts: Assembly, ports: Ports, deadline: float) -> None:
        self._consume = parts.consume
        self._gate = parts.gate
        self._trials = parts.trials
        self._source = ports.source
        self._clock = ports.clock
        self._deadline = deadline

    async def reached(self, until: Mapping[TopicPartition, int]) -> bool:
        """True when all below the offsets `until` is finished, by this worker or by others of its group. False when something
        is left, dead letters are over budget and a record that was tried became one too: at a record in minutes the end would
        be days away.

        What this worker owns is finished when it has been read and nothing is in work. Of the rest only the committed offset is
        known, which stays below an end that consists of transaction markers: where it has not moved for longer than a job may
        take (`api.deadline`, and a minute for its partition to change hands), nothing is left there, or nobody can do it.
        """
        clock, patience = self._clock, self._deadline + 60.0
        known: Mapping[TopicPartition, int] = {}
        moved, pause = clock.monotonic(), LOOK
        while True:
            await clock.sleep(pause)
            others, pause = await self._not_owned(until), LOOK
            if others is None or self._gate.halted:
                moved = clock.monotonic()
            if others is None:
                if self._trials.last_words:
                    return False
                continue
            found = {**known, **await self._source.committed(others)} if others else known
            if all(found.get(where, -1) >= until[where] for where in others):
                return True
            if found != known:
                known, moved = found, clock.monotonic()
            if clock.monotonic() - moved > patience:
                return True
            pause = LOOK_AT_GROUP

    async def _not_owned(self, until: Mapping[TopicPartition, int]) -> Sequence[TopicPartition] | None:
        """Those that this worker does not own and that held anything; None while something is left in those that it owns."""
        try:
            positions = await self._source.positions()
        except CommitAborted:
            return None  # it is out of the group, and joins again
        if not self._consume.idle or any(positions[where] < until.get(where, 0) for where in positions):
            return None
        return [where for where, end in until.items() if end > 0 and where not in positions]
