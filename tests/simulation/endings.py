"""The promises that only the end of a run can show: every event has its one right outcome."""

from collections.abc import Mapping

from tests.simulation.api import RESULT_LIVES
from tests.simulation.book import Book, Visible
from tests.simulation.workload import ENDING, POSTED, Event
from worker.model import OutcomeKind, Reason

ATTEMPTS = 3
"""`api.attempts` by default."""

SUSPICIOUS = 4
"""Takeovers without a hand-over after which a record may be taken for what makes the worker crash: three make a suspect, the
fourth condemns it."""


def check_endings(book: Book, read: Mapping[int, int]) -> None:
    """The run is over: `read` is how often a `read_committed` consumer finds each event."""
    for event in book.events.values():
        found = read.get(event.number, 0)
        if not found and not book.may_be_missing(event):
            book.fail("P1 no loss", f"{event} has no outcome", event.number)
        if found > 1 and book.scenario.exactly_once:
            book.fail("P1 once", f"{event} has {found} outcomes", event.number)
        for outcome in book.outcomes[event.number]:
            wrong = _wrong_with(book, event, outcome)
            if wrong:
                reason = outcome.reason or ""
                book.fail("right outcome", f"{event} has ended as {outcome.kind} {reason}: {wrong}", event.number)


def _wrong_with(book: Book, event: Event, outcome: Visible) -> str | None:
    """What is wrong with this ending, given what has happened to the event's POSTs; None: nothing."""
    posts = book.posts[event.number]
    if (outcome.kind, outcome.reason) == ENDING[event.nature]:
        its_own = any(post.request_id == outcome.request_id and post.fails is None for post in posts)
        return "its vector is not that of a job of its own" if outcome.request_id and not its_own else None
    if outcome.kind is not OutcomeKind.DEAD_LETTER:
        return "it should be a dead letter"
    here = [owned for owned in book.ownerships if owned.partition == event.partition]
    abrupt = sum(not book.ended_in_order(owned) for owned in here)
    if outcome.reason is Reason.INVALID_EVENT and abrupt >= SUSPICIOUS:
        return None
    if event.nature not in POSTED:
        return f"it should be {ENDING[event.nature]}"
    lost = sum(post.lost for post in posts)
    failed = sum(post.lost or post.fails is not None for post in posts)
    lived = posts[-1].started_at - posts[0].started_at if posts else 0.0
    explained = {
        Reason.UNKNOWN_SUBMIT: book.scenario.strict and (abrupt or lost),
        Reason.API_ERROR: failed >= ATTEMPTS,
        Reason.INFERENCE_FAILED: failed >= ATTEMPTS,
        Reason.EXPIRED: len(posts) >= ATTEMPTS and lived >= RESULT_LIVES,
    }
    return None if outcome.reason and explained.get(outcome.reason) else "nothing has happened that explains it"
