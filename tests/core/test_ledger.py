"""The ledger, the offsets behind it and what is made of them, against brute force."""

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.core.ledger import (
    BLANK,
    Entry,
    Finished,
    Ledger,
    Mark,
    Place,
    Void,
    fingerprint,
    intended,
    job_fingerprint,
    ledger_of,
    submitted,
    usable,
)
from worker.core.ledger_capacity import in_flight_limit
from worker.core.ledger_codec import decode, encode
from worker.core.ledger_fit import encode_within
from worker.core.offset_runs import WIDEST_SPAN, OffsetRuns, Run
from worker.core.takeover import (
    TakenOver,
    first_metadata,
    names_another_topic,
    restored,
    suspects,
    take_over,
    taken_over,
    unclean_takeovers,
    waives_wait,
)
from worker.model import Assignment, Job, Position, TopicPartition
from worker.settings.guarantees import OnUnknownSubmit

PLACE = Place("cluster", "topic", 3)
JOB = job_fingerprint("gemini-embedding-001", "https://api.example", None, None)
RESUBMIT, DEAD_LETTER = OnUnknownSubmit.RESUBMIT, OnUnknownSubmit.DEAD_LETTER


def uuid(number: int) -> str:
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Takeovers(RuleBasedStateMachine):
    """One partition through any number of owners. The truth is kept beside: which records exist, which are finished, their marks.

    After each step the ledger must say exactly that of every offset, and must fit.
    """

    budget = 4096

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []  # the records that exist, in order
        self.finished: set[int] = set()
        self.begun: set[int] = set()  # by any owner
        self.marks: dict[int, Mark] = {}
        self.offsets = OffsetRuns(0)
        self.inherited = ledger_of(PLACE, JOB, self.offsets, {})
        self.position = 0  # index into the log: what Kafka delivers next
        self.mine: set[int] = set()  # taken up by this owner, unfinished
        self.ids = 0
        self.longest = 16

    @property
    def limit(self) -> int:
        return in_flight_limit(self.budget, self.longest)

    def ledger(self) -> Ledger:
        return ledger_of(PLACE, JOB, self.offsets, self.marks)

    @rule(gap=st.one_of(st.just(1), st.integers(1, 300), st.integers(1, 2**29)), count=st.integers(1, 60))
    def produce(self, gap: int, count: int) -> None:
        begin = self.log[-1] + gap if self.log else gap - 1
        self.log.extend(range(begin, begin + count))

    @rule(count=st.integers(1, 60))
    def deliver(self, count: int) -> None:
        for _ in range(count):
            if self.position == len(self.log):
                return
            offset = self.log[self.position]
            recalled = self.inherited.recall(offset)
            if isinstance(recalled, Finished):
                assert offset in self.finished
                self.offsets.passed(offset)
            else:
                assert offset not in self.finished, "a finished record would be done again"
                assert recalled == self.marks.get(offset, BLANK) if offset in self.begun else recalled == BLANK
                if not self.offsets.admits(offset, self.limit):
                    return
                for gone in self.offsets.started(offset):
                    assert gone not in self.log
                    self.marks.pop(gone, None)
                    self.begun.discard(gone)
                self.begun.add(offset)
                self.mine.add(offset)
            self.position += 1

    @precondition(lambda self: self.mine)
    @rule(data=st.data(), kind=st.integers(0, 5))
    def mark(self, data: st.DataObject, kind: int) -> None:
        offset = data.draw(st.sampled_from(sorted(self.mine)))
        before = self.marks.get(offset, BLANK)
        self.ids += 1
        if kind == 0:
            self.marks[offset] = intended(before, 1.8e9 + self.ids, 2)
        else:
            self.marks[offset] = submitted(BLANK, Job(uuid(2**128 - self.ids), 1.8e9 + self.ids, 1))

    @precondition(lambda self: self.mine)
    @rule()
    def mark_all(self) -> None:
        for offset in self.mine:
            self.ids += 1
            self.marks[offset] = submitted(BLANK, Job(uuid(self.ids), 1.8e9 + self.ids, 1))

    @precondition(lambda self: self.mine)
    @rule(data=st.data(), count=st.integers(1, 40))
    def finish(self, data: st.DataObject, count: int) -> None:
        """One after the other; each makes the ledger smaller or leaves it as large as it was."""
        chosen = data.draw(st.permutations(sorted(self.mine)))[:count]
        after = ledger_of(PLACE, JOB, self.offsets, self.marks, set(chosen))
        watermark, runs = self.offsets.watermark_after(set(chosen)), self.offsets.runs_after(set(chosen))
        for offset in chosen:
            before = len(encode(self.ledger()))
            self.offsets.finished(offset)
            self.mine.remove(offset)
            self.finished.add(offset)
            self.marks.pop(offset, None)
            assert len(encode(self.ledger())) <= before
        assert after == self.ledger()
        assert (watermark, runs) == (after.offset, after.runs)

    @precondition(lambda self: self.begun - self.finished)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        """Compaction removes any record that is not the newest; one in work is not affected."""
        removable = [offset for offset in self.log[:-1] if offset not in self.mine]
        if removable:
            gone = data.draw(st.sampled_from(removable[-50:]))
            if self.log.index(gone) < self.position:
                self.position -= 1
            self.log.remove(gone)

    @rule()
    def change_owner(self) -> None:
        found = decode(encode(self.ledger()), PLACE, self.offsets.watermark)
        assert isinstance(found, Ledger)
        assert found == self.ledger()
        self.inherited = found
        self.offsets = restored(found)
        self.marks = {entry.offset: entry.mark for entry in found.entries if entry.mark != BLANK}
        self.begun = {entry.offset for entry in found.entries} | self.finished
        self.mine = set()
        self.position = sum(offset < found.offset for offset in self.log)

    @invariant()
    def the_ledger_says_the_truth(self) -> None:
        ledger = self.ledger()
        for offset in self.log:
            known = ledger.recall(offset)
            if offset in self.finished:
                assert known == Finished(), "finished and not known to be"
                assert self.offsets.is_finished(offset)
            elif offset in self.begun:
                assert known == self.marks.get(offset, BLANK), "begun and not known to be"
                assert not self.offsets.is_finished(offset)
            else:
                assert known == BLANK, "an offset that nobody began is finished"
        assert ledger.runs == self.offsets.runs_after(())
        for start, stop in ledger.runs:
            assert ledger.offset < start < stop <= ledger.end

    @invariant()
    def it_fits(self) -> None:
        assert len(self.offsets.unfinished) <= self.limit
        assert len(encode(self.ledger())) <= self.budget

    @invariant()
    def the_counts_agree(self) -> None:
        unfinished = set(self.offsets.unfinished)
        assert self.mine <= unfinished
        assert self.offsets.awaited == len(unfinished - self.mine)
        assert self.offsets.watermark == min(unfinished, default=self.offsets.next_offset)
        assert self.offsets.span == self.offsets.next_offset - self.offsets.watermark


