"""The promises about commits, checked when one is decided: P1 (one outcome each), P2 (nothing is forgotten), P3 (what is known is
written down), P4 (order), P7 (limits)."""

from collections import Counter

from tests.simulation.book import Book, Committed, Visible
from tests.simulation.scheduler import SimulatedProcess
from tests.simulation.workload import Event
from worker.core.batching import message_bytes
from worker.core.ledger import BLANK, Finished, Ledger, Mark
from worker.model import Batch, Position

ROUNDING = 1e-6
"""Seconds."""


class CommitChecks:
    """To be told of every commit that stands, and of refused ledgers."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._refused: Counter[SimulatedProcess] = Counter()
        self._last_of_key: dict[tuple[int, bytes], int] = {}

    def asked(self, process: SimulatedProcess, batch: Batch) -> None:
        """A worker asks for a commit: is it as small as it has to be, and is it any use?"""
        size, limit = sum(map(message_bytes, batch.messages)), self._book.scenario.batch_bytes
        if size > limit and len(batch.messages) > 1:
            self._book.fail("P7", f"{process} asks for a batch of {size} bytes, the limit is {limit}")
        if not batch.positions:
            self._book.fail("port", f"{process} asks for a commit without positions")

    def metadata_refused(self, process: SimulatedProcess) -> None:
        """The broker has refused a ledger of this process for its size: once for each time that the budget has to be halved."""
        self._refused[process] += 1
        times = self._refused[process]
        scenario = self._book.scenario
        if scenario.ample_metadata or times > (4096 // scenario.metadata_limit).bit_length() - 1:
            self._book.fail("P7", f"the broker has refused a ledger of {process} for its size, for the {times}. time")

    def stands(self, commit: Committed) -> None:
        """A commit stands from now on."""
        book, process = self._book, commit.process
        book.commits += 1
        who = process.name if process else "the group's start"
        for outcome in commit.outcomes:
            self._published(outcome, who)
        for partition, position in commit.positions.items():
            self._check_ledger(partition, position, commit.ledgers[partition], who)
        if process is None:
            return
        for partition in commit.positions:
            owned = book.last_owned(process, partition)
            if owned and owned.since <= commit.asked_at:
                owned.settled = True
        self._check_learned(commit, process)
        book.last_commit[process] = max(commit.asked_at, book.last_commit.get(process, 0.0))

    def _published(self, outcome: Visible, who: str) -> None:
        book, event = self._book, self._book.events[outcome.event]
        book.outcomes[event.number].append(outcome)
        reason = f" ({outcome.reason})" if outcome.reason else ""
        book.trace.add(who, f"publishes the {outcome.kind}{reason} of {event}", event.number)
        if not book.scenario.exactly_once:
            return
        if len(book.outcomes[event.number]) > 1:
            book.fail("P1 once", f"{event} has two visible outcomes, the second one by {who}", event.number)
        self._check_order(event)

    def _check_order(self, event: Event) -> None:
        """Over all topics: a dead letter has its place in the order of its key too."""
        book = self._book
        if book.scenario.settings.guarantees.ordering != "key" or event.key is None:
            return
        where = (event.partition, event.key)
        offset, last = book.offsets[event.number], self._last_of_key.get(where, -1)
        if offset < last:
            newer = book.placed[event.partition][last]
            book.fail("P4", f"{event} is published after the newer {newer}", event.number, newer.number)
        self._last_of_key[where] = max(last, offset)

    def _check_ledger(self, partition: int, position: Position, ledger: Ledger | object, who: str) -> None:
        book, about = self._book, f"partition {partition}"
        if len(position.metadata) >= book.scenario.metadata_limit:
            book.fail("P7", f"{who} commits {len(position.metadata)} characters of metadata", about)
        if not isinstance(ledger, Ledger):
            book.fail("P1", f"{who} commits what is no ledger for partition {partition}: {ledger}", about)
            return
        if len(ledger.entries) > book.scenario.settings.limits.in_flight_per_partition:
            book.fail("P7", f"{who} has {len(ledger.entries)} events in the ledger of partition {partition}", about)
        before = book.ledgers.get(partition)
        book.ledgers[partition] = ledger
        book.recorded.update(entry.mark.request_id for entry in ledger.entries if entry.mark.request_id)
        for offset, event in book.placed[partition].items():
            if offset < ledger.end:
                mark = ledger.recall(offset)
                self._check_mark(event, before.recall(offset) if before else BLANK, mark, who)
                if ledger.clean and isinstance(mark, Mark) and mark.intent:
                    self._check_intent(event, who)

    def _check_mark(self, event: Event, stood: Mark | Finished, mark: Mark | Finished, who: str) -> None:
        book = self._book
        if isinstance(mark, Finished):
            if not book.outcomes[event.number] and not book.may_be_missing(event):
                book.fail("P1 no loss", f"{who} commits that {event} is finished: it has no outcome", event.number)
        elif isinstance(stood, Finished):
            book.fail("P1 once", f"{who} commits that {event} is not finished: it was", event.number)
        elif stood.request_id and not mark.request_id and book.scenario.ample_metadata:
            book.fail("P2", f"{who} commits a ledger that forgets the request_id of {event}", event.number)

    def _check_intent(self, event: Event, who: str) -> None:
        """Rule 7: what is handed over in order keeps an intent only where a POST's fate is unknown, or where it was found."""
        if event.number in self._book.found_intents[event.partition]:
            return
        if not any(post.is_of_unknown_fate for post in self._book.posts[event.number]):
            sentence = f"{who} hands {event} over with an intent, and knows of all its POSTs what became of them"
            self._book.fail("rule 7", sentence, event.number)

    def _check_learned(self, commit: Committed, process: SimulatedProcess) -> None:
        """P3: what a worker had learned before it asked for a commit is in that commit."""
        book = self._book
        if not book.scenario.ample_metadata:
            return
        for owned in book.owned_by(process):
            for number, post in owned.posted.items():
                if post.learned_at is None or post.learned_at >= commit.asked_at - ROUNDING:
                    continue
                mark = book.mark(book.events[number])
                if isinstance(mark, Mark) and mark.request_id != post.request_id:
                    learned = f"{process} has learned the request_id of {book.events[number]} at {post.learned_at:.3f}"
                    left_out = f"leaves it out of the commit that it asked for at {commit.asked_at:.3f}"
                    book.fail("P3", f"{learned} and {left_out}", number)
