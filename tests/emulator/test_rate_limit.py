"""The limits as arithmetic."""

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.emulator.rate_limit import FixedWindow, TokenBucket


@settings(max_examples=200)
@given(
    limit=st.integers(1, 2000),
    window=st.floats(0.1, 3600.0),
    start=st.floats(0.0, 1e7),
    bucket=st.booleans(),
)
def test_a_client_that_comes_back_exactly_at_the_given_time_is_let_through(
    limit: int, window: float, start: float, bucket: bool
) -> None:
    rate_limit = TokenBucket(limit, window) if bucket else FixedWindow(limit, window)
    now = start
    for _ in range(limit):
        assert rate_limit.refused_until(now) is None
    for _ in range(3):
        until = rate_limit.refused_until(now)
        if until is None:
            continue
        assert now <= until <= now + window * 1.000001
        now = until
        assert rate_limit.refused_until(now) is None


@given(gaps=st.lists(st.floats(0.0, 5.0), max_size=200))
def test_a_bucket_never_lets_more_through_than_its_size_and_its_refill(gaps: list[float]) -> None:
    bucket, now, passed = TokenBucket(5, 10.0), 0.0, 0
    for gap in gaps:
        now += gap
        passed += bucket.refused_until(now) is None
        assert passed <= 5 + now * 0.5 + 1e-6
