"""The API adapter on a scripted transport: every answer and every exception becomes what the port promises."""

import asyncio
import base64
import gzip
import inspect
import json
import math
import traceback
from collections.abc import Callable, Iterator
from typing import Any, cast

import aiohttp
import httpx
import pytest

from tests.fakes.http import ChunkStream, ScriptedTransport, Step
from worker.adapters.http_transport import as_httpx
from worker.adapters.segmind import SegmindApi
from worker.core.http_body import LARGEST_BODY, decompressed
from worker.errors import ApiError, ConfigurationError, JobFailed, ProtocolError, Refused, Unanswered
from worker.model import Completed, Credits, EmbedRequest, JobState, Metrics
from worker.settings.sections import ApiSettings

KEY = "SG_0123456789abcdef"
ID = "0f9d3f9e-1d0c-4c5a-9d24-3a1f6c2b7d11"
TEXT = EmbedRequest("hello", None, None)
NOW = 1_800_000_000.0


def api_on(
    transport: httpx.AsyncBaseTransport, read_key: Callable[[], str] = lambda: KEY, **settings: Any
) -> SegmindApi:
    return SegmindApi(ApiSettings(**settings), read_key, transport, lambda: NOW)


def scripted(*steps: Step, **settings: Any) -> tuple[SegmindApi, ScriptedTransport]:
    transport = ScriptedTransport(*steps)
    return api_on(transport, **settings), transport


def answer(code: int = 200, /, **body: Any) -> httpx.Response:
    return httpx.Response(code, json=body)


# What is sent


async def test_a_submit_posts_the_text_with_what_was_asked_for_and_nothing_else() -> None:
    api, transport = scripted(
        answer(request_id=ID), answer(request_id=ID), extra={"note": "x", "seed": 7}, text_field="prompt"
    )
    assert await api.submit(TEXT) == ID
    await api.submit(EmbedRequest("hi", "CLUSTERING", 768))
    first, second = transport.requests
    assert (first.method, str(first.url)) == ("POST", "https://api.segmind.com/v2/gemini-embedding-001")
    assert json.loads(first.content) == {"note": "x", "seed": 7, "prompt": "hello"}
    assert json.loads(second.content) == {
        "note": "x",
        "seed": 7,
        "prompt": "hi",
        "task_type": "CLUSTERING",
        "output_dimensionality": 768,
    }
    assert first.headers["x-api-key"] == KEY
    assert first.headers["content-type"] == "application/json"
    assert first.headers["host"] == "api.segmind.com"


async def test_every_url_is_the_configured_base_and_the_request_id_whatever_an_answer_says() -> None:
    elsewhere = {
        "status_url": "http://evil.test/",
        "response_url": "http://evil.test/",
        "poll_url": "http://evil.test/",
    }
    api, transport = scripted(
        answer(request_id=ID, **elsewhere),
        answer(status="QUEUED", **elsewhere),
        answer(status="COMPLETED", output=[1.0], **elsewhere),
        answer(credits=1, **{"free-credits": 2}),
        base_url="http://127.0.0.1:8080/proxy/segmind/",
    )
    job = await api.submit(TEXT)
    await api.status(job)
    await api.result(job)
    await api.credits()
    base = "http://127.0.0.1:8080/proxy/segmind"
    assert [str(request.url) for request in transport.requests] == [
        f"{base}/v2/gemini-embedding-001",
        f"{base}/v2/requests/{ID}/status",
        f"{base}/v2/requests/{ID}",
        f"{base}/v1/get-user-credits",
    ]


async def test_a_post_waits_at_most_half_a_second_for_a_connection_and_every_request_is_bounded() -> None:
    api, transport = scripted(answer(request_id=ID), answer(status="QUEUED"), timeout=30)
    await api.submit(TEXT)
    await api.status(ID)
    post, get = (request.extensions["timeout"] for request in transport.requests)
    assert post["connect"] == post["pool"] == 0.5
    assert 0 < get["connect"] <= 30
    assert 0 < get["pool"] <= 30


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
async def test_a_text_that_json_cannot_hold_is_refused_without_being_sent(text: str) -> None:
    api, transport = scripted()
    with pytest.raises(Refused) as caught:
        await api.submit(EmbedRequest(text, None, None))
    assert caught.value.status == 400
    assert transport.requests == []


