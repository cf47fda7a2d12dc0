"""What keeps a worker that is up from taking events, one sentence each, for `/readyz`."""

from collections.abc import Sequence

from worker.core.partitions import Partitions
from worker.core.times import rfc3339
from worker.gate.gate import Gate
from worker.gate.leasehold import Leasehold
from worker.ports import Clock, Source
from worker.stages.commit import Commit

COMMITS_FAIL = 10.0
"""Seconds without a commit after which the worker is not ready; a rebalance or a broker's restart is over by then."""


def obstacles(
    gate: Gate, commit: Commit, partitions: Partitions, leasehold: Leasehold, source: Source, clock: Clock
) -> Sequence[str]:
    """All there are; empty: none."""
    reasons = [*source.waiting(), *(partition.refused for partition in partitions.values() if partition.refused)]
    for halt in gate.standing:
        lasts = clock.monotonic() - halt.since
        reasons.append(f"halted since {rfc3339(clock.epoch() - lasts)} ({lasts:.0f} s): {halt.cause.sentence}")
    if commit.failing and (seconds := clock.monotonic() - commit.failing.since) > COMMITS_FAIL:
        reasons.append(f"commits have failed for {seconds:.0f} s: {commit.failing.detail}")
    if leasehold.too_slow:
        reasons.append(f"lease: {leasehold.too_slow}")
    if not partitions.record_limit:
        reasons.append(
            f"ledger: the brokers take only {partitions.budget} characters of metadata with an offset: raise their "
            "offset.metadata.max.bytes"
        )
    return reasons
