"""What the worker tells its observer: one frozen type per thing that happened."""

from dataclasses import dataclass

from worker.model import Job, Metrics, OutcomeKind, Reason, Record, TopicPartition


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions came to this worker."""

    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class Recalled:
    """A ledger was read: what the new owner of a partition knows. `problem`: why a ledger counts as none, if it does; `voided`:
    request_ids made for another model or configuration, which are submitted again; `clean`: it was handed over in order."""

    partition: TopicPartition
    offset: int
    unfinished: int
    jobs: int
    voided: int
    clean: bool
    unclean_takeovers: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Leased:
    """The effective lease has changed: POSTs start within `seconds` of the start of the last commit."""

    seconds: float
    transaction_p99: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """Partitions left this worker; `in_flight` records of theirs were dropped, the next owner takes them up."""

    partitions: tuple[TopicPartition, ...]
    in_flight: int
    lost: bool


@dataclass(frozen=True, slots=True)
class Submitted:
    """The API accepted a job."""

    record: Record
    job: Job


@dataclass(frozen=True, slots=True)
class Adopted:
    """A replayed record names a job that still has a result: it is polled, and nothing is paid."""

    record: Record
    job: Job


@dataclass(frozen=True, slots=True)
class Polled:
    """A poll was answered; `completed` tells whether the job was done. `age` in seconds since submission."""

    job: Job
    completed: bool
    age: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """A result arrived."""

    record: Record
    job: Job
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Retried:
    """A call did not succeed and will be repeated in `delay` seconds."""

    record: Record
    detail: str
    delay: float
    counted: bool


@dataclass(frozen=True, slots=True)
class Throttled:
    """A 429: no request starts for `delay` seconds."""

    delay: float
    requests_per_minute: float


@dataclass(frozen=True, slots=True)
class Halted:
    """Intake stopped; `reason` is one sentence that names the fix."""

    reason: str


@dataclass(frozen=True, slots=True)
class Healed:
    """Intake goes on after a halt of `seconds`."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A record's outcome is committed. `seconds` since the record was taken up."""

    record: Record
    kind: OutcomeKind
    reason: Reason | None
    seconds: float


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """A batch was not committed and will be rebuilt."""

    detail: str


@dataclass(frozen=True, slots=True)
class Spend:
    """What this worker spends, in USD (None: not known, or no cap): the sums of the UTC hour and day over its partitions; the
    caps for all replicas, and its share of them (0 to 1); the account's balance as the last result told it; for how many hours
    that lasts if all replicas spend as this one has in the last hour; how many results came without a cost, each taken for
    `assumed_cost`."""

    spent_this_hour: float | None = None
    spent_this_day: float | None = None
    max_per_hour: float | None = None
    max_per_day: float | None = None
    share: float | None = None
    remaining_credits: float | None = None
    runway_hours: float | None = None
    unknown_costs: int = 0
    assumed_cost: float | None = None


Notice = (
    Assigned
    | Recalled
    | Leased
    | Dropped
    | Submitted
    | Adopted
    | Polled
    | Fetched
    | Retried
    | Throttled
    | Halted
    | Healed
    | Ended
    | CommitFailed
    | Spend
)
