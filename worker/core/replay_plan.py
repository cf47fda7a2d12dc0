"""A replay's plan, and what becomes of a dead letter under it.

A plan is frozen when it is confirmed: which letters it replays follows from the letters, the plan and the input records below its
ends alone, so that a replay that was interrupted decides anew just as before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from worker.core.dead_letters import Letter
from worker.core.letter_filter import LetterFilter
from worker.model import Reason, TopicPartition

MAX_REPLAYS: Final = 3
"""How often an event is replayed before only `--force` does it again."""

COST_USD: Final = 0.000033
"""USD a call, as the vendor has measured it for this model: an estimate."""

RESULT_SECONDS: Final = 55 * 60.0
"""A result lives for an hour after the submit; five minutes are left to the worker that fetches it."""

_RETRIEVABLE: Final = frozenset({Reason.TIMEOUT, Reason.INVALID_RESULT})


class Fate(StrEnum):
    """What becomes of a letter."""

    UNSELECTED = "not selected"
    FOREIGN = "from another topic"
    REPEATED = "written twice"
    REPLAYED = "replayed already"
    RESERVED = "in an unfinished plan"
    POINTLESS = "pointless"
    LOOPED = "replayed too often"
    SUPERSEDED = "superseded"
    GONE = "value gone"
    REFUSED = "refused by the topic"
    SENT = "to replay"


FORCIBLE: Final = frozenset({Fate.POINTLESS, Fate.LOOPED, Fate.SUPERSEDED, Fate.REPLAYED, Fate.RESERVED})
"""What can be replayed all the same, if that is asked for."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is to be replayed, and how. `to`: the topic that takes the letters (None: each its own). `force`: fates of which the
    letters are replayed all the same, a part of FORCIBLE. `inputs`: topics that letters may come from."""

    inputs: tuple[str, ...]
    filter: LetterFilter = field(default_factory=LetterFilter)
    to: str | None = None
    force: frozenset[Fate] = frozenset()
    max_replays: int = MAX_REPLAYS

    def target(self, letter: Letter) -> str:
        """The topic that takes the letter."""
        return self.to or letter.source.topic

    def by_itself(self, letter: Letter) -> Fate:
        """What the letter alone tells; SENT where nothing speaks against it."""
        if not self.filter.takes(letter):
            return Fate.UNSELECTED
        if self.to is None and letter.source.topic not in self.inputs:
            # the letter names its topic itself: it must not make a replay write just anywhere
            return Fate.FOREIGN
        if letter.is_final and Fate.POINTLESS not in self.force:
            return Fate.POINTLESS
        if letter.replays >= self.max_replays and Fate.LOOPED not in self.force:
            return Fate.LOOPED
        return Fate.SENT


@dataclass(frozen=True, slots=True)
class Share:
    """A plan's part of one dead-letter partition, as offsets. It looks at `begin` up to `horizon`, and replays below `end`, which
    a limit may have put lower; what is below `position` is done. `sent`: how many letters were; `refused`: letters that the
    target topic does not take."""

    begin: int
    end: int
    horizon: int
    position: int
    sent: int = 0
    refused: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A confirmed replay. `id`: eight hex digits. `created_at`: seconds since the epoch. `letters`: how many it replays.
    `ranges`: the input records that it goes by, first offset and end. `topics`: fingerprints of the topics that it reads, which
    differ once one is made anew. `earlier`: plans that had letters of it already."""

    id: str
    created_at: float
    terms: Terms
    letters: int
    ranges: Mapping[TopicPartition, tuple[int, int]]
    topics: Mapping[str, str]
    earlier: tuple[str, ...]
    shares: Mapping[TopicPartition, Share]
    abandoned: bool = False

    @property
    def sent(self) -> int:
        """Letters replayed until now."""
        return sum(share.sent for share in self.shares.values())

    @property
    def refused(self) -> int:
        """Letters that the target topic has refused until now."""
        return sum(len(share.refused) for share in self.shares.values())

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return all(share.position >= share.end for share in self.shares.values())

    def had(self, letter: Letter, terms: Terms) -> Fate | None:
        """REPLAYED or RESERVED where this earlier plan took the letter to the same topic as `terms` would, else None.

        A letter that this plan left out as superseded or gone counts too: it would be left out again.
        """
        share = self.shares.get(letter.record.source)
        offset = letter.record.offset
        if share is None or not share.begin <= offset < share.end or offset in share.refused:
            return None
        if self.terms.by_itself(letter) is not Fate.SENT or self.terms.target(letter) != terms.target(letter):
            return None
        if offset < share.position:
            return Fate.REPLAYED
        return None if self.abandoned else Fate.RESERVED


def can_be_fetched(letter: Letter, now: float) -> bool:
    """Whether the job that the letter names is worth polling instead of paying for another: it may have ended well, and what is
    needed to trust it is there. `now` in seconds since the epoch."""
    return (
        letter.reason in _RETRIEVABLE
        and letter.retryable is not False
        and letter.request_id is not None
        and letter.text_sha256 is not None
        and letter.job is not None
        and letter.submitted_at is not None
        and 0 <= now - letter.submitted_at < RESULT_SECONDS
    )
