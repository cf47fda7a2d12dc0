"""The status port as HTTP, and what the log says of the same."""

import io
import json
import socket
from dataclasses import asdict

import aiohttp
import pytest

from worker.adapters.status import StatusServer
from worker.adapters.telemetry import LogObserver, open_log
from worker.commands.run import Probes
from worker.errors import StartError
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


@pytest.mark.parametrize(
    ("host", "port", "setting"),
    [("host.invalid", 0, "WORKER_STATUS__HOST"), ("127.0.0.1", None, "WORKER_STATUS__PORT")],
)
async def test_an_address_that_cannot_be_opened_names_the_setting_at_fault(
    host: str, port: int | None, setting: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1] if port is None else port
        with pytest.raises(StartError, match=setting):
            await StatusServer(host, wanted, live=tuple, ready=tuple, spend=dict).start()


def test_before_there_is_a_worker_nothing_is_known_of_what_is_spent() -> None:
    assert {name for name, figure in Probes().spend().items() if figure is not None} == {"unknown_costs"}


def test_what_is_spent_is_a_log_line_without_what_is_not_known() -> None:
    stream = io.StringIO()
    notice = Spend(spent_this_hour=0.1234567, share=0.5, unknown_costs=3)
    LogObserver(open_log("info", json_lines=True, stream=stream)).notice(notice)
    line = json.loads(stream.getvalue())
    del line["timestamp"]
    told = {"spent_this_hour": 0.123457, "share": 0.5, "unknown_costs": 3}
    assert line == {"event": "spend", "level": "info", **told}
