"""A run's result for people: what was injected, what it cost, and what is needed to look into a violation."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from tests.chaos.money import Incident, Repeat
from tests.chaos.run import Result
from tests.chaos.schedule import Kind, Plan
from tests.chaos.stalls import Stall, stall
from tests.integration.events import sha256

_SHOWN = 5
_STUCK = 45.0
"""Seconds that a partition may stand still: the session timeout and the takeover wait; the group's rebalances under further
faults; a dead predecessor's open transaction, which blocks reading its ledger for up to 20 s."""


def violations(result: Result, *, unclean: bool) -> list[str]:
    """One sentence for each promise that was broken; `unclean`: whether repeated bills can be excused at all."""
    outcomes, account = result.outcomes, result.account
    found = [
        f"{len(places)} {what}: {', '.join(f'{place.partition}@{place.offset}' for place in places[:_SHOWN])}"
        for what, places in (("lost", outcomes.lost), ("duplicates", outcomes.duplicates))
        if places
    ]
    for what, sentences in (("out of order", outcomes.out_of_order), ("wrong outcomes", outcomes.wrong)):
        if sentences:
            found.append(f"{len(sentences)} {what}: {'; '.join(sentences[:_SHOWN])}")
    if account.unowed:
        found.append(f"{len(account.unowed)} repeated bills that no fault excuses")
    if not unclean and result.repeated:
        found.append(f"{result.repeated} repeated bills without a fault")
    if result.repeated != account.repeated:
        found.append(f"{result.repeated} repeated bills by the emulator's count, {account.repeated} by its POSTs")
    if account.repeated > account.bound:
        found.append(f"{account.repeated} repeated bills, above the bound of {account.bound}")
    if result.unpaid:
        found.append(f"{result.unpaid} vectors that were never paid: the emulator's books are wrong")
    still = (one for one in _stalled(result, result.incidents) if one.seconds > _STUCK)
    found += [f"a partition stood still: {_told(result, one)}" for one in still]
    if result.left:
        found.append(f"{result.left} records were not committed at the end")
    return found + list(result.unexpected)


def lines(result: Result, *, unclean: bool) -> Iterator[str]:
    """The whole report of one run."""
    outcomes, account = result.outcomes, result.account
    yield f"{result.name}: {len(result.placed)} events, {len(result.posts)} accepted POSTs, {result.seconds:.0f} s"
    yield "  outcomes: " + ", ".join(f"{kind} {count}" for kind, count in sorted(outcomes.kinds.items()))
    yield (
        f"  lost {len(outcomes.lost)}, duplicates {len(outcomes.duplicates)}, out of order {len(outcomes.out_of_order)}, "
        f"wrong {len(outcomes.wrong)}"
    )
    yield f"  {'injected':<18}{'count':>6}{'repeated bills':>16}{'at most':>9}{'largest':>9}{'stalled, mean':>15}{'worst':>8}"
    for kind, same in _by_kind(result.incidents):
        costs = f"{'-':>16}{0:>9}{'-':>9}"
        if any(one in account.exposed for one in same):
            repeated = [account.by_incident[one] for one in same]
            costs = f"{sum(repeated):>16}{sum(account.exposed.get(one, 0) for one in same):>9}{max(repeated):>9}"
        stalled = [found.seconds for found in _stalled(result, same)]
        times = f"{fmean(stalled):>13.1f} s{max(stalled):>6.1f} s" if stalled else f"{'-':>15}{'-':>8}"
        yield f"  {kind:<18}{len(same):>6}{costs}{times}"
    yield f"  {'answers lost':<18}{account.answers_lost:>6}{account.lost_repeated:>16}{account.answers_lost:>9}"
    yield f"  repeated bills: {result.repeated}, bound {account.bound}, not owed to any fault: {len(account.unowed)}"
    if account.ages:
        yield f"  the oldest repeated POST was accepted {max(account.ages):.2f} s before its fault"
    if worst := max(_stalled(result, result.incidents), key=lambda found: found.seconds, default=None):
        yield f"  the longest stall: {_told(result, worst)}"
    if result.idle:
        yield f"  {result.idle} victims had nothing in flight"
    broken = violations(result, unclean=unclean)
    for sentence in broken:
        yield f"  VIOLATION: {sentence}"
    if broken:
        yield from (f"    {line}" for repeat in account.unowed[:_SHOWN] for line in _history(result, repeat))
        yield f"  logs of all processes (workers at level debug): {result.logs}"


def json_object(result: Result, plan: Plan, *, unclean: bool) -> dict[str, Any]:
    """The figures, as `--json` prints them."""
    outcomes, account = result.outcomes, result.account
    return {
        "run": result.name,
        "seed": plan.seed,
        "events": len(result.placed),
        "seconds": round(result.seconds, 1),
        "lost": len(outcomes.lost),
        "duplicates": len(outcomes.duplicates),
        "out_of_order": len(outcomes.out_of_order),
        "wrong": len(outcomes.wrong),
        "outcomes": dict(outcomes.kinds),
        "injected": {str(kind): len(same) for kind, same in _by_kind(result.incidents)},
        "repeated_bills": result.repeated,
        "repeated_by_kind": {
            str(kind): sum(account.by_incident[one] for one in same)
            for kind, same in _by_kind(result.incidents)
            if any(one in account.exposed for one in same)
        },
        "repeated_by_lost_answers": account.lost_repeated,
        "unowed_bills": len(account.unowed),
        "bound": account.bound,
        "stalled_seconds": {
            str(kind): [round(found.seconds, 2) for found in _stalled(result, same)]
            for kind, same in _by_kind(result.incidents)
        },
        "violations": violations(result, unclean=unclean),
    }


def _by_kind(incidents: Sequence[Incident]) -> list[tuple[Kind, list[Incident]]]:
    by_kind: defaultdict[Kind, list[Incident]] = defaultdict(list)
    for one in incidents:
        by_kind[one.kind].append(one)
    return [(kind, by_kind[kind]) for kind in Kind if kind in by_kind]


def _stalled(result: Result, incidents: Sequence[Incident]) -> list[Stall]:
    """The longest stall of each incident that had any."""
    partitions = {sha256(event.text): place.partition for place, event in result.placed.items() if event.text}
    stalls = [stall(one, result.posts, partitions) for one in incidents]
    return [found for found in stalls if found is not None]


def _history(result: Result, repeat: Repeat) -> Iterator[str]:
    """Where the record stands, who paid for it when, and what was done around that time."""
    first = min(post.at for post in result.posts)
    places = [
        f"{place.partition}@{place.offset}"
        for place, event in result.placed.items()
        if event.text and sha256(event.text) == repeat.first.text
    ]
    posts = [post for post in result.posts if post.text == repeat.first.text]
    told = ", ".join(
        f"worker {post.worker} at {post.at - first:.2f} s{' (answer lost)' if post.answer_lost else ''}"
        for post in posts
    )
    yield f"input {', '.join(places)}: paid by {told}"
    for one in result.incidents:
        if one.began < repeat.second.at and one.ended > repeat.first.at - 10:
            yield f"  {one.kind}{_whom(one)} from {one.began - first:.2f} s to {one.ended - first:.2f} s"


def _told(result: Result, found: Stall) -> str:
    since = found.incident.began - min(post.at for post in result.posts)
    what = f"{found.incident.kind}{_whom(found.incident)}"
    return f"partition {found.partition} had no POST for {found.seconds:.1f} s from {since:.0f} s on ({what})"


def _whom(one: Incident) -> str:
    return f" of worker {one.worker}" if one.worker >= 0 else ""