@pytest.mark.parametrize("request_id", ["", "..", ".", "a/b", "a b", "a?b", "a%2fb", "é", "x" * 129, "a\r\nb"])
async def test_an_id_that_would_change_the_url_is_never_asked_for(request_id: str) -> None:
    api, transport = scripted()
    for call in (api.status, api.result):
        with pytest.raises(ProtocolError):
            await call(request_id)
    assert transport.requests == []


# Answers to a submit


@pytest.mark.parametrize("value", [None, 7, "", "..", "a/../b", "a\nb", "x" * 129, ["a"], KEY, "é"])
async def test_a_submit_whose_request_id_is_unusable_is_a_protocol_error(value: object) -> None:
    api, _ = scripted(answer(request_id=value), answer(status="QUEUED"))
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            await api.submit(TEXT)
        assert caught.value.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'"x"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"request_id":' + b"9" * 5000 + b"}",
        b'{"request_id":"\\ud800"}',
        b"\xff\xfe{}",
        b"NaN",
    ],
)
async def test_a_hostile_body_is_a_protocol_error_in_every_call(body: bytes) -> None:
    api, transport = scripted()
    for call in (lambda: api.submit(TEXT), lambda: api.status(ID), lambda: api.result(ID), api.credits):
        transport.then(httpx.Response(200, content=body))
        with pytest.raises(ProtocolError):
            await call()


async def test_another_success_than_200_is_read_like_200_because_the_job_may_be_billed() -> None:
    api, _ = scripted(answer(202, request_id=ID), answer(202, status="PROCESSING"), httpx.Response(204))
    assert await api.submit(TEXT) == ID
    assert await api.result(ID) is JobState.PROCESSING
    with pytest.raises(ProtocolError):
        await api.status(ID)


# Answers about a job


@pytest.mark.parametrize("state", [*JobState, "queued", "Processing"])
async def test_the_state_of_a_job_is_read_in_any_case(state: str) -> None:
    api, _ = scripted(answer(status=state))
    assert await api.status(ID) is JobState(state.upper())


@pytest.mark.parametrize("state", [None, 3, "", "IN_QUEUE", "DONE", ["QUEUED"], {"a": 1}])
async def test_an_unknown_state_is_a_protocol_error(state: object) -> None:
    api, transport = scripted(answer(status=state))
    with pytest.raises(ProtocolError):
        await api.status(ID)
    transport.then(answer(status=state, output=[1.0]))
    with pytest.raises(ProtocolError):
        await api.result(ID)


async def test_a_completed_result_carries_output_and_the_metrics_that_are_numbers() -> None:
    said = {"inference_time": 0.5, "queue_time": True, "total_time": "1", "cost": 1, "remaining_credits": None}
    api, _ = scripted(answer(status="COMPLETED", output={"values": [1, 2]}, metrics=said))
    done = await api.result(ID)
    assert done == Completed({"values": [1, 2]}, Metrics(inference_time=0.5, cost=1.0))


@pytest.mark.parametrize("said", [None, 3, [], "x", {"cost": math.inf}, {"cost": {}}])
async def test_strange_metrics_are_no_metrics(said: object) -> None:
    body = json.dumps({"status": "FAILED", "error": "e", "metrics": said}).replace("Infinity", "1e308")
    api, _ = scripted(httpx.Response(422, content=body))
    with pytest.raises(JobFailed) as caught:
        await api.status(ID)
    assert caught.value.metrics in (Metrics(), Metrics(cost=1e308))


async def test_a_running_job_answers_the_result_call_with_its_state() -> None:
    api, _ = scripted(answer(status="QUEUED"))
    assert await api.result(ID) is JobState.QUEUED


async def test_completed_without_output_is_a_protocol_error_but_an_output_of_null_is_not() -> None:
    api, _ = scripted(answer(status="COMPLETED"), answer(status="COMPLETED", output=None))
    with pytest.raises(ProtocolError):
        await api.result(ID)
    assert await api.result(ID) == Completed(None, Metrics())


@pytest.mark.parametrize("status", [200, 422])
async def test_failed_is_a_failed_job_with_its_reason_and_metrics(status: int) -> None:
    body = {"status": "FAILED", "error": "blocked by safety", "metrics": {"total_time": 0.7}}
    api, _ = scripted(answer(status, **body), answer(status, **body))
    for call in (api.status, api.result):
        with pytest.raises(JobFailed) as caught:
            await call(ID)
        assert caught.value.message == "blocked by safety"
        assert caught.value.metrics == Metrics(total_time=0.7)


