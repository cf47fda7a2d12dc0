"""The ledger's text: exact, small enough, and deaf to everything that is not one."""

import string
from base64 import b64decode, b64encode
from binascii import crc32
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from worker.core.ledger import BLANK, Entry, Ledger, Mark, Nothing, Place, Refused, Void, job_fingerprint
from worker.core.ledger_capacity import stored_length
from worker.core.ledger_codec import (
    MAGIC,
    VERSION,
    decode,
    encode,
)
from worker.core.spending import MOST, Spent
from worker.model import Reason

PLACE = Place("MkU3OEVBNTcwNTJENDM2Qk", "xTPH5yZnQ0CGTBuW1eJ8VA", 3)
JOB = job_fingerprint("gemini-embedding-001", "https://api.example", 768, None)
UUIDS = st.uuids().map(str)
ODD_IDS = st.text(string.ascii_letters + string.digits + "._:-", min_size=1, max_size=128)
IDS = st.one_of(UUIDS, UUIDS.map(str.upper), UUIDS.map(lambda x: x.replace("-", "")), ODD_IDS).filter(
    lambda x: x not in (".", "..")
)
NEWEST = 1_800_000_000
SUMS = st.integers(0, 2**16).flatmap(lambda digits: st.integers(0, 44).map(lambda zeros: digits << zeros))
"""Nanodollars that a ledger holds exactly."""


@st.composite
def marks(draw: st.DrawFn, ids: st.SearchStrategy[str] = IDS) -> Mark:
    kind, claims = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    if kind == 0:
        return Mark(claims=claims)
    time, attempt = float(NEWEST - draw(st.integers(0, 65_535))), draw(st.integers(0, 255))
    return Mark(draw(ids) if kind != 1 else None, time, attempt, intent=kind != 2, claims=claims)


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    offset = draw(st.one_of(st.integers(0, 300), st.integers(0, 2**62)))
    gaps = draw(st.lists(st.one_of(st.integers(0, 200), st.integers(0, 2**55)), max_size=12))
    position, entries = offset, []
    for gap in gaps:
        entries.append(Entry(position, draw(marks())))
        position += 1 + gap
    place = Place(draw(st.text(max_size=30)), draw(st.text(max_size=30)), draw(st.integers(0, 2**31 - 1)))
    flags = draw(st.integers(0, 63)), draw(st.booleans()), draw(st.booleans())
    spent = Spent(draw(st.integers(0, 2**24 - 1)), draw(SUMS), draw(SUMS))
    exceeded = draw(st.none() | st.sampled_from(Reason))
    return Ledger(place, offset, JOB, tuple(entries), position, *flags, spent, exceeded)


def some_ledger() -> Ledger:
    entries = (
        Entry(1000, Mark("0f8fad5b-d9cb-469f-a165-70867728950e", float(NEWEST), 1)),
        Entry(1001, Mark("job:17", NEWEST - 7.0, 2, intent=True)),
        Entry(1300, BLANK),
        Entry(1301, Mark(claims=2)),
    )
    spent = Spent(500_000, 2**30, 2**31)
    return Ledger(PLACE, 1000, JOB, entries, 1310, 2, clean=True, spent=spent, exceeded=Reason.TIMEOUT)


def packed(body: bytes) -> str:
    """A text with the right checksum, whatever is in it."""
    checked = crc32(VERSION.encode() + body).to_bytes(4, "big") + body
    return MAGIC + VERSION + b64encode(checked).rstrip(b"=").decode()


def body_of(text: str) -> bytes:
    payload = text.removeprefix(MAGIC + VERSION)
    return b64decode(payload + "=" * (-len(payload) % 4))[4:]


@given(ledgers())
def test_a_ledger_comes_back_as_it_was(ledger: Ledger) -> None:
    text = encode(ledger)
    assert text.isascii()
    assert decode(text, ledger.place, ledger.offset) == ledger


@given(IDS)
@example("0F8FAD5B-D9CB-469F-A165-70867728950E")
@example("0f8fad5bd9cb469fa16570867728950e")
@example("0f8fad5b-d9cb-469f-a165-70867728950e")
@example("0f8fad5b-d9cb-469f-a165-70867728950E")
@example("0F8fad5b-d9cb-469f-a165-70867728950e")
def test_every_id_comes_back_to_the_letter(request_id: str) -> None:
    ledger = Ledger(PLACE, 5, JOB, (Entry(5, Mark(request_id, 9.0, 1)),), 6)
    assert decode(encode(ledger), PLACE, 5) == ledger
    bare = len(body_of(encode(Ledger(PLACE, 5, JOB, (Entry(5, Mark(None, 9.0, 1, intent=True)),), 6))))
    assert len(body_of(encode(ledger))) - bare == stored_length(request_id)