class TakeoversOnASmallBroker(Takeovers):
    """`offset.metadata.max.bytes` lowered to 512."""

    budget = 512


TestTakeovers = Takeovers.TestCase
TestTakeoversOnASmallBroker = TakeoversOnASmallBroker.TestCase


def test_a_started_record_without_a_job_is_not_part_of_a_run() -> None:
    offsets = OffsetRuns(10)
    for offset in (10, 11, 12):
        offsets.started(offset)
    offsets.finished(11)
    ledger = ledger_of(PLACE, JOB, offsets, {10: Mark("a", 5.0, 1)})
    assert ledger.runs == (Run(11, 12),)
    assert ledger.recall(12) == BLANK


def test_offsets_that_were_never_delivered_belong_to_the_neighbouring_run() -> None:
    offsets = OffsetRuns(0)
    for offset in (0, 5, 9):
        offsets.started(offset)
    offsets.finished(5)
    assert offsets.runs_after(()) == (Run(1, 9),)
    assert ledger_of(PLACE, JOB, offsets, {}).runs == (Run(1, 9),)


def test_an_awaited_record_that_does_not_come_again_holds_the_offset_back_no_longer() -> None:
    offsets = OffsetRuns(4, (4, 6, 8), 10)
    assert offsets.started(6) == (4,)
    assert offsets.watermark == 6
    assert offsets.passed(10) == (8,)
    offsets.finished(6)
    assert offsets.watermark == 10


