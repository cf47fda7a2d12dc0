import pytest

from worker.core.lease import LONGEST_CAP, Lease, lease_cap


def leased(*times: float, cap: float = 10.0) -> Lease:
    """A lease after transactions that took so long, one a second, the last one begun at 0.0."""
    lease = Lease(cap)
    for index, time in enumerate(times):
        began = float(index - len(times) + 1)
        lease.committed(began, began + time)
    return lease


def test_without_a_commit_there_is_no_lease() -> None:
    lease = Lease(10.0)
    assert not lease.may_post(0.0)


def test_the_lease_counts_from_the_start_of_the_transaction_not_from_its_answer() -> None:
    lease = Lease(10.0)
    lease.committed(5.0, 5.2)
    assert lease.may_post(5.99)
    assert not lease.may_post(6.0)


def test_a_commit_that_was_learned_of_too_late_gives_no_lease() -> None:
    lease = Lease(10.0)
    lease.committed(0.0, 11.0)
    assert lease.length == 10.0
    assert not lease.may_post(11.0)


@pytest.mark.parametrize(("took", "length"), [(0.01, 1.0), (0.25, 1.0), (0.5, 2.0), (2.0, 8.0), (60.0, 10.0)])
def test_the_lease_is_four_transactions_long_within_its_bounds(took: float, length: float) -> None:
    assert leased(took).length == pytest.approx(length)


@pytest.mark.parametrize("session", [0.5, 2.0, 6.0, 45.0, 300.0])
def test_no_lease_reaches_half_the_session_timeout(session: float) -> None:
    lease = leased(100.0, cap=lease_cap(session))
    assert lease.length < session / 2
    assert lease.length <= LONGEST_CAP


def test_one_slow_transaction_in_a_hundred_changes_nothing() -> None:
    lease = Lease(10.0)
    for index in range(100):
        lease.committed(index / 4, index / 4 + (9.0 if index == 50 else 0.1))
    assert lease.length == 1.0
    assert leased(*[0.1] * 50, 9.0, 0.1).length == 10.0, "of fewer than a hundred in a minute the slowest counts"


def test_a_slow_minute_is_forgotten_in_the_next() -> None:
    lease = leased(*[3.0] * 20)
    assert lease.too_slow is not None
    for second in range(50):
        lease.committed(second + 1.0, second + 1.1)
    assert lease.too_slow is not None
    for second in range(50, 65):
        lease.committed(second + 1.0, second + 1.1)
    assert lease.too_slow is None
    assert lease.length == 1.0


def test_one_slow_transaction_in_ten_lengthens_the_lease_and_stops_nothing() -> None:
    lease = leased(*[0.1] * 9, 9.0)
    assert lease.length == 10.0
    assert lease.too_slow is None
    assert leased(*[0.1] * 8, 9.0, 9.0).too_slow is not None


def test_the_reason_to_halt_needs_evidence_and_says_what_to_do() -> None:
    assert leased(*[9.0] * 9).too_slow is None
    assert leased(*[2.4] * 10).too_slow is None
    reason = leased(*[9.0] * 10).too_slow
    assert reason is not None
    assert "9.0 s" in reason
    assert "session timeout" in reason


def test_the_last_transaction_that_started_counts_whatever_order_they_are_told_in() -> None:
    lease = Lease(10.0)
    lease.committed(5.0, 5.1)
    lease.committed(4.8, 5.0)
    assert lease.may_post(5.9)


def test_a_start_in_the_future_lends_nothing() -> None:
    lease = Lease(10.0)
    lease.committed(50.0, 5.0)
    assert not lease.may_post(6.0)


def test_a_forfeited_lease_comes_back_with_the_next_commit_only() -> None:
    lease = leased(0.1)
    lease.forfeit()
    assert not lease.may_post(0.2)
    lease.committed(0.3, 0.4)
    assert lease.may_post(0.5)
