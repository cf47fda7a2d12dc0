"""What hostile answers cost in memory: a bound while they come, and nothing afterwards."""

import tracemalloc

import httpx

from tests.fuzz.house import HostileHouse, in_hostile_house, raw_answer
from tests.integration.events import encoded
from worker.core.http_body import LARGEST_BODY

DEEP = b"[" * 2_000_000
HUGE = b'{"error": "' + b"x" * (2 * LARGEST_BODY) + b'"}'
MEBIBYTE = 1_048_576
RECORDS = 20


def test_huge_and_deep_answers_are_read_up_to_a_bound_and_leave_nothing_behind() -> None:
    async def test(house: HostileHouse) -> None:
        bodies = (HUGE, DEEP, HUGE[: LARGEST_BODY // 2])

        async def respond(request: httpx.Request) -> httpx.Response:
            body = bodies[house.web.requests % len(bodies)]
            return raw_answer((200, 500, 400)[house.web.requests % 3], [(b"x-long", b"y" * 60_000)], body)

        for number in range(RECORDS):
            house.broker.publish("texts", f"k{number}".encode(), encoded(f"text {number}"))
        house.web.hostile = respond
        house.start()
        await house.clock.sleep(60.0)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        try:
            await house.clock.sleep(1800.0)
            left, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert house.web.requests > 50
        assert left - before < 4 * MEBIBYTE, "the log of this test, and no bodies"
        assert peak - before < (RECORDS + 4) * LARGEST_BODY, "a body for each call under way"
        house.web.hostile = None
        await house.until_all_is_done(house.workers[-1].worker, 3600.0)
        assert set(house.endings().values()) == {1}

    in_hostile_house(test)