def test_a_record_under_work_is_never_taken_for_gone() -> None:
    offsets = OffsetRuns(4, (4, 6), 7)
    offsets.started(4)
    offsets.started(6)
    assert offsets.passed(100) == ()
    assert list(offsets.unfinished) == [4, 6]


def test_a_full_ledger_does_not_keep_its_own_records_from_being_taken_up_again() -> None:
    offsets = OffsetRuns(0, range(120), 120)
    assert all(offsets.admits(offset, 120) for offset in range(120))
    assert not offsets.admits(120, 120)


def test_a_record_across_an_enormous_gap_is_taken_up_alone() -> None:
    offsets = OffsetRuns(0)
    offsets.started(0)
    assert offsets.admits(WIDEST_SPAN - 1, 120)
    assert not offsets.admits(WIDEST_SPAN, 120)
    offsets.finished(0)
    assert offsets.admits(2**62, 120)


def test_offsets_that_go_backwards_or_were_finished_are_a_mistake() -> None:
    offsets = OffsetRuns(0, (0, 2), 3)
    offsets.started(0)
    with pytest.raises(ValueError, match="offset 0 comes after 0"):
        offsets.started(0)
    with pytest.raises(ValueError, match="offset 1 is finished"):
        offsets.started(1)


def test_an_offset_is_finished_once_and_only_by_who_started_it() -> None:
    offsets = OffsetRuns(0, (0, 2), 3)
    with pytest.raises(KeyError):
        offsets.finished(0)
    offsets.started(0)
    offsets.finished(0)
    with pytest.raises(KeyError):
        offsets.finished(0)


def ledger(*entries: tuple[int, Mark], end: int, unclean: int = 0, clean: bool = False) -> Ledger:
    offsets = OffsetRuns(entries[0][0] if entries else end, (offset for offset, _ in entries), end)
    return ledger_of(PLACE, JOB, offsets, dict(entries), unclean=unclean, clean=clean)


PENDING = Mark("a", 5.0, 2)
FULL = ledger((1, PENDING), (2, Mark("b", 6.0, 1, intent=True)), (5, BLANK), (7, Mark(claims=2)), end=9)


def test_a_changed_job_voids_ids_and_intents_and_nothing_else() -> None:
    other = job_fingerprint("gemini-embedding-001", "https://api.example", 768, None)
    with_intent = ledger(*FULL.entries[:3], (6, Mark(None, 7.0, 1, intent=True)), (7, Mark(claims=2)), end=9)
    kept, voided = usable(with_intent, other)
    assert voided == 3
    assert [entry.mark for entry in kept.entries] == [BLANK, BLANK, BLANK, BLANK, Mark(claims=2)]
    assert kept.runs == with_intent.runs
    assert kept.job == other
    assert usable(FULL, JOB) == (FULL, 0)


@pytest.mark.parametrize("change", range(5))
def test_everything_that_makes_a_result_usable_is_in_the_job_fingerprint(change: int) -> None:
    same: list[str | int | None] = ["model", "https://api.example", 768, "CLUSTERING", "{}"]
    changed = list(same)
    changed[change] = None if change in (2, 3) else "other"
    assert job_fingerprint(*same) != job_fingerprint(*changed)  # type: ignore[arg-type]


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_fingerprints_keep_the_boundaries_of_names(left: list[str], right: list[str]) -> None:
    assert (fingerprint(*left) == fingerprint(*right)) == (left == right)


