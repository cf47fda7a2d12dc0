"""What the group does to a process, as book and trace hear of it."""

from collections.abc import Callable, Collection

from tests.simulation.book import Book
from tests.simulation.scheduler import SimulatedProcess
from worker.model import TopicPartition


class Tenancy:
    """The partitions of one process: how they come and go. `asked_back` is told when some are to go."""

    def __init__(self, process: SimulatedProcess, book: Book, asked_back: Callable[[], None]) -> None:
        self._process = process
        self._book = book
        self._asked_back = asked_back

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions come."""
        for where in partitions:
            self._tell("is assigned", where)
            self._book.assigned(self._process, where.partition)

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are gone, and the process is told."""
        for where in partitions:
            self._tell("hears that it has lost", where)
            self._book.ended(self._process, where.partition, "lost")

    def revoking(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are asked back."""
        for where in partitions:
            self._tell("is asked to give back", where)
            self._book.leaves(self._process, where.partition)
        self._asked_back()

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """The process has given them back."""
        for where in partitions:
            self._tell("gives back", where)
            self._book.ended(self._process, where.partition, "handed over")

    def cut_short(self, partitions: Collection[TopicPartition]) -> None:
        """They are gone while the process is about to give them back."""
        for where in partitions:
            self._tell("has no more time to give back", where)
            self._book.ended(self._process, where.partition, "hand-over cut short")

    def _tell(self, what: str, where: TopicPartition) -> None:
        self._book.trace.add(self._process.name, f"{what} partition {where.partition}", f"partition {where.partition}")
