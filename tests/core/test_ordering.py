"""The order per key, against brute force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.core.ordering import KeyOrder, Released

KEYS = st.sampled_from([None, b"", b"a", b"b"])


class Orders(RuleBasedStateMachine):
    """Records enter and become ready in any order; beside it a plain list of all records and what has become of them."""

    def __init__(self) -> None:
        super().__init__()
        self.order: KeyOrder[str] = KeyOrder()
        self.keys: dict[int, bytes | None] = {}
        self.outcomes: dict[int, str] = {}
        self.left: list[int] = []
        self.superseded: set[int] = set()
        self.next = 0

    def inside(self) -> list[int]:
        return [offset for offset in self.keys if offset not in self.left]

    @rule(key=KEYS, gap=st.integers(0, 3))
    def enter(self, key: bytes | None, gap: int) -> None:
        self.next += gap
        self.order.enter(self.next, key)
        self.keys[self.next] = key
        self.next += 1

    @precondition(lambda self: self.inside())
    @rule(data=st.data(), outcome=st.sampled_from(["vector", "dead letter", "skipped"]))
    def ready(self, data: st.DataObject, outcome: str) -> None:
        offset = data.draw(st.sampled_from(self.inside()))
        self.outcomes[offset] = outcome
        expected = []
        for other in sorted(self.inside()):
            earlier = [e for e in self.keys if e < other and self.keys[e] == self.keys[other] is not None]
            if other in self.outcomes and all(e in self.left or e in expected for e in earlier):
                expected.append(other)
        assert self.order.ready(offset, outcome) == [Released(each, self.outcomes[each]) for each in expected]
        self.left += expected

    @precondition(lambda self: self.inside())
    @rule(data=st.data())
    def supersede(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.inside()))
        key = self.keys[offset]
        expected = [
            other
            for other in self.inside()
            if other < offset and self.keys[other] == key is not None and other not in self.superseded
        ]
        assert self.order.supersede(offset) == tuple(expected)
        self.superseded.update(expected)

    @invariant()
    def only_what_is_inside_is_held(self) -> None:
        inside = self.inside()
        assert len(self.order) == sum(self.keys[offset] is not None for offset in inside)
        assert self.order.held == sum(offset in self.outcomes for offset in inside)
        for offset in self.keys:
            assert self.order.is_superseded(offset) == (offset in self.superseded and offset in inside)
        for key in (b"", b"a", b"b"):
            offsets = [offset for offset in self.left if self.keys[offset] == key]
            assert offsets == sorted(offsets)


TestOrders = Orders.TestCase


def entered(*keys: bytes | None) -> KeyOrder[str]:
    order: KeyOrder[str] = KeyOrder()
    for offset, key in enumerate(keys):
        order.enter(offset, key)
    return order


def test_an_outcome_waits_for_the_earlier_ones_of_its_key_only() -> None:
    order = entered(b"a", b"b", b"a", b"a")
    assert order.ready(2, "two") == []
    assert order.ready(1, "one") == [Released(1, "one")]
    assert order.ready(0, "zero") == [Released(0, "zero"), Released(2, "two")]
    assert order.ready(3, "three") == [Released(3, "three")]


def test_records_without_a_key_wait_for_nobody_and_an_empty_key_is_a_key() -> None:
    order = entered(None, None, b"", b"")
    assert order.ready(1, "one") == [Released(1, "one")]
    assert order.ready(3, "three") == []


def test_what_the_ledger_has_finished_is_not_waited_for() -> None:
    order: KeyOrder[str] = KeyOrder()
    order.enter(7, b"a")  # 5 and 6, of the same key, were finished by the owner before
    assert order.ready(7, "seven") == [Released(7, "seven")]


def test_a_second_outcome_of_a_record_that_has_left_leaves_at_once() -> None:
    order = entered(b"a", b"a")
    order.ready(0, "too large")
    assert order.ready(0, "its dead letter") == [Released(0, "its dead letter")]


def test_a_newer_text_supersedes_the_older_ones_held_or_not() -> None:
    order = entered(b"a", b"a", b"b", b"a")
    order.ready(1, "vector")
    assert order.supersede(3) == (0, 1)
    assert order.is_superseded(0)
    assert not order.is_superseded(3)
    assert order.ready(1, "skipped") == []
    assert order.ready(0, "skipped") == [Released(0, "skipped"), Released(1, "skipped")]
    assert order.ready(3, "vector") == [Released(3, "vector")]


def test_each_is_named_once_as_superseded_and_records_without_a_key_never() -> None:
    order = entered(b"a", b"a", b"a", None, None)
    assert order.supersede(1) == (0,)
    assert order.supersede(2) == (1,)
    assert order.supersede(4) == ()


def test_offsets_that_do_not_grow_are_a_mistake() -> None:
    order = entered(b"a")
    with pytest.raises(ValueError, match="offset 0 comes after 0"):
        order.enter(0, b"a")


def test_nothing_is_left_when_all_have_left() -> None:
    order = entered(*[bytes([n % 7]) for n in range(100)])
    for offset in reversed(range(100)):
        order.supersede(offset)
    for offset in reversed(range(100)):
        order.ready(offset, "vector")
    assert (len(order), order.held) == (0, 0)
    assert not order._queues
    assert not order._superseded


@given(st.lists(KEYS, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_every_outcome_leaves_exactly_once(keys: list[bytes | None], chance: object) -> None:
    order = entered(*keys)
    offsets = list(range(len(keys)))
    chance.shuffle(offsets)  # type: ignore[attr-defined]
    left = [released.offset for offset in offsets for released in order.ready(offset, "vector")]
    assert sorted(left) == list(range(len(keys)))
