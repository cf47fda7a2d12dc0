"""Blocked texts: where their dead letters go, and what is left of the text in them."""

import hashlib
import json
from collections import deque
from typing import Any

import pytest

from tests.fakes.codec import JsonCodec
from tests.flow.harness import DEAD, INPUT, OUTPUT, House, headers_of, in_house
from worker.adapters.clock import SystemClock
from worker.errors import Rejected
from worker.model import Reason, Record, TextEvent, TopicPartition
from worker.settings import load
from worker.stages.publish import Publish

BLOCKED = "embeddings.blocked"
SECRET = "the Text of the event, wörd for wörd"
ECHO = f"Blocked by safety filters: prohibited content in '{SECRET.upper()}'"

LANE: dict[str, Any] = {"WORKER_TOPICS__CONTENT_BLOCKED": BLOCKED}
REDACT: dict[str, Any] = {"WORKER_DEAD_LETTERS__BLOCKED_TEXT": "redact"}


def letters(house: House, topic: str = DEAD) -> list[Record]:
    return list(house.broker.records(topic))


def block(house: House, text: str = SECRET) -> None:
    house.api.failures[text] = deque([ECHO])


def told(letter: Record) -> str:
    """All of a dead letter that could hold the text, as one."""
    parts = [letter.value or b"", *(value or b"" for name, value in letter.headers if name.startswith("dlq."))]
    return b"\n".join(parts).decode("utf-8", "replace").lower()


def test_a_blocked_text_has_its_own_topic_where_the_settings_name_one() -> None:
    async def test(house: House) -> None:
        house.broker.create_topic(BLOCKED, 1)
        block(house)
        for text in (SECRET, "", "fine"):
            house.produce(text, key=text or "empty")
        house.start()
        await house.until(lambda: house.lag() == 0)
        (blocked,), (other,) = letters(house, BLOCKED), letters(house, DEAD)
        assert (headers_of(blocked)["dlq.reason"], headers_of(other)["dlq.reason"]) == (
            "CONTENT_BLOCKED",
            "INVALID_EVENT",
        )
        assert json.loads(blocked.value or b"") == {"text": SECRET}
        assert "dlq.value" not in headers_of(blocked) | headers_of(other)
        assert len(house.broker.records(OUTPUT)) == 1

    in_house(test, **LANE)


def test_outcomes_of_one_key_stay_in_order_between_the_lanes() -> None:
    async def test(house: House) -> None:
        house.broker.create_topic(BLOCKED, 1)
        block(house)
        house.api.latency = 20.0
        house.produce(SECRET, key="k")
        house.start()
        await house.until(lambda: len(house.api.jobs) == 1)
        house.api.latency = 0.1
        house.produce("", key="k")
        house.produce("newer", key="k")
        await house.clock.sleep(10.0)
        assert (letters(house, BLOCKED), letters(house, DEAD), house.vectors()) == ([], [], {})
        await house.until(lambda: house.lag() == 0)
        topics = [record.source.topic for decided in house.decided if decided.committed for record in decided.records]
        assert topics == [BLOCKED, DEAD, OUTPUT]

    in_house(test, partitions=1, **LANE)


def test_a_missing_topic_for_blocked_texts_stops_nothing_else() -> None:
    async def test(house: House) -> None:
        block(house)
        for text in (SECRET, "", *map(str, range(30))):
            house.produce(text, key=text or "empty")
        worker = house.start()
        await house.clock.sleep(60.0)
        assert (len(house.broker.records(OUTPUT)), len(letters(house))) == (30, 1)
        assert BLOCKED in " ".join(worker.not_ready())
        house.broker.create_topic(BLOCKED, 1)
        await house.until(lambda: house.lag() == 0, 60.0)
        assert len(letters(house, BLOCKED)) == 1

    in_house(test, **LANE)