@given(st.lists(st.one_of(st.floats(allow_nan=False), st.floats(1.7e9, 1.9e9)), min_size=1, max_size=8))
def test_a_submit_time_is_rounded_down_and_never_out_of_the_hour_it_was_in(times: list[float]) -> None:
    entries = tuple(Entry(i, Mark("a", time, 1)) for i, time in enumerate(times))
    found = decode(encode(Ledger(PLACE, 0, JOB, entries, len(times))), PLACE, 0)
    assert isinstance(found, Ledger)
    stored = [entry.mark.submitted_at for entry in found.entries]
    bounded = [min(max(time, 0.0), 2.0**32 - 1) for time in times]
    for time, kept in zip(bounded, stored, strict=True):
        if max(bounded) - time < 65_000:
            assert time - 1 < kept <= time
        else:
            assert kept <= max(bounded) - 64_999, "a job that has expired looks as if it had not"


def test_what_is_no_ledger_is_not_encoded() -> None:
    good = some_ledger()
    with pytest.raises(ValueError, match="out of order"):
        encode(replace(good, entries=good.entries[::-1]))
    with pytest.raises(ValueError, match="out of order"):
        encode(replace(good, offset=999))
    with pytest.raises(ValueError, match="the end"):
        encode(replace(good, end=1301))
    with pytest.raises(ValueError, match="the end"):
        encode(Ledger(PLACE, 5, JOB, (), 6))
    with pytest.raises(ValueError, match="request_id"):
        encode(Ledger(PLACE, 5, JOB, (Entry(5, Mark("x" * 129)),), 6))


@given(st.integers(0, 2**64), st.integers(0, 2**70), st.integers(0, 2**70))
def test_sums_come_back_to_five_digits_and_within_their_bounds(hour: int, of_hour: int, of_day: int) -> None:
    found = decode(encode(replace(some_ledger(), spent=Spent(hour, of_hour, of_day))), PLACE, 1000)
    assert isinstance(found, Ledger)
    assert found.spent.hour == min(hour, 2**24 - 1)
    for told, kept in ((of_hour, found.spent.of_hour), (of_day, found.spent.of_day)):
        assert kept <= MOST
        assert abs(kept - min(told, MOST)) <= 3.1e-5 * told


@pytest.mark.parametrize("bits", ["7fc000", "ff8000", "bf8000", "7f8000", "7f7fff"])
def test_a_sum_that_is_none_is_refused_and_an_absurd_one_is_bounded(bits: str) -> None:
    body = bytearray(body_of(encode(some_ledger())))
    body[34:37] = bytes.fromhex(bits)  # of the hour, behind places, flags and the hour's number
    found = decode(packed(bytes(body)), PLACE, 1000)
    if bits in {"7f8000", "7f7fff"}:
        assert isinstance(found, Ledger)
        assert found.spent.of_hour == MOST
    else:
        assert isinstance(found, Refused)


def test_the_numbers_of_reasons_in_ledgers_never_change() -> None:
    assert [*Reason] == [
        "INVALID_EVENT",
        "INVALID_REQUEST",
        "CONTENT_BLOCKED",
        "INFERENCE_FAILED",
        "INVALID_RESULT",
        "TIMEOUT",
        "EXPIRED",
        "API_ERROR",
        "UNKNOWN_SUBMIT",
    ]


def test_more_entries_than_a_ledger_counts_are_refused() -> None:
    entries = tuple(Entry(offset, BLANK) for offset in range(4096))
    assert decode(encode(Ledger(PLACE, 0, JOB, entries[:-1], 4095)), PLACE, 0)
    with pytest.raises(ValueError, match="4096 entries are too many"):
        encode(Ledger(PLACE, 0, JOB, entries, 4096))


# ---- what is no ledger of this place


@given(st.one_of(st.text(), st.text(string.printable), st.binary().map(lambda raw: b64encode(raw).decode())))
def test_another_programs_metadata_is_nothing(text: str) -> None:
    assume(not text.startswith(MAGIC))
    assert isinstance(decode(text, PLACE, 5), Nothing)


@given(st.one_of(st.text(), st.binary(max_size=300).map(lambda raw: VERSION + b64encode(raw).rstrip(b"=").decode())))
def test_garbage_behind_the_magic_is_refused(text: str) -> None:
    assert isinstance(decode(MAGIC + text, PLACE, 5), Refused)


@given(st.binary(max_size=200))
def test_a_right_checksum_makes_no_body_trusted(body: bytes) -> None:
    assert isinstance(decode(packed(body), PLACE, 5), Refused | Void)


@given(st.binary(max_size=60), st.integers(0, 2**16 - 1))
def test_a_right_head_makes_no_body_trusted(tail: bytes, count: int) -> None:
    head = body_of(encode(Ledger(PLACE, 5, JOB, (), 5)))[:44]
    found = decode(packed(head + count.to_bytes(2, "big") + tail), PLACE, 5)
    if isinstance(found, Ledger):
        assert decode(encode(found), PLACE, 5) == found
    else:
        assert isinstance(found, Refused)


