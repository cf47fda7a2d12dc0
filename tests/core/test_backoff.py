"""The delay before the next attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.backoff import delay

UNITS = st.floats(0, 1, exclude_max=True)
LARGEST_UNIT = 1 - 2**-53


@given(attempt=st.integers(-5, 10**6), unit=UNITS, base=st.floats(0.001, 1e3), cap=st.floats(0.001, 1e6))
def test_a_delay_is_never_near_zero_and_never_above_the_cap(attempt: int, unit: float, base: float, cap: float) -> None:
    assert min(base, cap) / 2 <= delay(attempt, unit, base=base, cap=cap) <= cap


@given(attempt=st.integers(1, 100), unit=UNITS)
def test_a_later_attempt_never_waits_less_for_the_same_chance(attempt: int, unit: float) -> None:
    assert delay(attempt + 1, unit) >= delay(attempt, unit)


@given(attempt=st.integers(1, 100), units=st.tuples(UNITS, UNITS))
def test_a_delay_grows_with_the_random_number(attempt: int, units: tuple[float, float]) -> None:
    low, high = sorted(units)
    assert delay(attempt, low) <= delay(attempt, high)


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (10_000, 60.0)])
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, ceiling: float) -> None:
    assert delay(attempt, 0.0) == 0.25
    assert delay(attempt, LARGEST_UNIT) == pytest.approx(ceiling)