def test_an_intent_keeps_the_id_that_it_replaces_until_its_own_is_known() -> None:
    mark = intended(PENDING, 9.0, 3)
    assert mark == Mark("a", 9.0, 3, intent=True)
    assert submitted(BLANK, Job("b", 9.0, 3)) == Mark("b", 9.0, 3)
    assert intended(Mark(claims=2), 9.0, 1).claims == 2
    assert submitted(Mark(claims=2), Job("b", 9.0, 3)).claims == 2


def test_takeovers_without_a_hand_over_are_counted_until_the_offset_moves() -> None:
    first = taken_over(FULL)
    third = taken_over(taken_over(first))
    assert (first.unclean, third.unclean) == (1, 3)
    assert unclean_takeovers(third, third.offset) == 3
    assert unclean_takeovers(third, third.offset + 1) == 0
    assert suspects(taken_over(first)) == 0
    assert suspects(third) == len(FULL.entries) + 120


def test_a_hand_over_is_used_up_by_the_next_owner() -> None:
    found = replace(FULL, unclean=2, clean=True)
    assert taken_over(found) == replace(FULL, unclean=2, clean=False)
    assert taken_over(replace(found, waiting=True)) == replace(FULL, unclean=2)


@pytest.mark.parametrize(("clean", "waived"), [(True, True), (False, False)])
def test_the_takeover_wait_is_waived_after_a_hand_over_in_order(clean: bool, waived: bool) -> None:
    assert waives_wait(replace(FULL, clean=clean)) is waived


def test_an_owner_that_still_waits_itself_does_not_waive_the_wait_of_the_next() -> None:
    assert not waives_wait(replace(FULL, clean=True, waiting=True))


class TestTakeOver:
    """What a new owner makes of the metadata that it finds."""

    WHERE = TopicPartition("texts", 3)

    def taken(self, metadata: str, *, offset: int = 7, topic: str = "topic", discard: bool = False) -> TakenOver:
        assignment = Assignment(1, Position(offset, metadata), "cluster", topic)
        return take_over(self.WHERE, assignment, JOB, discard=discard)

    def test_the_first_owner_of_a_partition_need_not_wait(self) -> None:
        taken = self.taken(first_metadata("cluster", "topic", 3, 7))
        assert taken.waived
        assert (taken.ledger, taken.voided, taken.refused) == (ledger_of(PLACE, JOB, OffsetRuns(7), {}), 0, None)

    @pytest.mark.parametrize("metadata", ["", "another tool's"])
    def test_an_offset_without_a_ledger_means_do_it_again_and_wait(self, metadata: str) -> None:
        taken = self.taken(metadata)
        assert taken.ledger == ledger_of(PLACE, JOB, OffsetRuns(7), {})
        assert not taken.waived
        assert taken.refused is None

    def test_a_ledger_of_another_topic_is_void(self) -> None:
        found = ledger_of(PLACE, JOB, OffsetRuns(7), {}, clean=True)
        taken = self.taken(encode(found), topic="made-again")
        assert isinstance(taken.found, Void)
        assert not taken.waived
        assert taken.ledger.entries == ()

    def test_the_ledger_of_a_topic_that_had_the_name_before_is_told_from_all_else(self) -> None:
        in_work = encode(ledger_of(PLACE, JOB, OffsetRuns(7, (7, 9), 12), {}))
        names: partial[bool] = partial(names_another_topic, cluster="cluster", topic_id="made-again", partition=3)
        assert names(first_metadata("cluster", "topic", 3, 7), offset=7)
        assert names(in_work, offset=7)
        assert names(in_work, offset=8)
        assert names(in_work, partition=4, offset=7)
        assert not names(in_work, topic_id="topic", offset=7)
        assert not names(in_work, topic_id="topic", offset=8)
        assert not names(in_work, cluster="mirror", offset=7)
        for without in ("", "another tool's", "ewl9" + in_work[4:], in_work[:-4]):
            assert not names(without, offset=7)

    def test_an_unreadable_ledger_is_refused_unless_it_may_be_discarded(self) -> None:
        newer = "ewl9" + encode(ledger_of(PLACE, JOB, OffsetRuns(7), {}))[4:]
        refused = self.taken(newer).refused
        assert refused is not None
        assert "texts-3 at offset 7" in refused
        assert "WORKER_GUARANTEES__ON_UNREADABLE_LEDGER=discard" in refused
        assert self.taken(newer, discard=True).refused is None

    def test_ids_of_another_configuration_are_void_and_finished_stays_finished(self) -> None:
        offsets = OffsetRuns(7)
        for offset in (7, 8, 9):
            offsets.started(offset)
        offsets.finished(8)
        other = job_fingerprint("another-model", "https://api.example", None, None)
        taken = self.taken(encode(ledger_of(PLACE, other, offsets, {7: PENDING})))
        assert taken.voided == 1
        assert taken.ledger.recall(7) == taken.ledger.recall(9) == BLANK
        assert taken.ledger.recall(8) == Finished()
        assert taken.ledger.job == JOB


