"""What the consumer's thread tells reaches the event loop in the order in which it happened."""

import asyncio
import threading
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any

from worker.adapters.kafka.bridge import LoopListener
from worker.model import Assignment, Position, Record, TopicPartition

WHERE = TopicPartition("input", 0)


class Owner:
    """A listener that notes which assignment each call means."""

    def __init__(self) -> None:
        self.number = 1
        self.told: list[str] = []

    def assigned(self, assignments: Mapping[TopicPartition, Assignment]) -> None:
        self.number = assignments[WHERE].number
        self.told.append(f"assigned {self.number}")

    def revoked(self, _partitions: Collection[TopicPartition]) -> Coroutine[Any, Any, None]:
        leaving = self.number
        self.told.append(f"revoked {leaving}")
        return self._leave(leaving)

    async def _leave(self, number: int) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.told.append(f"dropped {number}")

    def lost(self, _partitions: Collection[TopicPartition]) -> None:
        self.told.append(f"lost {self.number}")

    def arrived(self, records: Sequence[Record]) -> None:
        self.told.append(f"{len(records)} arrived")


async def test_a_loop_that_is_late_takes_the_old_assignment_back_and_not_the_new_one() -> None:
    owner, errors = Owner(), list[Exception]()
    listener = LoopListener(asyncio.get_running_loop(), owner, errors.append)

    def happens() -> None:
        """In the consumer's thread: the partition goes, nobody lets go of it in time, it comes again."""
        listener.revoked([WHERE]).cancel()
        listener.assigned({WHERE: Assignment(2, Position(0, ""), "cluster", "topic")})

    thread = threading.Thread(target=happens)
    thread.start()
    thread.join()  # the event loop stands still meanwhile
    for _ in range(5):
        await asyncio.sleep(0)
    assert owner.told == ["revoked 1", "assigned 2", "dropped 1"]
    assert not errors
