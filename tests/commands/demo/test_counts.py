"""What the demo counts: it must notice what does not add up."""

import asyncio
import io
from array import array

import pytest
from confluent_kafka import Producer
from rich.console import Console

from worker.commands.demo.events import Avro, DemoEvent, sample_events
from worker.commands.demo.feeder import WINDOW_BYTES, DemoFeeder
from worker.commands.demo.neighbours import neighbours
from worker.commands.demo.reader import DemoReader
from worker.commands.demo.report import Report, cut, largest
from worker.commands.demo.tally import Letter, Place, Tally
from worker.emulator.broker import EmbeddedBroker
from worker.model import Reason, TopicPartition
from worker.settings import TopicsSettings

SECONDS = 20.0
VECTOR = array("f", [1.0, 0.0])
STATISTICS = {"requests": 12, "bills": 3, "billed_total": 0.0}


def at(offset: int) -> Place:
    return TopicPartition("texts", 0), offset


def complete() -> Tally:
    """Two vectors of the same text, a dead letter that was paid for, a tombstone."""
    tally = Tally()
    for offset, text in enumerate(("same", "same", "bad", None)):
        tally.input(at(offset), b"key-%d" % offset, text)
    tally.vector(at(0), "hash of same", VECTOR)
    tally.vector(at(1), "hash of same", VECTOR)
    tally.dead_letter(Letter(at(2), Reason.INVALID_RESULT, "odd", "1"), "hash of bad")
    tally.tombstone(b"key-3")
    return tally


BILLS = {"hash of same": 2, "hash of bad": 1}


def report(tally: Tally, bills: dict[str, int] | None = None, fed: int = 4, given: int | None = None) -> Report:
    return Report(tally, STATISTICS, bills or BILLS, {}, given or fed, fed, 1.0)


def test_a_complete_run_has_no_problem() -> None:
    tally = complete()
    assert report(tally).problems() == []
    assert tally.ended == 4
    found = report(tally).figures()
    assert (found["events"], found["vectors"], found["dead_letters"], found["tombstones"]) == (4, 2, 1, 1)
    assert found["requests_per_event"] == 3.0


def test_events_without_an_outcome_are_named() -> None:
    tally = complete()
    tally.input(at(9), b"forgotten", "text")
    tally.input(at(10), b"undeleted", None)
    assert report(tally, fed=6).problems() == ["2 of 6 events have no outcome: forgotten, undeleted"]


def test_second_outcomes_and_those_of_strangers_are_counted() -> None:
    tally = complete()
    tally.vector(at(0), "hash of same", VECTOR)
    tally.dead_letter(Letter(at(2), Reason.INVALID_RESULT, "odd", "1"), "hash of bad")
    tally.tombstone(b"key-3")
    tally.tombstone(b"never there")
    tally.vector(at(77), "hash of same", VECTOR)
    assert tally.repeated() == 5
    assert "5 outcomes" in report(tally).problems()[0]


def test_a_second_bill_is_seen_even_where_another_event_was_not_billed() -> None:
    assert report(complete(), {"hash of same": 3}).figures()["double_billed"] == 1
    assert report(complete(), {"hash of same": 3}).problems() == ["1 bills are for events that had been billed before"]


def test_a_bill_for_a_failed_job_is_one_too_many() -> None:
    tally = Tally()
    tally.input(at(0), b"k", "text")
    tally.dead_letter(Letter(at(0), Reason.CONTENT_BLOCKED, "no", "1"), "hash")
    assert tally.double_billed({"hash": 1}) == 1


def test_an_event_that_never_reached_the_topic_is_a_problem() -> None:
    assert report(complete(), fed=5).problems() == ["5 events were produced, but 4 are on the input topic"]


def test_events_that_the_demo_did_not_come_to_are_not_said_to_be_lost() -> None:
    assert report(complete(), fed=4, given=9).problems() == ["5 of 9 events were not produced: the demo had given up"]


