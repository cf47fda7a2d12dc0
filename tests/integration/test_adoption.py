"""A dead letter that comes back to the input within the hour is not paid again."""

import pytest

from tests.integration.events import VECTOR, Event
from tests.integration.operator import SETTINGS, bills, texts
from tests.integration.setup import Setup


@pytest.mark.real_kafka
def test_a_dead_letter_that_any_tool_produces_again_has_its_job_polled_and_nothing_is_paid(setup: Setup) -> None:
    emulator = setup.emulator(latency="constant:15")
    events = texts(12)
    setup.produce(events)
    worker = setup.worker(emulator.wait_url(), WORKER_API__DEADLINE="2", **SETTINGS)
    setup.wait_until_counted(setup.dead_letter, 12, 30)
    assert worker.stop() == 0
    letters = setup.reader.read(setup.dead_letter)
    assert {dict(letter.headers)["dlq.reason"] for letter in letters} == {b"TIMEOUT"}
    by_key = {event.key: event for event in events}
    again = [
        Event(letter.key, letter.value, VECTOR, by_key[letter.key].text, headers=tuple(letter.headers))
        for letter in letters
    ]
    setup.produce(again)
    worker = setup.worker(emulator.wait_url(), **SETTINGS)
    setup.wait_finished()
    assert len(worker.logged("adopted")) == 12
    assert len(setup.reader.read(setup.output)) == 12
    assert bills(emulator, events) == {1: 12}
