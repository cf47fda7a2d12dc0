"""A replay's plan and its end, for a person and for a script."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.commands.dead_letters.printable import printable, printable_bytes, when
from worker.core.letter_filter import LetterFilter
from worker.core.replay_plan import FORCIBLE, Fate
from worker.replay import Order, Proposal, Summary

MEANING: Mapping[Fate, str] = {
    Fate.FOREIGN: "their topic is not one of topics.input: name a topic with --to, or set WORKER_TOPICS__INPUT",
    Fate.REPEATED: "the same letter stands there twice: one of them is enough",
    Fate.REPLAYED: "by an earlier plan, or their replay stands on the input already; --force does it again",
    Fate.RESERVED: "see the notes",
    Fate.POINTLESS: "the API, or the decoder, would only refuse them again; --force tries it all the same",
    Fate.LOOPED: "replayed --max-replays times or more and failed again; --force does it once more",
    Fate.SUPERSEDED: "a newer event of their key is on the input, and would be overwritten; --force does it all the same",
    Fate.GONE: "the letter holds no value, and the original is not on its topic any more: cannot be replayed",
}
"""Why letters are left out, and what takes them in."""


def plan_text(proposal: Proposal, order: Order) -> RenderableType:
    """The plan as a person confirms it."""
    plan, fates = proposal.plan, proposal.by_fate
    shown = [fate for fate in Fate if fates.get(fate) or fate is Fate.SENT]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    table.add_column("reason")
    for title in ("selected", *shown):
        table.add_column(str(title), justify="right")
    reasons = sorted({reason for reason, _ in proposal.fates})
    for reason in reasons:
        row = [proposal.fates.get((reason, fate), 0) for fate in shown]
        whole = sum(count for (other, _), count in proposal.fates.items() if other == reason)
        table.add_row(printable(reason), *(f"{count:,}" for count in (whole, *row)))
    if len(reasons) > 1:
        table.add_row("all", *(f"{count:,}" for count in (proposal.selected, *(fates.get(fate, 0) for fate in shown))))
    lines = [f"{fate}: {MEANING[fate]}" for fate in shown if fate in MEANING]
    parts: list[RenderableType] = [Text(f"plan {plan.id}: {_scope(proposal, order)}")]
    if reasons:
        parts += ["", table, ""]
    parts += [Text(line) for line in (*lines, *(f"note: {note}" for note in proposal.notes))]
    if plan.letters:
        parts.append(Text(_price(proposal, order.cost)))
    return Group(*parts)


def plan_document(proposal: Proposal) -> dict[str, Any]:
    """The plan for a script."""
    plan = proposal.plan
    reasons: dict[str, dict[str, int]] = {}
    for (reason, fate), count in sorted(proposal.fates.items()):
        reasons.setdefault(reason, {})[fate.name.lower()] = count
    return {
        "plan": plan.id,
        "scanned": proposal.scanned,
        "not_dead_letters": proposal.strange,
        "selected": proposal.selected,
        "to_replay": plan.letters,
        "fates": {fate.name.lower(): count for fate, count in sorted(proposal.by_fate.items())},
        "reasons": reasons,
        "fetchable": proposal.fetchable,
        "to_pay": proposal.to_pay,
        "estimated_cost_usd": round(proposal.cost, 6),
        "to": plan.terms.to,
        "force": plan.terms.force == FORCIBLE,
        "notes": list(proposal.notes),
    }


def summary_document(summary: Summary) -> dict[str, Any]:
    """The end for a script."""
    return {
        "plan": summary.plan.id,
        "finished": summary.finished,
        "to_replay": summary.plan.letters,
        "replayed": summary.sent,
        "refused": refused_places(summary),
        "lost": summary.lost,
    }


def summary_lines(summary: Summary) -> Sequence[str]:
    """The end for a person."""
    plan = summary.plan
    lines = [f"replayed {summary.sent:,} of {plan.letters:,} dead letters"]
    if summary.refused:
        places = refused_places(summary)
        more = f" and {len(places) - 10} more" if len(places) > 10 else ""
        lines.append(
            f"refused for their size by the topic: {', '.join(places[:10])}{more}: raise its max.message.bytes, then replay them"
        )
    if summary.lost:
        lines.append(f"{summary.lost} offsets of the plan were deleted by retention before their turn")
    return lines


def refused_places(summary: Summary) -> list[str]:
    """Letters that the target did not take, as `dead-letters show` and --offset take them."""
    return [
        f"{source.topic}:{source.partition}:{offset}"
        for source, share in sorted(summary.plan.shares.items())
        for offset in share.refused
    ]


def show(console: Console, text: RenderableType) -> None:
    """To the console; a table that is wider than a pipe's 80 columns is not cut there."""
    if not console.is_terminal:
        console.width = 200
    console.print(text, soft_wrap=not console.is_terminal)


def _scope(proposal: Proposal, order: Order) -> str:
    strange = f", {proposal.strange:,} others" if proposal.strange else ""
    read = f"{proposal.scanned - proposal.strange:,} dead letters{strange} read"
    return f"{read} on {', '.join(order.dead_letters)}, {proposal.selected:,} selected{_selection(proposal)}"


def _selection(proposal: Proposal) -> str:
    chosen: LetterFilter = proposal.plan.terms.filter
    said = {
        "reason": ", ".join(sorted(chosen.reasons)),
        "since": "" if chosen.since is None else when(chosen.since),
        "until": "" if chosen.until is None else when(chosen.until),
        "key": ", ".join(printable_bytes(key, 40) for key in sorted(chosen.keys)[:5]),
        "offset": ", ".join(f"{place.source.partition}:{place.offset}" for place in sorted(chosen.places, key=str)[:5]),
        "match": printable(chosen.match, 60),
    }
    words = [f"{name} {value}" for name, value in said.items() if value]
    return f" ({'; '.join(words)})" if words else ""


def _price(proposal: Proposal, cost: float) -> str:
    plan = proposal.plan
    where = f"to {plan.terms.to}" if plan.terms.to else "to their own topics"
    free = f"{proposal.fetchable:,} can be fetched without paying, " if proposal.fetchable else ""
    return (
        f"{plan.letters:,} to replay {where}: {free}{proposal.to_pay:,} to be paid, about {_usd(proposal.cost)} "
        f"(an estimate, at {_usd(cost)} each)"
    )


def _usd(amount: float) -> str:
    return f"{amount:.2f} USD" if amount >= 1 else f"{amount:.6f}".rstrip("0").rstrip(".") + " USD"
