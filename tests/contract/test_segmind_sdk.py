"""Segmind's own SDK runs against the emulator, pointed there by its public `base_url` alone.

The SDK blocks, so it runs in a thread while the emulator serves from the test's event loop.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from worker.emulator.config import EmulatorConfig
from worker.emulator.server import Emulator

segmind = pytest.importorskip("segmind")

MODEL = "gemini-embedding-001"


class Sdk:
    """The SDK's client and the emulator it talks to."""

    def __init__(self, emulator: Emulator, url: str) -> None:
        self.emulator = emulator
        self.client = segmind.SegmindClient(api_key="SG_0123456789abcdef", base_url=f"{url}/v1")

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(function, *args, **kwargs)

    async def submit(self, text: str) -> Any:
        return await self.call(self.client.submit_async, MODEL, input=text)


@pytest.fixture
async def sdk() -> AsyncIterator[Sdk]:
    emulator = Emulator(EmulatorConfig(latency="constant:0.05", api_keys=("SG_0123456789abcdef",)))
    sdk = Sdk(emulator, await emulator.start())
    yield sdk
    sdk.client._client.close()  # the SDK has no public way to end its connections
    await emulator.close()


async def test_run_gives_a_vector(sdk: Sdk) -> None:
    sdk.emulator.reconfigure(latency="constant:0")
    body = await sdk.call(sdk.client.run, MODEL, input="hello", output_dimensionality=768)
    assert body["status"] == "COMPLETED"
    assert len(body["output"]) == 768
    assert math.isclose(math.hypot(*body["output"]), 1.0, abs_tol=1e-6)
    assert body["metrics"]["cost"] == 0.000033


async def test_submit_then_wait_polls_to_the_end(sdk: Sdk) -> None:
    job = await sdk.submit("hello")
    assert (await sdk.call(job.status))["status"] in ("QUEUED", "PROCESSING")
    body = await sdk.call(job.wait, timeout=10, interval=0.02)
    assert len(body["output"]) == 3072
    assert sdk.emulator.stats()["bills"] == 1


async def test_the_running_states_are_seen_in_order(sdk: Sdk) -> None:
    job = await sdk.submit("[[slow:2]] hello")
    seen = []
    async with asyncio.timeout(10):
        while "COMPLETED" not in seen:
            seen.append((await sdk.call(job.status))["status"])
    assert list(dict.fromkeys(seen)) == ["QUEUED", "PROCESSING", "COMPLETED"]


async def test_a_failed_job_is_its_inference_failed(sdk: Sdk) -> None:
    job = await sdk.submit("[[block]] hello")
    with pytest.raises(segmind.InferenceFailed) as caught:
        await sdk.call(job.wait, timeout=10, interval=0.02)
    assert "safety filters" in caught.value.detail
    assert caught.value.status_body["status"] == "FAILED"
    assert (await sdk.call(job.result))["status"] == "FAILED"
    assert sdk.emulator.stats()["bills"] == 0


async def test_a_hanging_job_is_its_timeout(sdk: Sdk) -> None:
    job = await sdk.submit("[[hang]] hello")
    with pytest.raises(segmind.InferenceTimeout) as caught:
        await sdk.call(job.wait, timeout=0.1, interval=0.02)
    assert caught.value.request_id == job.request_id


async def test_an_expired_job_is_its_404(sdk: Sdk) -> None:
    job = await sdk.submit("hello")
    sdk.emulator.reconfigure(retention_seconds=0)
    with pytest.raises(segmind.SegmindError) as caught:
        await sdk.call(job.result)
    assert (caught.value.status, caught.value.detail) == (404, f"Request {job.request_id} not found")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"api_keys": ["SG_other"]}, 401),
        ({"forbidden_models": [MODEL]}, 403),
        ({"models": []}, 404),
        ({"credits": 0}, 406),
        ({"retired_models": [MODEL]}, 410),
        ({"error_rate": 1.0}, None),
    ],
)
async def test_refusals_are_its_errors_with_the_status(sdk: Sdk, changes: dict[str, Any], status: int | None) -> None:
    sdk.emulator.reconfigure(**changes)
    with pytest.raises(segmind.SegmindError) as caught:
        await sdk.submit("hello")
    assert caught.value.status == status or (status is None and caught.value.status in (500, 502, 504))


async def test_the_rate_limit_is_its_error_429(sdk: Sdk) -> None:
    sdk.emulator.reconfigure(requests_per_minute=1)
    job = await sdk.submit("hello")
    with pytest.raises(segmind.SegmindError) as caught:
        await sdk.call(job.status)
    assert caught.value.status == 429
