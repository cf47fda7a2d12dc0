"""The ledger: what the committed offset of a partition remembers of the records above it.

    committed offset            end
         |                       |
         v                       v
         U F F F U U F F F F F F
         ^       ^ ^
         entries: started, unfinished, each with its mark       F: finished, or an offset that holds no record

Only the unfinished offsets are listed. What lies between them, up to `end`, is finished: an offset that the consumer never saw
(compacted away, a transaction's marker) thereby belongs to the neighbouring run, and finishing a record only removes an entry.
A started record without a job is listed too: were it not, it would count as finished and be lost.
"""

import json
from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from operator import attrgetter
from typing import NamedTuple

from worker.core.offset_runs import OffsetRuns, Run
from worker.core.spending import NOTHING_SPENT, Spent
from worker.model import Job, Reason
from worker.settings.sections import ApiSettings, InputSettings

FINGERPRINT_BYTES = 6
"""Of names in a ledger (48 bits). They tell apart the few clusters, topics and configurations that one operator has, not an
attacker's: two of them are confused with a probability of 2^-48 a pair, and partition and offset would have to agree too."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ledger belongs: Kafka's cluster id, the topic's id (or its name where there is none), the partition."""

    cluster: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of an unfinished record. `request_id`: its newest job; `intent`: a POST may have started whose answer is
    not recorded (strict mode), `request_id` is then the job it replaces; `claimed`: its work was begun while the partition worked
    one record at a time. `submitted_at` (seconds since the epoch) and `attempt` (from 1) are those of the intent, else of the
    job, else 0."""

    request_id: str | None = None
    submitted_at: float = 0.0
    attempt: int = 0
    intent: bool = False
    claims: int = 0


MOST_CLAIMS = 2
"""Claims after which a record that the worker crashes over again is given up. One would not do: a worker that is killed for other
reasons three times, and once more while it works one record at a time, nearly always dies over some claimed record."""

BLANK = Mark()
"""The mark of a record that was started and nothing else."""

INTENT = Mark(intent=True)
"""The mark of a record whose POST may have started, as long as any other that names no job."""


class Entry(NamedTuple):
    """One unfinished offset."""

    offset: int
    mark: Mark


@dataclass(frozen=True, slots=True)
class Finished:
    """The record's outcome is committed, or there is no such record."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """`offset` is the committed offset it is written with; `entries` are in offset order, the first one at `offset`; `end` is
    one past the highest offset ever started (`offset` where there is no entry). `job` is the `job_fingerprint` under which its
    request_ids were made. `unclean` counts the takeovers without a hand-over since it last changed; `clean`: its writer has
    handed the partition over and starts nothing any more; `waiting`: but before its own takeover wait was over. `spent`: on the
    records that it knows to be finished. `exceeded`: the reason of which its writer had too many dead letters."""

    place: Place
    offset: int
    job: bytes
    entries: tuple[Entry, ...]
    end: int
    unclean: int = 0
    clean: bool = False
    waiting: bool = False
    spent: Spent = NOTHING_SPENT
    exceeded: Reason | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of finished offsets above the committed one."""
        return OffsetRuns(self.offset, (entry.offset for entry in self.entries), self.end).runs_after(())

    def recall(self, offset: int) -> Mark | Finished:
        """What is known of a record that Kafka delivers again (or for the first time: nothing)."""
        if offset >= self.end:
            return BLANK
        index = bisect_left(self.entries, offset, key=attrgetter("offset"))
        found = index < len(self.entries) and self.entries[index].offset == offset
        return self.entries[index].mark if found else Finished()


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is no ledger: an operator's reset, or a commit by another tool. Everything from the offset on is done (again)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Void:
    """A whole ledger that belongs somewhere else (MirrorMaker, a restore tool): treated as none, counted, loud."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Surely or perhaps a ledger, but not to be understood: the partition halts until somebody decides to discard it."""

    reason: str


Read = Ledger | Nothing | Void | Refused


def fingerprint(*parts: str) -> bytes:
    """The names as `FINGERPRINT_BYTES` bytes of SHA-256, told apart also where their boundaries differ."""
    return sha256(b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in parts)).digest()[
        :FINGERPRINT_BYTES
    ]


def job_fingerprint(
    model: str, origin: str, output_dimensionality: int | None, task_type: str | None, extra: str = ""
) -> bytes:
    """Of all that makes a fetched result usable; `extra` is the canonical JSON of what else goes into every request."""
    return fingerprint(model, origin, repr(output_dimensionality), repr(task_type), extra)


def job_of(api: ApiSettings, read: InputSettings, bare_schema: str) -> bytes:
    """The `job_fingerprint` of a worker with these settings: what is asked of the API, and what makes the text of a record: a job
    for another text must not be taken for this one's. `bare_schema`: names the schema of bare records."""
    text = {"text": read.text, "format": read.format, "schema": bare_schema}
    extra = json.dumps([api.text_field, text, api.extra], sort_keys=True)
    return job_fingerprint(api.model, api.base_url, api.output_dimensionality, api.task_type, extra)


def ledger_of(
    place: Place,
    job: bytes,
    offsets: OffsetRuns,
    marks: Mapping[int, Mark],
    finished: Collection[int] = (),
    *,
    unclean: int = 0,
    clean: bool = False,
) -> Ledger:
    """The ledger as it will stand once these are `finished` too (published by the same transaction, or earlier).

    An outcome that is held or decided but not in the transaction must not be among them: its mark stays.
    """
    entries = tuple(Entry(offset, marks.get(offset, BLANK)) for offset in offsets.unfinished if offset not in finished)
    start = entries[0].offset if entries else offsets.next_offset
    return Ledger(place, start, job, entries, offsets.next_offset, unclean, clean)


def submitted(before: Mark, job: Job) -> Mark:
    """The mark of a record whose submit was answered. The id that it replaces goes only now; claims stay."""
    return Mark(job.request_id, job.submitted_at, job.attempt, claims=before.claims)


def claimed(before: Mark) -> Mark:
    """The mark to be committed before a suspect is decoded."""
    return replace(before, claims=min(before.claims + 1, MOST_CLAIMS))


def unclaimed(mark: Mark) -> Mark:
    """The mark without its claims: the record's work ends in order."""
    return replace(mark, claims=0) if mark.claims else mark


def intended(before: Mark, now: float, attempt: int) -> Mark:
    """The mark to be committed before a POST in strict mode, the earlier job's id kept. `now`: seconds since the epoch."""
    return Mark(before.request_id, now, attempt, intent=True, claims=before.claims)


def usable(ledger: Ledger, job: bytes) -> tuple[Ledger, int]:
    """The ledger for a worker whose `job_fingerprint` is `job`, and how many request_ids and intents are void because it has
    changed: their results would not fit, those records are submitted anew. Finished stays finished, claims stay."""
    if ledger.job == job:
        return ledger, 0
    entries = tuple(Entry(entry.offset, Mark(claims=entry.mark.claims)) for entry in ledger.entries)
    voided = sum(entry.mark.request_id is not None or entry.mark.intent for entry in ledger.entries)
    return replace(ledger, job=job, entries=entries), voided
