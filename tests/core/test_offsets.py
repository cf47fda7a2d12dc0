"""The offset tracker against a brute-force model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.offsets import OffsetTracker


@given(
    start=st.integers(0, 5),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.integers(0, 50)), max_size=60),
)
def test_the_watermark_is_the_lowest_unfinished_offset_whatever_the_order(
    start: int, steps: list[tuple[bool, int, int]]
) -> None:
    tracker = OffsetTracker(start)
    unfinished: set[int] = set()
    following = start
    for starts, gap, choice in steps:
        if starts or not unfinished:
            offset = following + gap - 1
            tracker.started(offset)
            unfinished.add(offset)
            following = offset + 1
        else:
            offset = sorted(unfinished)[choice % len(unfinished)]
            tracker.finished(offset)
            unfinished.remove(offset)
        expected = min(unfinished, default=following)
        assert tracker.watermark == expected
        assert tracker.span == following - expected
        assert set(tracker.unfinished) == unfinished


@given(
    offsets=st.lists(st.integers(0, 40), unique=True, min_size=1),
    finished=st.sets(st.integers(0, 40)),
)
def test_watermark_after_tells_what_finishing_would_do(offsets: list[int], finished: set[int]) -> None:
    tracker, truth = OffsetTracker(0), OffsetTracker(0)
    for offset in sorted(offsets):
        tracker.started(offset)
        truth.started(offset)
    finished &= set(offsets)
    for offset in finished:
        truth.finished(offset)
    assert tracker.watermark_after(finished) == truth.watermark
    assert tracker.watermark == min(offsets)


def test_offsets_that_go_backwards_are_a_mistake() -> None:
    tracker = OffsetTracker(7)
    with pytest.raises(ValueError, match="offset 6 comes after 6"):
        tracker.started(6)


def test_an_offset_is_finished_once() -> None:
    tracker = OffsetTracker(0)
    tracker.started(0)
    tracker.finished(0)
    with pytest.raises(KeyError):
        tracker.finished(0)
