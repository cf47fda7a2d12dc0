"""Making a plan: nothing is written here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.core.dead_letters import Letter
from worker.core.replay_codec import encode
from worker.core.replay_fates import Judge
from worker.core.replay_plan import COST_USD, Fate, Plan, Share, Terms, can_be_fetched
from worker.errors import ConfigurationError
from worker.model import TopicPartition
from worker.replay.letters import Found, Letters, Spans, spans_in
from worker.replay.ports import Archive, Watch
from worker.replay.proposal import Proposal, Tally
from worker.replay.survey import asked_about, ranges_to_read, read_input


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. `dead_letters`: the topics to read; `limit`: letters to be replayed at most; `cost`: USD a call."""

    terms: Terms
    dead_letters: tuple[str, ...]
    limit: int | None = None
    cost: float = COST_USD


class Planning:
    """Makes a proposal of an order. `earlier`: plans that exist; `now` in seconds since the epoch."""

    def __init__(self, archive: Archive, earlier: Sequence[Plan], now: Callable[[], float], watch: Watch) -> None:
        self._archive = archive
        self._earlier = earlier
        self._now = now
        self._watch = watch

    def propose(self, order: Order, plan_id: str) -> Proposal:
        """Read everything and decide. Raises ConfigurationError and StartError."""
        terms, archive = order.terms, self._archive
        _check(order)
        partitions = archive.partition_counts([*order.dead_letters, *terms.inputs, *([terms.to] if terms.to else [])])
        letters = Letters(archive, {name: partitions[name] for name in terms.inputs}, self._watch)
        spans = spans_in(archive, order.dead_letters, terms.filter)
        newer = asked_about(letters, spans, terms, self._watch)
        ranges = ranges_to_read(newer, archive, terms, partitions)
        read_input(newer, archive, ranges, self._watch)
        judge = Judge(terms, newer, self._earlier)
        tally, ends = self._judged(judge, letters, spans, ranges, order.limit)
        read = [*order.dead_letters, *{source.topic for source in ranges}]
        plan = Plan(
            id=plan_id,
            created_at=round(self._now(), 3),
            terms=terms,
            letters=tally.sent,
            ranges=ranges,
            topics=archive.fingerprints(read),
            earlier=tuple(sorted({earlier for earlier, _ in tally.had if earlier})),
            shares={
                source: Share(begin, ends[source], end, begin) for source, (begin, end) in spans.items() if begin < end
            },
        )
        return Proposal(
            plan=plan,
            fates=dict(tally.fates),
            fetchable=tally.fetchable,
            cost=(tally.sent - tally.fetchable) * order.cost,
            scanned=tally.scanned,
            strange=tally.strange,
            unsure=tally.unsure,
            notes=_notes(tally),
            judge=judge,
        )

    def _judged(
        self, judge: Judge, letters: Letters, spans: Spans, ranges: Spans, limit: int | None
    ) -> tuple[Tally, dict[TopicPartition, int]]:
        """The figures, and where each partition's part ends: with a limit, behind the last letter that it allows."""
        self._watch.phase("deciding", sum(end - begin for begin, end in spans.values()))
        tally = Tally()
        ends = {source: end for source, (_, end) in spans.items()}
        for found in letters.each(spans):
            tally.scanned += 1
            if found.letter is None:
                tally.strange += 1
                continue
            self._count(tally, judge, letters, found, found.letter, ranges)
            if limit is not None and tally.sent >= limit:
                last = found.record.source
                ends |= {source: begin for source, (begin, _) in spans.items() if source > last}
                ends[last] = found.record.offset + 1
                break
        return tally, ends

    def _count(self, tally: Tally, judge: Judge, letters: Letters, found: Found, letter: Letter, ranges: Spans) -> None:
        key = letters.key(letter)
        fate, had_by = judge.judge(letter, key, found.order)
        if fate is Fate.SENT and letters.original(letter) is None:
            fate = Fate.GONE
        if fate is Fate.UNSELECTED:
            return
        tally.fates[letter.reason, fate] += 1
        if fate in {Fate.REPLAYED, Fate.RESERVED}:
            tally.had[had_by, fate] += 1
        if fate is Fate.SENT:
            tally.fetchable += can_be_fetched(letter, self._now())
            first, _ = ranges.get(letter.source, (0, 0))
            tally.unsure += key is not None and letter.event.offset + 1 < first and letter.event.source == letter.source


def require_room(plan: Plan, limit: int) -> None:
    """Raises ConfigurationError where the brokers do not take the plan as metadata."""
    longest = max((len(encode(plan, source)) for source in plan.shares), default=0)
    if longest + 1 > limit:  # the client adds a zero that counts
        raise ConfigurationError(
            f"the plan takes {longest} characters and the brokers take {limit} with an offset: select with fewer --offset, --key "
            "or a shorter --match, plan one --topic at a time, or raise the brokers' offset.metadata.max.bytes"
        )


def _check(order: Order) -> None:
    terms = order.terms
    if terms.to in order.dead_letters:
        raise ConfigurationError(f"--to {terms.to}: that is a dead-letter topic, from which the letters come")
    both = sorted(set(order.dead_letters) & set(terms.inputs))
    if both:
        raise ConfigurationError(f"--topic {both[0]}: that is an input topic; want one that holds dead letters")


def _notes(tally: Tally) -> tuple[str, ...]:
    notes = []
    for (plan, fate), count in sorted(tally.had.items()):
        if fate is Fate.RESERVED:
            notes.append(
                f"{count} letter{'s' if count != 1 else ''} belong to plan {plan}, which is not finished: go on with it "
                f"(--resume {plan}), or give it up (--abandon {plan})"
            )
        elif plan:
            notes.append(f"{count} letter{'s' if count != 1 else ''} were replayed by plan {plan}")
    if tally.unsure:
        notes.append(
            f"{tally.unsure} of the letters to replay are older than what their input topic still holds: a newer event of their "
            "key may be gone unseen"
        )
    return tuple(notes)