def test_neighbours_are_the_nearest_different_texts_of_the_same_length() -> None:
    tally = Tally()
    vectors = {
        "north": [0.0, 2.0],
        "north-east": [1.0, 1.0],
        "east": [3.0, 0.0],
        "long": [1.0, 1.0, 1.0],
        "null": [0.0, 0.0],
    }
    for offset, (text, numbers) in enumerate(vectors.items()):
        tally.input(at(offset), b"%d" % offset, text)
        tally.vector(at(offset), text, array("f", numbers))
    tally.input(at(9), b"9", "north")
    tally.vector(at(9), "north", array("f", [0.0, 1.0]))
    one = neighbours(tally, skip=[b"4"], texts=1, each=5)[0]
    assert one.text in {"north", "east", "north-east"}
    found = {found.text: found.nearest for found in neighbours(tally, skip=[b"4"], texts=4)}
    assert [(round(similarity, 3), text) for similarity, text in found["north"]] == [
        (0.707, "north-east"),
        (0.0, "east"),
    ]
    assert found["long"] == []


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_no_text_is_shown_twice_however_few_there_are(count: int) -> None:
    tally = Tally()
    for offset in range(count):
        tally.input(at(offset), b"%d" % offset, f"text {offset}")
        tally.vector(at(offset), f"{offset}", array("f", [1.0, offset]))
    shown = [one.text for one in neighbours(tally)]
    assert len(shown) == len(set(shown)) == min(3, count)


def test_texts_are_shown_on_one_line_without_control_characters() -> None:
    assert cut("a\n b\x1b[31m\u202e", 20) == "a b\ufffd[31m\ufffd"
    assert cut("x" * 30, 10) == "x" * 9 + "…"


def test_of_a_vector_the_numbers_are_shown_that_say_most() -> None:
    assert largest([0.5, -0.75, 0.0, 0.25]) == "-0.750 at 1, +0.500 at 0, +0.250 at 3"
    assert largest([0.5]) == "+0.500 at 0"


@pytest.mark.parametrize("width", [50, 60, 80])
def test_what_is_too_long_for_the_terminal_ends_in_an_ellipsis(width: int) -> None:
    tally = Tally()
    for offset in range(2):
        tally.input(at(offset), b"%d" % offset, f"{offset} " + "word " * 40)
        tally.vector(at(offset), f"{offset}", array("f", [-0.5] * 3072))
    stream = io.StringIO()
    report(tally, fed=2).show(Console(width=width, file=stream))
    shown = [line.rstrip() for line in stream.getvalue().splitlines() if " word" in line or " numbers" in line]
    assert len(shown) == 6
    assert all(len(line) <= width and line.endswith(("…", " at 2")) for line in shown)


def test_the_sample_holds_what_the_readme_promises() -> None:
    events = sample_events()
    assert len({event.key for event in events}) == len(events) > 60
    assert sum(event.value is None for event in events) == 2
    assert max(len(event.value or b"") for event in events) > 65536


async def test_the_feeder_waits_until_outcomes_are_read() -> None:
    with EmbeddedBroker() as broker:
        servers = broker.start()
        broker.create_topic("texts", 1)
        feeder = DemoFeeder(servers, "texts", dimensions=WINDOW_BYTES // 8)
        events = [DemoEvent(b"%d" % number, b"value") for number in range(3)]
        assert 1 < WINDOW_BYTES / feeder.cost(events[0]) < 2
        feeding = asyncio.create_task(feeder.feed(events))
        for key in (b"0", b"1"):
            done, _ = await asyncio.wait([feeding], timeout=0.2)
            assert not done
            assert feeder.fed == int(key) + 1
            feeder.ended(key)
        await asyncio.wait_for(feeding, SECONDS)


async def test_records_that_the_broker_dropped_before_they_were_read_are_noticed() -> None:
    topics = TopicsSettings()
    with EmbeddedBroker() as broker:
        servers = broker.start()
        for name in (*topics.input, topics.output, topics.dead_letter):
            broker.create_topic(name, 1)
        producer = Producer({"bootstrap.servers": servers, "batch.num.messages": 1, "message.max.bytes": 2_000_000})
        for number in range(10):
            producer.produce("texts", key=b"%d" % number, value=b"x" * 900_000)
            assert producer.flush(SECONDS) == 0
        tally = Tally()
        reader = DemoReader(servers, topics, 1, tally, lambda _: None)
        try:
            await asyncio.wait_for(reader.finish(), SECONDS)
        finally:
            await reader.close()
        assert tally.unread > 0
        assert tally.unread + len(tally.inputs) == 10


def test_avro_of_another_schema_is_not_decoded() -> None:
    assert Avro("embedding.avsc").decode(Avro("text_event.avsc").encode({"text": "a"})) is None


@pytest.mark.parametrize("fields", [{"text": "a"}, {"text": "a", "id": "b", "metadata": {"c": "d"}}])
def test_avro_comes_back_as_written(fields: dict[str, object]) -> None:
    schema = Avro("text_event.avsc")
    decoded = schema.decode(schema.encode(fields))
    assert decoded is not None
    assert decoded | fields == decoded  # type: ignore[operator]
