"""Dead letters back to the input, from Python as from the command line.

    with replay.open_replay(settings) as replays:
        proposal = replays.propose(replay.order_of(settings, replay.LetterFilter(reasons=frozenset({"TIMEOUT"}))))
        summary = replays.run(proposal)

`propose` writes nothing; `run` writes the plan down before it replays the first letter, so that `resume` goes on with it from any
process after a crash.
"""

from worker.core.letter_filter import LetterFilter, Place
from worker.core.replay_plan import FORCIBLE, Fate, Plan, Terms
from worker.errors import ReplayInterrupted
from worker.replay.opening import cost_of_a_call, dead_letter_topics, open_replay, order_of
from worker.replay.planning import Order
from worker.replay.ports import NoWatch, Watch
from worker.replay.proposal import Proposal
from worker.replay.replay import Replay, Summary
from worker.replay.running import Pulse

__all__ = [
    "FORCIBLE",
    "Fate",
    "LetterFilter",
    "NoWatch",
    "Order",
    "Place",
    "Plan",
    "Proposal",
    "Pulse",
    "Replay",
    "ReplayInterrupted",
    "Summary",
    "Terms",
    "Watch",
    "cost_of_a_call",
    "dead_letter_topics",
    "open_replay",
    "order_of",
]
