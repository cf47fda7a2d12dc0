"""Whatever the API answers: the worker goes on or says why not, and once the API is well again every record ends, once."""

import asyncio
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.answers import ANSWERS, dumped
from tests.fuzz.house import EXAMPLES, KEY, SECRETS, Hostile, HostileHouse, in_hostile_house, raw_answer
from tests.integration.events import encoded
from worker.settings import Delivery

HOSTILE = 900.0
"""Virtual seconds for which the API is hostile: longer than jobs may take."""
HEALED = 86_400.0
"""Virtual seconds in which everything has to end after that: far above any halt's longest pause."""
SHORT = {"WORKER_API__DEADLINE": "60", "WORKER_API__TIMEOUT": "5"}

ERRORS = {
    "connect": httpx.ConnectError("refused"),
    "pool": httpx.PoolTimeout("no connection"),
    "read": httpx.ReadError("reset"),
    "protocol": httpx.RemoteProtocolError("not HTTP"),
    "bug": RuntimeError("a library's bug"),
}


def hostile(script: Sequence[Any]) -> Hostile:
    """Gives these answers in turn, for ever."""
    steps = cycle(script)

    async def respond(request: httpx.Request) -> httpx.Response:
        step = next(steps)
        if step == "hang":
            await asyncio.sleep(1e6)
        if step == "slow":
            await asyncio.sleep(4.9)
            return raw_answer(200, [], b"{}")
        if isinstance(step, str):
            raise type(ERRORS[step])(*ERRORS[step].args)
        status, headers, body = step
        return raw_answer(status, headers, body)

    return respond


async def survived(house: HostileHouse, script: Sequence[Any], records: int) -> None:
    """Work through the records while the API gives these answers, then until it is all done."""
    for number in range(records):
        house.broker.publish("texts", f"k{number}".encode(), encoded(f"text {number}"))
    house.web.hostile = hostile(script)
    worker = house.start()
    began = house.clock.monotonic()
    while house.clock.monotonic() < began + HOSTILE and house.lag():
        assert not house.workers[-1].task.done(), "the worker has ended"
        house.sentences.update(worker.not_ready())
        await house.clock.sleep(5.0)
    halted = worker._parts.gate.halted
    assert halted is None or (halted.isprintable() and 10 < len(halted) < 2000)
    house.web.hostile = None
    await house.until_all_is_done(worker, HEALED)
    assert set(house.endings().values()) == {1}
    assert len(house.endings()) == len(house.outcomes()) == records
    assert worker.in_flight == 0
    assert all(sentence.isprintable() and len(sentence) < 2000 for sentence in house.sentences)
    # a request a second or so for each record: nothing is pestered
    assert house.web.requests < 40 * HOSTILE


@pytest.mark.parametrize("delivery", list(Delivery))
@settings(EXAMPLES, max_examples=60)
@given(script=st.lists(ANSWERS, min_size=1, max_size=6))
@example(script=[(200, [], dumped({"request_id": secret})) for secret in SECRETS])
@example(script=[(200, [], dumped({"request_id": "job"})), (422, [], dumped({"status": "FAILED", "error": KEY}))])
def test_the_worker_survives_any_answers(delivery: Delivery, script: list[Any]) -> None:
    in_hostile_house(lambda house: survived(house, script, 5), delivery=delivery, environment=SHORT)


@settings(EXAMPLES, max_examples=30)
@given(script=st.lists(ANSWERS, min_size=1, max_size=3))
def test_no_answer_makes_a_submit_be_repeated_whose_fate_is_unknown(script: list[Any]) -> None:
    """In strict mode, whatever comes."""
    strict = {"WORKER_GUARANTEES__ON_UNKNOWN_SUBMIT": "dead_letter"}
    in_hostile_house(lambda house: survived(house, script, 3), environment=SHORT | strict)


@settings(EXAMPLES, max_examples=20)
@given(answer=ANSWERS)
def test_many_records_met_by_the_same_answer_end_like_few(answer: Any) -> None:
    in_hostile_house(lambda house: survived(house, [answer], 50), environment=SHORT)
