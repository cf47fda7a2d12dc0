"""The status port as HTTP."""

import json
from dataclasses import asdict

import aiohttp

from worker.adapters.status import StatusServer
from worker.commands.run import Probes
from worker.notices import Spend


async def test_what_is_spent_is_json_with_null_for_what_is_not_known() -> None:
    spend = Spend(spent_this_hour=0.5, remaining_credits=None, unknown_costs=3)
    server = StatusServer("127.0.0.1", 0, live=lambda: (), ready=lambda: (), spend=lambda: asdict(spend))
    await server.start()
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{server.port}/spend") as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
            found = json.loads(await answer.text())
    finally:
        await server.close()
    assert found == asdict(spend)
    assert (found["spent_this_hour"], found["remaining_credits"], found["runway_hours"]) == (0.5, None, None)


def test_before_there_is_a_worker_nothing_is_known_of_what_is_spent() -> None:
    assert {name for name, figure in Probes().spend().items() if figure is not None} == {"unknown_costs"}