class TestFit:
    """A ledger that is longer than the broker takes."""

    def full(self, count: int) -> Ledger:
        offsets, marks = OffsetRuns(0), {}
        for offset in range(count):
            offsets.started(offset)
            marks[offset] = Mark(uuid(2**127 + offset), 1.8e9, 1)
        return ledger_of(PLACE, JOB, offsets, marks)

    @given(count=st.integers(0, 120), budget=st.integers(0, 4096))
    def test_the_newest_ids_go_first_and_no_offset_ever(self, count: int, budget: int) -> None:
        whole = self.full(count)
        text = encode_within(whole, budget)
        if text is None:
            assert (
                len(encode(replace(whole, entries=tuple(Entry(entry.offset, BLANK) for entry in whole.entries))))
                > budget
            )
            return
        assert len(text) <= budget
        found = decode(text, PLACE, whole.offset)
        assert isinstance(found, Ledger)
        kept = [entry.mark.request_id is not None for entry in found.entries]
        assert [entry.offset for entry in found.entries] == list(range(count))
        assert kept == sorted(kept, reverse=True)
        dropped = kept.count(False)
        if dropped:
            marks = [
                *whole.entries[: len(kept) - dropped + 1],
                *(Entry(e.offset, BLANK) for e in whole.entries[len(kept) - dropped + 1 :]),
            ]
            assert len(encode(replace(whole, entries=tuple(marks)))) > budget, "one id more would have fitted"

    def test_ids_that_no_committed_ledger_has_go_before_those_that_one_has(self) -> None:
        whole = self.full(10)
        recorded = {entry.mark.request_id for entry in whole.entries[5:] if entry.mark.request_id}
        text = encode_within(whole, len(encode(whole)) - 5 * 19 * 4 // 3, recorded)
        assert text is not None
        found = decode(text, PLACE, 0)
        assert isinstance(found, Ledger)
        assert [entry.offset for entry in found.entries if entry.mark.request_id] == [5, 6, 7, 8, 9]

    def test_in_strict_mode_what_loses_its_id_leaves_an_intent(self) -> None:
        whole = self.full(3)
        text = encode_within(whole, len(encode(whole)) - 20, strict=True)
        assert text is not None
        found = decode(text, PLACE, 0)
        assert isinstance(found, Ledger)
        assert found.entries[:2] == whole.entries[:2]
        assert found.entries[2].mark == Mark(None, 1.8e9, 1, intent=True)

    def test_intents_and_claims_stay(self) -> None:
        marks = {0: Mark("a" * 36, 1.8e9, 1, intent=True, claims=2), 1: Mark("b" * 36, 1.8e9, 1, claims=2)}
        offsets = OffsetRuns(0, (0, 1), 2)
        text = encode_within(ledger_of(PLACE, JOB, offsets, marks), 96)
        assert text is not None
        found = decode(text, PLACE, 0)
        assert isinstance(found, Ledger)
        assert found.entries == (
            Entry(0, Mark(None, 1.8e9, 1, intent=True, claims=2)),
            Entry(1, Mark(claims=2)),
        )