@pytest.mark.parametrize("error", [None, 7, [[]], {}, {"message": 5}])
async def test_a_failed_job_without_a_text_still_has_a_message(error: object) -> None:
    api, _ = scripted(answer(422, status="FAILED", error=error))
    with pytest.raises(JobFailed, match="no reason"):
        await api.status(ID)


async def test_a_422_without_failed_and_a_422_to_a_submit_are_refusals() -> None:
    api, _ = scripted(answer(422, error="x"), answer(422, status="FAILED", error="y"))
    with pytest.raises(Refused):
        await api.status(ID)
    with pytest.raises(Refused, match="y"):
        await api.submit(TEXT)


async def test_the_credits_are_read_and_must_be_numbers() -> None:
    api, _ = scripted(answer(credits=9.5, **{"free-credits": 1}), answer(credits="9"), answer(credits=True))
    assert await api.credits() == Credits(9.5, 1.0)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            await api.credits()


# Refusals


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 410, 418, 500, 502, 504, 599])
async def test_a_refusal_keeps_status_and_message_and_knows_the_envelope(status: int) -> None:
    api, _ = scripted(
        answer(status, error="one"),
        answer(status, error="code", error_description="two", status_code=status),
        httpx.Response(status, content=b"<html>\n three </html>"),
        httpx.Response(status, json={"detail": "four"}),
        httpx.Response(status, content=b"\xff" * 5000),
    )
    seen = []
    for _ in range(5):
        with pytest.raises(Refused) as caught:
            await api.status(ID)
        assert caught.value.status == status
        assert len(caught.value.message.encode()) <= 1024
        seen.append((caught.value.message, caught.value.is_json))
    assert seen[:4] == [("one", True), ("two", True), ("<html> three </html>", False), ('{"detail":"four"}', False)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_refusal_that_says_where_it_pointed(status: int) -> None:
    api, transport = scripted(httpx.Response(status, headers={"location": "https://elsewhere.test/"}))
    with pytest.raises(Refused, match=r"elsewhere\.test"):
        await api.submit(TEXT)
    assert len(transport.requests) == 1


async def test_a_429_tells_when_the_limit_opens_again_by_the_local_clock() -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"  # 1704067200: years behind the local clock
    headers = {"x-rate-limit-reset-at-utc": "1704067230", "date": date}
    api, _ = scripted(
        httpx.Response(429, headers=headers, json={"error": "slow down"}),
        httpx.Response(429, json={"error": "slow down"}),
        httpx.Response(429, headers={"x-rate-limit-reset-at-utc": "soon"}),
        httpx.Response(503, headers=headers),
    )
    seen = []
    for _ in range(4):
        with pytest.raises(Refused) as caught:
            await api.submit(TEXT)
        seen.append(caught.value.reset_at)
    assert seen == [NOW + 30, None, None, None]


# No answer


def httpx_errors() -> Iterator[type[Exception]]:
    for _, kind in inspect.getmembers(httpx, inspect.isclass):
        if issubclass(kind, Exception):
            yield kind


def aiohttp_errors() -> Iterator[type[aiohttp.ClientError]]:
    for _, kind in inspect.getmembers(aiohttp, inspect.isclass):
        if issubclass(kind, aiohttp.ClientError):
            yield kind


def build(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)  # many constructors want objects that do not matter here
    error.args = ("boom",)
    return error


UNSENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}


@pytest.mark.parametrize("kind", [*httpx_errors()])
async def test_every_exception_of_httpx_is_unanswered_and_unsent_only_where_it_surely_is(kind: type[Exception]) -> None:
    api, transport = scripted(build(kind))
    with pytest.raises(Unanswered) as caught:
        await api.submit(TEXT)
    assert caught.value.sent is (kind.__name__ not in UNSENT)
    transport.then(httpx.Response(200, stream=ChunkStream(b'{"request_id"', 1, httpx.ReadError("cut"))))
    with pytest.raises(Unanswered) as caught:
        await api.submit(TEXT)
    assert caught.value.sent