def test_a_redacted_dead_letter_holds_hash_and_length_in_place_of_the_text() -> None:
    async def test(house: House) -> None:
        block(house)
        headers = (("traceparent", b"00-abc"), ("dlq.value", b"forged"))
        house.broker.publish(INPUT, b"key", json.dumps({"text": SECRET, "id": "7"}).encode(), headers)
        house.start()
        await house.until(lambda: house.lag() == 0)
        (letter,) = letters(house)
        said = headers_of(letter)
        sha256 = hashlib.sha256(SECRET.encode()).hexdigest()
        assert json.loads(letter.value or b"") == {"id": "7", "text_sha256": sha256, "characters": 36, "bytes": 38}
        assert (said["dlq.value"], said["dlq.reason"], said["dlq.text_sha256"]) == (
            "redacted",
            "CONTENT_BLOCKED",
            sha256,
        )
        assert [name for name, _ in letter.headers].count("dlq.value") == 1
        assert (letter.key, letter.headers[0]) == (b"key", ("traceparent", b"00-abc"))
        assert SECRET.lower() not in told(letter)
        assert "safety" not in told(letter)

    in_house(test, **REDACT)


def test_redaction_holds_in_a_dead_letter_that_goes_without_its_value() -> None:
    async def test(house: House) -> None:
        block(house)
        house.broker.faults.max_bytes[DEAD] = 10
        house.broker.publish(INPUT, b"key", json.dumps({"text": SECRET}).encode(), (("mine", b"kept"),))
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        (letter,) = letters(house)
        said = headers_of(letter)
        assert (letter.value, said["dlq.value"], said["mine"]) == (None, "omitted", "kept")
        assert SECRET.lower() not in told(letter)

    in_house(test, **REDACT)


def test_redaction_holds_in_the_smallest_form_of_a_dead_letter() -> None:
    async def test(house: House) -> None:
        block(house)
        house.broker.faults.compacted.add(DEAD)
        house.broker.publish(INPUT, None, json.dumps({"text": SECRET}).encode(), (("mine", b"gone"),))
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        (letter,) = letters(house)
        said = headers_of(letter)
        assert (letter.key, letter.value, said["dlq.value"]) == (b"texts-0-0", None, "omitted")
        assert "mine" not in said
        assert SECRET.lower() not in told(letter)

    in_house(test, partitions=1, **REDACT)


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("event", [TextEvent("7", SECRET), None])
def test_no_form_of_a_redacted_dead_letter_holds_the_text(value: bool, headers: bool, event: TextEvent | None) -> None:
    settings = load(REDACT)
    publish = Publish(JsonCodec(), settings.topics, settings.dead_letters, "model", bytes(6), SystemClock())
    record = Record(TopicPartition(INPUT, 0), 0, -1, b"key", SECRET.encode(), (("mine", b"x"),), 1)
    rejected = Rejected(Reason.CONTENT_BLOCKED, ECHO, retryable=False)
    message = publish.dead_letter(record, rejected, event, value=value, headers=headers).message
    assert message is not None
    assert SECRET.lower() not in repr(message).lower()
    assert dict(message.headers)["dlq.value"] == (b"redacted" if value and event else b"omitted")


def test_what_is_not_blocked_is_kept_whole_while_blocked_texts_are_redacted() -> None:
    async def test(house: House) -> None:
        house.produce("x" * 70_000, key="k")
        house.start()
        await house.until(lambda: house.lag() == 0)
        (letter,) = letters(house)
        assert json.loads(letter.value or b"") == {"text": "x" * 70_000}
        assert "dlq.value" not in headers_of(letter)

    in_house(test, **REDACT)


def test_a_value_that_is_left_out_for_its_size_is_said_to_be() -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[DEAD] = 1_000_000
        house.broker.publish(INPUT, b"large", b'"' + b"x" * 5_000_000)
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        (letter,) = letters(house)
        assert (letter.value, headers_of(letter)["dlq.value"]) == (None, "omitted")

    in_house(test)


def test_the_null_of_a_tombstone_that_the_output_topic_refuses_is_not_said_to_be_left_out() -> None:
    async def test(house: House) -> None:
        house.broker.faults.max_bytes[OUTPUT] = -1
        house.produce(None, key="gone")
        house.start()
        await house.until(lambda: house.lag() == 0, 60.0)
        (letter,) = letters(house)
        assert (letter.key, letter.value) == (b"gone", None)
        assert "dlq.value" not in headers_of(letter)

    in_house(test)
