from hypothesis import given
from hypothesis import strategies as st

from worker.core.batching import BATCH_BYTES, LARGE_BYTES, fitting, interval, message_bytes
from worker.model import Message


def message(size: int) -> Message:
    return Message("topic", None, bytes(size), ())


def test_a_message_weighs_its_key_value_and_headers() -> None:
    assert message_bytes(Message("topic", b"12", b"345", (("6789", b"0"), ("no", None)))) == 12
    assert message_bytes(Message("topic", None, None, ())) == 0
    assert message_bytes(None) == 0


def test_all_small_messages_go_together() -> None:
    assert fitting([message(1000)] * 500) == 500


def test_outcomes_without_a_message_weigh_nothing() -> None:
    assert fitting([None] * 100_000) == 100_000


def test_a_batch_ends_before_the_message_that_would_make_it_too_large() -> None:
    size = BATCH_BYTES // 20
    assert fitting([message(size)] * 25) == 20
    assert fitting([message(size)] * 19 + [message(size + 1)] * 2) == 19


def test_a_large_message_goes_alone_and_ends_the_batch_before_it() -> None:
    assert fitting([message(LARGE_BYTES), message(1)]) == 1
    assert fitting([message(1), message(1), message(LARGE_BYTES), message(1)]) == 2
    assert fitting([message(LARGE_BYTES - 1), message(1)]) == 2


def test_a_message_larger_than_any_batch_goes_alone() -> None:
    assert fitting([message(2 * BATCH_BYTES), message(1)]) == 1


@given(
    st.lists(st.none() | st.sampled_from([0, 10, 400_000, LARGE_BYTES - 1, LARGE_BYTES, BATCH_BYTES + 1]), max_size=60)
)
def test_batches_take_everything_in_order_and_only_single_messages_are_over_the_limit(sizes: list[int | None]) -> None:
    messages = [None if size is None else message(size) for size in sizes]
    while messages:
        count = fitting(messages)
        assert 1 <= count <= len(messages)
        batch, messages = messages[:count], messages[count:]
        assert count == 1 or sum(map(message_bytes, batch)) <= BATCH_BYTES
        assert count == 1 or all(message_bytes(one) < LARGE_BYTES for one in batch)


def test_commits_go_at_the_interval_that_is_set() -> None:
    assert interval(0.1, 4_000, 1.0) == 0.1


def test_large_ledgers_are_written_more_rarely_but_never_so_rarely_that_the_lease_ends() -> None:
    assert interval(0.1, 52_428, 10.0) == 52_428 / 262_144
    assert interval(0.1, 1_000_000, 1.0) == 0.25
    assert interval(5.0, 0, 4.0) == 1.0