@pytest.mark.parametrize("kind", [*aiohttp_errors()])
def test_the_transport_says_of_every_exception_of_aiohttp_whether_the_request_can_have_been_sent(
    kind: type[aiohttp.ClientError],
) -> None:
    unsent = issubclass(
        kind, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
    )
    error = as_httpx(cast("aiohttp.ClientError", build(kind)))
    assert isinstance(error, httpx.ConnectError) is unsent
    assert isinstance(error, httpx.TransportError)


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "x"),
        ConnectionResetError(),
        TimeoutError(),
        UnicodeError(),
        ValueError(),
        RuntimeError(),
        MemoryError(),
    ],
)
async def test_any_other_exception_is_unanswered_and_counts_as_sent(error: Exception) -> None:
    api, _ = scripted(error)
    with pytest.raises(Unanswered) as caught:
        await api.submit(TEXT)
    assert caught.value.sent


async def test_a_cancellation_passes_through() -> None:
    api, _ = scripted(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await api.submit(TEXT)


async def test_a_body_without_end_is_read_to_16_megabytes_only() -> None:
    stream = ChunkStream(b" " * 65_536, times=1_000_000)
    api, _ = scripted(httpx.Response(200, stream=stream))
    with pytest.raises(ProtocolError):
        await api.result(ID)
    assert stream.given <= 258
    assert stream.closed


async def test_an_endless_error_page_is_still_a_refusal() -> None:
    api, _ = scripted(httpx.Response(502, stream=ChunkStream(b"x" * 65_536, times=1_000_000)))
    with pytest.raises(Refused) as caught:
        await api.result(ID)
    assert len(caught.value.message) == 1024


async def test_a_compressed_answer_is_read_and_a_bomb_is_not() -> None:
    headers = {"content-encoding": "gzip"}
    good, bomb = gzip.compress(b'{"status":"QUEUED"}'), gzip.compress(bytes(64 * 1024 * 1024))
    api, transport = scripted(httpx.Response(200, headers=headers, stream=ChunkStream(good)))
    assert await api.status(ID) is JobState.QUEUED
    for raw, encoding in ((bomb, "gzip"), (good[:-9], "gzip"), (b"no", "gzip"), (good, "br"), (good, "gzip, gzip")):
        transport.then(httpx.Response(200, headers={"content-encoding": encoding}, stream=ChunkStream(raw)))
        with pytest.raises(ProtocolError):
            await api.status(ID)


def test_a_bomb_is_unpacked_to_16_megabytes_only() -> None:
    plain, whole = decompressed(gzip.compress(bytes(LARGEST_BODY + 1)), "gzip")
    assert (len(plain), whole) == (LARGEST_BODY, False)
    assert decompressed(gzip.compress(bytes(1000)), " GZIP ") == (bytes(1000), True)


async def test_after_close_nothing_is_sent_and_the_transport_is_closed_once() -> None:
    api, transport = scripted()
    await api.close()
    await api.close()
    with pytest.raises(Unanswered) as caught:
        await api.submit(TEXT)
    assert not caught.value.sent
    assert (transport.closed, transport.requests) == (1, [])


# The key


def forms_of_the_key() -> list[str]:
    plain = KEY.encode()
    return [
        KEY,
        KEY.lower(),
        base64.b64encode(plain).decode(),
        base64.b64encode(b"x" + plain).decode(),
        base64.b64encode(b"user:" + plain + b"!").decode(),
        "".join(f"%{byte:02X}" for byte in plain),
        plain.hex(),
    ]


@pytest.mark.parametrize("form", forms_of_the_key())
async def test_the_key_is_taken_out_of_whatever_a_server_or_a_library_says(form: str) -> None:
    api, transport = scripted()
    said = f"bad key {form} indeed"
    steps: list[Step] = [
        answer(401, error=said),
        answer(401, error="x", error_description=said),
        httpx.Response(502, content=said),
        httpx.Response(302, headers={"location": f"https://x.test/?k={form}"}),
        answer(422, status="FAILED", error=said),
        answer(200, status=f"s {form}"),
        httpx.Response(500, content="x" * 65_525 + form + "y"),
        httpx.ReadError(said),
        RuntimeError(said),
        aiohttp.ClientPayloadError(said),
    ]
    core = form.lower()[4:-4]
    for step in steps:
        transport.then(step)
        with pytest.raises(ApiError) as caught:
            await api.status(ID)
        assert core not in f"{caught.value!s} {caught.value!r} {vars(caught.value)}".lower()
    assert "[redacted]" in str(caught.value)


async def test_no_error_brings_the_request_or_its_headers_along() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError(f"failed with {request.headers['x-api-key']}", request=request)

    api, transport = scripted(fail, answer(500, error="x"), answer(request_id=None))
    for _ in range(3):
        with pytest.raises(ApiError) as caught:
            await api.submit(TEXT)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        frames = [
            frame
            for frame in traceback.walk_tb(caught.value.__traceback__)
            if "/tests/" not in frame[0].f_code.co_filename
        ]
        assert all(KEY not in repr(value) for frame, _ in frames for value in frame.f_locals.values())
    assert KEY not in repr(api)
    assert len(transport.requests) == 3


@pytest.mark.parametrize("key", ["", "SG_\n1", "SG_1\n", "SG_1\r\nx-admin: 1", "SG 1", "SG_é", "\x00", "x" * 5000])
def test_an_unusable_key_is_a_configuration_error_that_does_not_show_it(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        api_on(ScriptedTransport(), lambda: key)
    assert not key or key not in str(caught.value)


def test_a_key_that_cannot_be_read_is_a_configuration_error() -> None:
    def read() -> str:
        raise PermissionError(13, "SG_secret")

    with pytest.raises(ConfigurationError) as caught:
        api_on(ScriptedTransport(), read)
    assert "SG_secret" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_after_a_401_the_key_is_read_again_and_only_then() -> None:
    keys = iter([KEY, "SG_new", "SG_newest"])
    transport = ScriptedTransport(
        *(answer(status, status="QUEUED", error=f"not {KEY}") for status in (200, 401, 200, 200))
    )
    api = api_on(transport, lambda: next(keys))
    await api.status(ID)
    with pytest.raises(Refused) as caught:
        await api.status(ID)
    assert KEY not in str(caught.value)
    await api.status(ID)
    await api.status(ID)
    assert [request.headers["x-api-key"] for request in transport.requests] == [KEY, KEY, "SG_new", "SG_new"]


async def test_a_rotation_that_fails_keeps_the_old_key_and_says_so() -> None:
    keys = iter([KEY, "SG\nbroken", "SG_good"])
    transport = ScriptedTransport(answer(401, error="no"), answer(401, error="no"), answer(status="QUEUED"))
    api = api_on(transport, lambda: next(keys))
    with pytest.raises(Refused) as caught:
        await api.status(ID)
    assert caught.value.message == "no"
    with pytest.raises(Refused, match="line ends"):
        await api.status(ID)
    await api.status(ID)
    assert [request.headers["x-api-key"] for request in transport.requests] == [KEY, KEY, "SG_good"]


async def test_late_401s_to_an_old_key_do_not_have_the_new_one_read_again() -> None:
    reads = []

    def read() -> str:
        reads.append(1)
        return f"SG_key{len(reads)}"

    release = asyncio.Event()

    class Slow(ScriptedTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if len(self.requests) == 1:
                await release.wait()
            return response

    api = api_on(
        Slow(answer(401, error="bad SG_key1"), answer(401), answer(status="QUEUED"), answer(status="QUEUED")), read
    )
    late = asyncio.create_task(api.status(ID))
    await asyncio.sleep(0)
    with pytest.raises(Refused):
        await api.status(ID)
    await api.status(ID)
    release.set()
    with pytest.raises(Refused) as caught:
        await late
    assert "SG_key1" not in caught.value.message  # the old key, quoted by the late answer
    await api.status(ID)
    assert len(reads) == 2


# Settings


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.segmind.com",
        "ftp://api.segmind.com",
        "https://",
        "https:///x",
        "https://user:pw-secret@host",
        "https://host?x=1",
        "https://host?",
        "https://host#",
        "https://host:99999",
        "https://host:0",
        "https://ho st",
        "https://host\\evil",
        "https://host/../x",
        "https://host/%2e%2e/x",
        "https://host/\nx",
        "https://hôst",
        "https://[::1",
    ],
)
def test_a_base_url_that_is_not_an_origin_with_a_path_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SegmindApi(ApiSettings.model_construct(base_url=url), lambda: KEY, ScriptedTransport(), lambda: NOW)
    assert "pw-secret" not in str(caught.value)
