"""The emulator behind a real socket, in this event loop and as a process."""

import asyncio
import io
import signal
import sys
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from tests.emulator.caller import MODEL
from worker.emulator.config import EmulatorConfig
from worker.emulator.server import Emulator

HEADERS = {"x-api-key": "SG_test"}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    emulator = Emulator(EmulatorConfig(latency="constant:0"))
    yield emulator
    await emulator.close()


@pytest.fixture
async def session(emulator: Emulator) -> AsyncIterator[aiohttp.ClientSession]:
    url = await emulator.start()
    async with aiohttp.ClientSession(url, headers=HEADERS) as session:
        yield session


async def test_a_text_becomes_a_vector_over_http(session: aiohttp.ClientSession) -> None:
    async with session.post(f"/v2/{MODEL}", json={"input": "hello"}) as response:
        accepted = await response.json()
    async with session.get(accepted["response_url"]) as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        assert len((await response.json())["output"]) == 3072


async def test_the_date_follows_the_skewed_clock(emulator: Emulator, session: aiohttp.ClientSession) -> None:
    async with session.get("/v1/get-user-credits") as response:
        true = parsedate_to_datetime(response.headers["Date"])
    emulator.reconfigure(clock_skew_seconds=7200)
    async with session.get("/v1/get-user-credits") as response:
        skewed = parsedate_to_datetime(response.headers["Date"])
    assert 7190 < (skewed - true).total_seconds() < 7230


@pytest.mark.parametrize(("fault", "accepted"), [("reset_before", 0), ("reset_after", 1)])
async def test_a_reset_closes_the_connection_without_an_answer(
    emulator: Emulator, session: aiohttp.ClientSession, fault: str, accepted: int
) -> None:
    emulator.reconfigure(**{fault: 1.0})
    with pytest.raises(aiohttp.ClientConnectionError):
        await session.post(f"/v2/{MODEL}", json={"input": "hello"})
    assert emulator.stats()["submits_accepted"] == accepted
    emulator.reconfigure(**{fault: 0.0})
    async with session.post(f"/v2/{MODEL}", json={"input": "hello"}) as response:
        assert response.status == 200


async def test_a_slow_answer_is_slow_and_the_job_accepted_at_once(
    emulator: Emulator, session: aiohttp.ClientSession
) -> None:
    emulator.reconfigure(slow_rate=1.0, slow_seconds=1000.0)
    answer = asyncio.create_task(session.post(f"/v2/{MODEL}", json={"input": "hello"}))
    async with asyncio.timeout(10):
        while emulator.stats()["submits_accepted"] == 0:
            await asyncio.sleep(0.005)
    assert not answer.done()
    answer.cancel()


async def test_bodies_that_are_too_large_or_not_what_they_claim_are_refused(session: aiohttp.ClientSession) -> None:
    headers = {"content-type": "application/json"}
    async with session.post(f"/v2/{MODEL}", data=io.BytesIO(b"x" * (17 << 20)), headers=headers) as response:
        assert response.status == 413
    async with session.post(f"/v2/{MODEL}", data=io.BytesIO(b"x" * (5 << 20)), headers=headers) as response:
        assert response.status == 400
    zipped = headers | {"content-encoding": "gzip"}
    async with session.post(f"/v2/{MODEL}", data=b"not gzip", headers=zipped) as response:
        assert response.status == 400


async def test_live_changes_and_statistics_over_http(session: aiohttp.ClientSession) -> None:
    async with session.patch("/_emulator/config", json={"error_rate": 1.0, "error_statuses": [504]}) as response:
        assert response.status == 200
    async with session.post(f"/v2/{MODEL}", json={"input": "hello"}) as response:
        assert (response.status, response.content_type) == (504, "text/html")
    async with session.get("/_emulator/stats") as response:
        assert (await response.json())["faults"] == {"POST error": 1}


async def test_a_taken_port_is_an_os_error(emulator: Emulator) -> None:
    url = await emulator.start()
    with pytest.raises(OSError, match="in use"):
        await Emulator().start(port=int(url.rsplit(":", 1)[1]))


async def test_an_ipv6_address_stands_in_brackets_in_the_url(emulator: Emulator) -> None:
    try:
        url = await emulator.start("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert url.startswith("http://[::1]:")


async def test_closing_twice_does_no_harm(emulator: Emulator) -> None:
    await emulator.start()
    await emulator.close()
    await emulator.close()


async def test_the_process_prints_its_url_and_ends_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker.emulator", "--config", '{"credits": 5}', stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        first = await asyncio.wait_for(process.stdout.readline(), 20)
        url = first.decode().strip().removeprefix("url=")
        async with (
            aiohttp.ClientSession(headers=HEADERS) as session,
            session.get(url + "/v1/get-user-credits") as reply,
        ):
            assert await reply.json() == {"credits": 5.0, "free-credits": 0.0}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("config", ["{", "[]", '{"price": "dear"}', '{"prize": 1}'])
async def test_a_wrong_config_option_exits_2_with_one_line(config: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker.emulator", "--config", config, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert stderr.startswith(b"--config: ")
    assert stderr.count(b"\n") == 1
