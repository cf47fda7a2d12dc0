"""Whatever stands on the input topic: nothing is lost, the worker goes on, and good records get their vectors."""

import random
from dataclasses import replace
from typing import Final

import pytest

from tests.integration.conftest import SetupFactory
from tests.integration.events import (
    SKIPPED,
    TEXT_EVENT,
    TOMBSTONE,
    VECTOR,
    Event,
    encoded,
    good,
    single_object_header,
)
from tests.integration.outcomes import check_dead_letter, decoded, place_of
from tests.integration.raw_headers import produce_with_header_name
from tests.integration.readers import Found
from tests.integration.setup import DIMENSIONS

pytestmark = pytest.mark.real_kafka

MEGABYTE: Final = 1024 * 1024
INVALID: Final = "INVALID_EVENT"
LARGE: Final = {"max.message.bytes": str(8 * MEGABYTE)}
KAFKAS_DEFAULT: Final = {"max.message.bytes": "1048588"}


def long(number: int) -> bytes:
    """Avro's zigzag varint."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def bombs() -> list[bytes]:
    """A few bytes that claim much: a text of 2^62 bytes, maps of 10^9 and 2^62 entries, a block of negative count."""
    no_id, text, nothing = b"\x00", long(1) + b"t", b"\x00\x00"
    return [
        no_id + long(2**62) + b"x",
        no_id + text + nothing + long(10**9),
        no_id + text + nothing + long(2**62) + b"\x00" * 100,
        no_id + text + nothing + long(-(10**9)) + long(2**40) + b"\x00" * 1000,
        b"\x02" + long(-1) + text + nothing + b"\x00",
        b"\xff" * 11,
        single_object_header(TEXT_EVENT) + no_id + long(2**31) + b"x",
    ]


def garbage(chance: random.Random) -> list[bytes]:
    """Bytes that are no text event."""
    whole = encoded("a whole event")
    return [
        b"",
        b"\x00",
        b"\xff",
        b"\xc3\x01",
        b"\xc3\x01" + bytes(8) + whole,
        whole + b"\x00",
        whole[:-2],
        b'{"text": "JSON"}',
        b"\x00\x02\xff\x00\x00\x00",
        *(b"\xff" + chance.randbytes(chance.randrange(1, 4000)) for _ in range(50)),
    ]


def between_good_ones(hostile: list[Event]) -> list[Event]:
    """Each hostile event with a good one before and behind it."""
    around = [
        good(f"text {number}", key=b"good-%d" % number, dimensions=DIMENSIONS) for number in range(len(hostile) + 1)
    ]
    return [around[0], *(event for pair in zip(hostile, around[1:], strict=True) for event in pair)]


def keys(found: list[Found]) -> set[bytes | None]:
    """The keys of records; without transactions, neighbours in a batch of which one message was refused stand twice."""
    return {one.key for one in found}


def test_garbage_bombs_and_nulls_end_in_their_places_and_good_records_get_vectors(setups: SetupFactory) -> None:
    setup = setups(partitions=2)
    bad = [*bombs(), *garbage(random.Random(3))]
    hostile = [Event(b"bad-%d" % number, value, INVALID) for number, value in enumerate(bad)]
    hostile += [Event(None, b"\xff", INVALID), Event(b"", b"\xff", INVALID), Event(b"\xff\x00", b"\xff", INVALID)]
    hostile += [Event(b"gone", None, TOMBSTONE), Event(None, None, SKIPPED)]
    hostile += [good("no key", key=None, own_id="no-key", dimensions=DIMENSIONS)]
    hostile += [replace(good("binary key", key=b"", dimensions=DIMENSIONS), key=b"\xff\xfe", id="fffe")]
    placed = setup.produce(between_good_ones(hostile))
    worker = setup.worker(setup.emulator().wait_url())
    setup.wait_finished()
    tally = setup.tally(placed)
    assert tally.kinds == {VECTOR: len(hostile) + 3, INVALID: len(bad) + 3, TOMBSTONE: 1}
    assert tally.duplicates == 0
    assert worker.stop() == 0


def test_hostile_headers_and_huge_keys_travel_whole(setups: SetupFactory) -> None:
    setup = setups(partitions=1)
    many = tuple((f"header-{number}", b"\x00\xff" * (number % 5)) for number in range(1000))
    strange = (("", b""), ("same", b"1"), ("same", b"2"), ("\u00e9\U0001f600", None), ("x" * 10_000, b"y"))
    hostile = [
        Event(b"many", encoded("many headers"), VECTOR, "many headers", "many", DIMENSIONS, headers=many),
        Event(b"bad-many", b"\xff", INVALID, headers=many),
        Event(
            b"strange", encoded("strange headers"), VECTOR, "strange headers", "strange", DIMENSIONS, headers=strange
        ),
        Event(b"bad-strange", b"\xff", INVALID, headers=strange),
        good("a huge key", key=b"k" * 900_000, dimensions=DIMENSIONS),
        Event(b"h" * 900_000, b"\xff", INVALID),
        Event(b"t" * 900_000, None, TOMBSTONE),
    ]
    placed = setup.produce(between_good_ones(hostile))
    setup.worker(setup.emulator().wait_url())
    setup.wait_finished()
    tally = setup.tally(placed)
    assert tally.kinds == {VECTOR: 11, INVALID: 3, TOMBSTONE: 1}
    assert tally.duplicates == 0


def test_a_header_name_that_is_not_utf_8_does_not_stop_the_worker(setups: SetupFactory) -> None:
    setup = setups(partitions=1)
    for key, value in ((b"good", encoded("a good one")), (b"bad", b"\xff")):
        produce_with_header_name(setup.bootstrap_servers, setup.input, key, value, b"\xff\xfe")
    setup.produce(between_good_ones([]))
    setup.worker(setup.emulator().wait_url())
    setup.wait_finished()
    vectors = setup.reader.read(setup.output)
    [dead_letter] = setup.reader.read(setup.dead_letter)
    assert [
        (found.key, decoded(found.value)["dimensions"]) for found in sorted(vectors, key=lambda one: one.key or b"")
    ] == [
        (b"good", DIMENSIONS),
        (b"good-0", DIMENSIONS),
    ]
    assert (dead_letter.key, dead_letter.value, dead_letter.header("dlq.reason")) == (b"bad", b"\xff", INVALID)
    assert all(found.header("kafka.headers.unreadable") for found in (*vectors, dead_letter) if found.key != b"good-0")


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "without its value"])
def test_a_5_mb_record_is_a_dead_letter_in_all_its_length_or_points_to_its_source(
    setups: SetupFactory, *, whole: bool
) -> None:
    setup = setups(partitions=1, input_config=LARGE, dead_letter_config=LARGE if whole else KAFKAS_DEFAULT)
    hostile = [
        Event(b"text", encoded("x" * 5 * MEGABYTE), INVALID),
        Event(b"bytes", b"\xff" + bytes(5 * MEGABYTE), INVALID),
    ]
    placed = setup.produce(between_good_ones(hostile))
    worker = setup.worker(setup.emulator().wait_url())
    setup.wait_finished()
    dead_letters = setup.reader.read(setup.dead_letter)
    for found in dead_letters:
        check_dead_letter(setup.input, found, place_of(found), placed[place_of(found)], whole=whole)
    assert sorted(found.key or b"" for found in dead_letters) == [b"bytes", b"text"]
    assert keys(setup.reader.read(setup.output)) == {b"good-0", b"good-1", b"good-2"}
    assert worker.stop() == 0


def test_a_dead_letter_that_is_too_large_by_its_headers_still_points_to_its_source(setups: SetupFactory) -> None:
    setup = setups(partitions=1, input_config=LARGE, dead_letter_config=KAFKAS_DEFAULT)
    headers = tuple((f"header-{number}", b"v" * 1500) for number in range(1000))
    placed = setup.produce(between_good_ones([Event(b"wide", b"\xff", INVALID, headers=headers)]))
    setup.worker(setup.emulator().wait_url())
    setup.wait_finished()
    [dead_letter] = setup.reader.read(setup.dead_letter)
    assert dead_letter.value is None
    assert placed[place_of(dead_letter)].key == b"wide"
    assert dead_letter.header("dlq.topic") == setup.input
    assert dead_letter.header("dlq.reason") == INVALID
    assert keys(setup.reader.read(setup.output)) == {b"good-0", b"good-1"}


def test_a_vector_that_the_output_topic_is_too_small_for_is_a_dead_letter(setups: SetupFactory) -> None:
    setup = setups(partitions=1, output_config={"max.message.bytes": "20000"})
    key = b"k" * 30_000
    event = Event(key, encoded("text"), "INVALID_RESULT", "text")
    placed = setup.produce(between_good_ones([event]))
    setup.worker(setup.emulator().wait_url())
    setup.wait_finished()
    [dead_letter] = setup.reader.read(setup.dead_letter)
    assert (dead_letter.key, dead_letter.value) == (event.key, event.value)
    assert placed[place_of(dead_letter)] is event
    assert dead_letter.header("dlq.reason") == event.ends
    assert keys(setup.reader.read(setup.output)) == {b"good-0", b"good-1"}