@given(ledgers(), st.data())
def test_a_flipped_bit_is_never_taken_for_a_ledger(ledger: Ledger, data: st.DataObject) -> None:
    text = encode(ledger)
    place = data.draw(st.integers(0, len(text) - 1))
    flipped = chr(ord(text[place]) ^ 1 << data.draw(st.integers(0, 7)))
    found = decode(text[:place] + flipped + text[place + 1 :], ledger.place, ledger.offset)
    assert isinstance(found, Nothing if place < len(MAGIC) else Refused)


def test_no_character_of_a_ledger_can_be_exchanged() -> None:
    text = encode(some_ledger())
    for place in range(len(text)):
        for other in string.ascii_letters + string.digits + "+/=.\n":
            changed = text[:place] + other + text[place + 1 :]
            assert changed == text or isinstance(decode(changed, PLACE, 1000), Nothing if place < 3 else Refused)


def test_no_bit_of_the_body_goes_without_a_check_of_its_own_kind() -> None:
    """Each flip with a checksum that is made right again: void, refused, or a ledger that reads as what it says."""
    ledger = some_ledger()
    body = body_of(encode(ledger))
    for bit in range(8 * len(body)):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        assert decode(packed(bytes(changed)), PLACE, 1000) != ledger


def test_a_cut_ledger_is_refused_wherever_it_is_cut() -> None:
    text = encode(some_ledger())
    for length in range(len(text)):
        assert isinstance(decode(text[:length], PLACE, 1000), Nothing if length < len(MAGIC) else Refused)
    for more in ("A", "AA", "AAAA", "=", "\n", " "):
        assert isinstance(decode(text + more, PLACE, 1000), Refused)


def test_a_newer_version_is_refused_even_with_a_right_checksum() -> None:
    text = encode(some_ledger())
    found = decode(f"{MAGIC}2{text[4:]}", PLACE, 1000)
    assert isinstance(found, Refused)
    assert "newer" in found.reason


@pytest.mark.parametrize(
    ("place", "offset", "what"),
    [
        (replace(PLACE, cluster="another"), 1000, "cluster"),
        (replace(PLACE, topic="another"), 1000, "topic"),
        (replace(PLACE, partition=4), 1000, "partition"),
        (PLACE, 999, "offset"),
        (PLACE, 1001, "offset"),
    ],
)
def test_a_ledger_that_was_copied_from_elsewhere_is_void(place: Place, offset: int, what: str) -> None:
    assert decode(encode(some_ledger()), place, offset) == Void(f"it was written for another {what}")


def test_a_ledger_may_claim_anything_without_costing_anything() -> None:
    head = body_of(encode(Ledger(PLACE, 5, JOB, (), 5)))[:44]
    hostile = [
        head + b"\xff\xff",  # 65,535 entries and none of them
        head + b"\xff\xff" + b"\x00\x00" * 65_534,  # one less than it says
        head + b"\x00\x01\x00" + b"\xff" * 8 + b"\x7f",  # a run of 2^63 offsets
        head + b"\x00\x01\x00" + b"\xff" * 20_000,  # a number without end
        head + b"\x00\x01\x00" + b"\x80" * 20_000 + b"\x00",  # a very long way to write 0
        head + b"\x00\x01\x00\x00" + b"\x00",  # more than it says
        head + b"\x00\x01\x02\x01\x00\x00\x02ab\x00\x00",
        head + b"\x00\x01\x02\x01\x00\x00\x02..\x00",  # an id that is none
        head + b"\x00\x01\x02\x01\x00\x00\x02a/\x00",
        head + b"\x00\x01\x02\x01\x00\x00\x00\x00",  # an id without a letter
        head + b"\x00\x01\x03\x01\x00\x00\x00",  # an id that is two kinds of id
        head + b"\x00\x01\x20\x00",  # a flag that nobody knows
        head + b"\x00\x01\x18\x00",  # one claim more than there can be
    ]
    for body in hostile:
        assert isinstance(decode(packed(body), PLACE, 5), Refused)
    huge = decode(packed(head + b"\x00\x01\x00" + b"\xff\xff\xff\xff\x7f"), PLACE, 5)
    assert isinstance(huge, Ledger)
    assert huge.runs == ((6, 5 + 2**35),)
    long = decode(MAGIC + VERSION + "A" * 10_000_000, PLACE, 5)
    assert long == Refused("its 10000004 characters are more than any ledger has")
    for good in (b"\x00\x00", b"\x00\x01\x00\x00", b"\x00\x01\x02\x01\x00\x00\x02ab\x00"):
        assert isinstance(decode(packed(head + good), PLACE, 5), Ledger), "the hostile ones are refused for their form"
