"""The promises about POSTs, checked when one leaves a worker: P2 (never twice what is recorded), P3 (the gap is bounded), P7
(limits)."""

from collections import Counter

from tests.simulation.api import Post
from tests.simulation.book import Book, Ownership
from tests.simulation.scheduler import SimulatedProcess
from tests.simulation.workload import Event
from worker.core.lease import lease_cap
from worker.core.ledger import Mark
from worker.gate.leasehold import Leasehold

ROUNDING = 1e-6
"""Seconds."""


class PostChecks:
    """`leases`: what each process believes in."""

    def __init__(self, book: Book) -> None:
        self.leases: dict[SimulatedProcess, Leasehold] = {}
        self._book = book
        self._cap = lease_cap(book.scenario.session_timeout)
        self._made_under: dict[int, Ownership] = {}
        self._newest_poster: dict[int, Ownership] = {}
        self._causes: dict[int, str] = {}

    def starts(self, post: Post) -> None:
        """A POST leaves a worker: may it?"""
        book = self._book
        event = book.events[post.event]
        owned = book.last_owned(post.process, event.partition)
        if owned is None:
            self._fail("P3", f"{post.process} POSTs {event}, whose partition it has never owned", event)
            return
        if not owned.settled:
            self._fail(
                "P3 takeover", f"{post.process} POSTs {event}, and has committed no ledger of its partition yet", event
            )
        if book.is_finished(event):
            self._fail("P2", f"{post.process} POSTs {event}, which the committed ledger says is finished", event)
        self._check_lease(post, event)
        self._check_owners(owned, event)
        for earlier in book.posts[event.number]:
            if earlier.is_alive(book.now()):
                self._check_repeat(post, earlier, event)
        book.posts[event.number].append(post)
        owned.posted[event.number] = post
        self._made_under[post.number] = owned
        self._check_in_flight(owned, event)

    def _check_lease(self, post: Post, event: Event) -> None:
        asked_at = self._book.last_commit.get(post.process)
        lease = min(self._cap, self.leases[post.process].length)
        if asked_at is None:
            self._fail("P3 lease", f"{post.process} POSTs {event}, and has committed nothing", event)
        elif self._book.now() - asked_at > lease + ROUNDING:
            age = self._book.now() - asked_at
            self._fail(
                "P3 lease",
                f"{post.process} POSTs {event}: its last commit that stands was begun {age:.3f} s ago, its lease is {lease:g} s",
                event,
            )

    def _check_owners(self, owned: Ownership, event: Event) -> None:
        """Rule 5b: when a new owner begins to POST, no older one does any more."""
        newest = self._newest_poster.get(event.partition)
        if newest and newest.number > owned.number:
            self._fail(
                "P3 takeover wait",
                f"{owned.process} POSTs {event}, after {newest.process}, which has taken its partition over at "
                f"{newest.since:.3f}, has begun to POST",
                event,
            )
        self._newest_poster[event.partition] = owned

    def _check_repeat(self, post: Post, earlier: Post, event: Event) -> None:
        """A live job is paid for again: why?"""
        again = f"{post.process} POSTs {event} again: POST {earlier.number} of {earlier.process}"
        owned = self._made_under[earlier.number]
        if self._book.scenario.strict:
            self._fail("P3 strict", f"{again} may be billed", event)
        elif self._is_recorded(earlier, event):
            self._fail("P2", f"{again} is in a committed ledger, and its result lives", event)
        elif earlier.lost:
            self._causes[earlier.number] = "answer lost"
        elif owned.ended is None:
            self._fail(
                "P3", f"{again} is alive, its answer was not lost, and its owner has never lost the partition", event
            )
        elif not self._book.scenario.ample_metadata:
            self._causes[earlier.number] = "the brokers take too little metadata"
        elif self._book.ended_in_order(owned):
            self._fail("P2 graceful", f"{again} was not recorded, though its owner has handed over in order", event)
        else:
            disturbed = "handed over while something was disturbed"
            self._causes[earlier.number] = disturbed if owned.ended == "handed over" else owned.ended

    def paid_again(self) -> Counter[str]:
        """How many live jobs were paid for again, by cause."""
        paid: Counter[str] = Counter()
        for posts in self._book.posts.values():
            billed = [post for post in posts if post.accepted_at is not None and post.fails is None]
            paid.update(self._causes[post.number] for post in billed[:-1] if post.number in self._causes)
        return paid

    def _is_recorded(self, post: Post, event: Event) -> bool:
        """In any ledger that was ever committed. A broker that takes less metadata than a worker believes makes it forget ids."""
        if self._book.scenario.ample_metadata:
            return bool(post.request_id) and post.request_id in self._book.recorded
        mark = self._book.mark(event)
        return bool(post.request_id) and isinstance(mark, Mark) and mark.request_id == post.request_id

    def _check_in_flight(self, owned: Ownership, event: Event) -> None:
        limits, process = self._book.scenario.settings.limits, owned.process
        here = self._in_flight(owned)
        if here > limits.in_flight_per_partition:
            self._fail("P7", f"{process} has {here} events of partition {owned.partition} in flight", event)
        overall = sum(self._in_flight(other) for other in self._book.owned_by(process) if not other.leaving)
        if overall > limits.in_flight:
            self._fail("P7", f"{process} has {overall} events in flight, the limit is {limits.in_flight}", event)

    def _in_flight(self, owned: Ownership) -> int:
        return sum(1 for number in owned.posted if not self._book.is_finished(self._book.events[number]))

    def _fail(self, promise: str, sentence: str, event: Event) -> None:
        self._book.fail(promise, sentence, event.number)
