"""What keeps a worker that is up from taking events, one sentence each, for `/readyz`."""

from collections.abc import Sequence

from worker.assembly import Assembly, Ports
from worker.core.times import rfc3339

COMMITS_FAIL = 10.0
"""Seconds without a commit after which the worker is not ready; a rebalance or a broker's restart is over by then."""


def obstacles(parts: Assembly, ports: Ports) -> Sequence[str]:
    """All there are; empty: none."""
    partitions, failing, clock = parts.partitions, parts.commit.failing, ports.clock
    reasons = [*ports.source.waiting(), *(partition.refused for partition in partitions.values() if partition.refused)]
    for halt in parts.gate.standing:
        lasts = clock.monotonic() - halt.since
        reasons.append(f"halted since {rfc3339(clock.epoch() - lasts)} ({lasts:.0f} s): {halt.cause.sentence}")
    if failing and (seconds := clock.monotonic() - failing.since) > COMMITS_FAIL:
        reasons.append(f"commits have failed for {seconds:.0f} s: {failing.detail}")
    if parts.leasehold.too_slow:
        reasons.append(f"lease: {parts.leasehold.too_slow}")
    if not partitions.record_limit:
        reasons.append(
            f"ledger: the brokers take only {partitions.budget} characters of metadata with an offset: raise their "
            "offset.metadata.max.bytes"
        )
    if parts.pipeline.stuck:
        reasons.append(parts.pipeline.stuck)
    return reasons
