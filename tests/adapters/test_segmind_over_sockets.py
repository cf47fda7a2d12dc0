"""The API adapter with its real transport against servers on the loopback that misbehave on the wire."""

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from worker.adapters.http_transport import open_transport
from worker.adapters.segmind import SegmindApi
from worker.errors import ConfigurationError, JobFailed, ProtocolError, Refused, Unanswered
from worker.model import Completed, EmbedRequest, JobState
from worker.settings.sections import ApiSettings

KEY = "SG_0123456789abcdef"
ID = "0f9d3f9e-1d0c-4c5a-9d24-3a1f6c2b7d11"
TEXT = EmbedRequest("hello", None, None)
ACCEPTED = b'{"request_id": "%s"}' % ID.encode()

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Hands each request (head and body) to a handler; a connection stays open until the handler closes it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.requests.append(head + body)
                self.asked.set()
                await self._handler(head + body, writer)
                await writer.drain()
        writer.close()
        self._tasks.discard(task)

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    server = Server(handler)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        await server.stop()


@contextlib.asynccontextmanager
async def client(url: str, **settings: Any) -> AsyncIterator[SegmindApi]:
    chosen = ApiSettings(**{"base_url": url, "timeout": 5, **settings})
    api = SegmindApi(chosen, lambda: KEY, open_transport(chosen), lambda: 0.0)
    try:
        yield api
    finally:
        await api.close()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def saying(*answers: bytes) -> Handler:
    """Each answer once, the last one for ever."""
    left = list(answers)

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return handler


async def reset(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def silent(request: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_the_three_calls_work_on_one_kept_connection_without_cookies_or_compression() -> None:
    answers = saying(
        http(ACCEPTED, "200 OK", "set-cookie: a=b"),
        http(b'{"status": "COMPLETED"}'),
        http(b'{"status": "COMPLETED", "output": [1.0]}'),
        http(b'{"status": "FAILED", "error": "x"}', "422 Unprocessable"),
    )
    async with serving(answers) as server, client(server.url) as api:
        assert await api.submit(TEXT) == ID
        assert await api.status(ID) is JobState.COMPLETED
        result = await api.result(ID)
        assert isinstance(result, Completed)
        assert result.output == [1.0]
        with pytest.raises(JobFailed):
            await api.status(ID)
    assert server.connections == 1
    for request in server.requests:
        assert request.count(f"x-api-key: {KEY}\r\n".encode()) == 1
        assert request.lower().count(b"\r\nhost: ") == 1
        assert b"accept-encoding: identity\r\n" in request
        assert b"cookie" not in request.lower()
    assert server.requests[0].endswith(b'\r\n\r\n{"input":"hello"}')


async def test_a_reset_before_the_answer_may_have_been_carried_out() -> None:
    async with serving(reset) as server, client(server.url) as api:
        with pytest.raises(Unanswered) as caught:
            await api.submit(TEXT)
        assert caught.value.sent
        assert len(server.requests) == 1


async def test_a_reset_in_the_middle_of_the_body_may_have_been_carried_out() -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(ACCEPTED)[:-5])
        await writer.drain()
        writer.close()

    async with serving(handler) as server, client(server.url) as api:
        with pytest.raises(Unanswered) as caught:
            await api.submit(TEXT)
        assert caught.value.sent


async def test_a_refused_connection_surely_was_not_carried_out() -> None:
    async with serving(reset) as server:
        pass
    async with client(server.url) as api:
        with pytest.raises(Unanswered) as caught:
            await api.submit(TEXT)
        assert not caught.value.sent


async def test_a_failed_tls_handshake_surely_was_not_carried_out() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with listener, client(f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as api:
        with pytest.raises(Unanswered) as caught:
            await api.submit(TEXT)
    assert not caught.value.sent


async def test_a_post_on_a_dropped_connection_is_never_repeated_and_a_get_once() -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) in (1, 3):
            writer.write(http(ACCEPTED))
        else:
            writer.transport.abort()

    async with serving(handler) as server, client(server.url) as api:
        await api.submit(TEXT)
        with pytest.raises(Unanswered) as caught:
            await api.submit(TEXT)  # on the kept connection, which is dropped
        assert caught.value.sent
        assert len(server.requests) == 2
        await api.submit(TEXT)
        with pytest.raises(Unanswered):
            await api.status(ID)
        assert len(server.requests) == 5
        assert server.connections == 3


async def test_a_full_pool_ends_a_post_early_and_unsent() -> None:
    async with serving(silent) as server, client(server.url, connections=1, timeout=5) as api:
        hanging = asyncio.create_task(api.status(ID))
        async with asyncio.timeout(5):
            await server.asked.wait()
        started = time.monotonic()
        with pytest.raises(Unanswered) as caught:
            await api.submit(TEXT)
        assert not caught.value.sent
        assert time.monotonic() - started < 2
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
    assert len(server.requests) == 1


async def test_a_silent_server_and_a_dripping_one_end_at_the_timeout() -> None:
    async def dripping(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"x" * 1000)[:-1000])
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    for handler in (silent, dripping):
        async with serving(handler) as server, client(server.url, timeout=0.15) as api:
            with pytest.raises(Unanswered, match=r"0\.15 s") as caught:
                await api.submit(TEXT)
            assert caught.value.sent


async def test_a_redirect_takes_the_key_nowhere() -> None:
    async with serving(saying(http(b"{}"))) as thief:
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
            redirect = http(b"", status, f"location: {thief.url}/v2/x")
            async with serving(saying(redirect)) as server, client(server.url) as api:
                with pytest.raises(Refused, match="redirects are not followed"):
                    await api.submit(TEXT)
                with pytest.raises(Refused):
                    await api.result(ID)
    assert (thief.connections, thief.requests) == (0, [])


async def test_a_gzip_bomb_and_an_endless_body_are_protocol_errors() -> None:
    bomb = http(gzip.compress(bytes(64 * 1024 * 1024)), "200 OK", "content-encoding: gzip")

    async def endless(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()

    for handler in (saying(bomb), endless):
        async with serving(handler) as server, client(server.url, timeout=30) as api:
            with pytest.raises(ProtocolError):
                await api.result(ID)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: 1\r\n" % n for n in range(10_000)) + b"\r\n",
    ],
)
async def test_what_is_not_http_is_unanswered_and_brings_no_request_along(answer: bytes) -> None:
    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with serving(handler) as server, client(server.url) as api:
        with pytest.raises(Unanswered) as caught:
            await api.submit(TEXT)
    assert caught.value.sent
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert KEY not in str(caught.value)


async def test_the_environment_gives_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(saying(http(ACCEPTED))) as proxy, serving(saying(http(ACCEPTED))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with client(server.url) as api:
            await api.submit(TEXT)
    assert (proxy.connections, len(server.requests)) == (0, 1)


async def test_a_proxy_is_asked_with_its_credentials_for_a_plain_origin() -> None:
    async with serving(saying(http(ACCEPTED))) as proxy:
        address = proxy.url.replace("//", "//user:p%40ss@")
        async with client("http://api.test", proxy=address) as api:
            await api.submit(TEXT)
            await api.submit(TEXT)
    assert proxy.connections == 1
    for request in proxy.requests:
        assert request.startswith(b"POST http://api.test/v2/gemini-embedding-001 HTTP/1.1\r\n")
        assert request.count(b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n") == 1


async def test_a_proxy_never_sees_the_key_of_an_https_origin_and_its_refusal_means_unsent() -> None:
    async with serving(saying(http(b"", "407 Proxy Authentication Required"))) as proxy:
        address = proxy.url.replace("//", "//user:p%40ss@")
        async with client("https://api.test", proxy=address) as api:
            with pytest.raises(Unanswered) as caught:
                await api.submit(TEXT)
    assert not caught.value.sent
    assert "p@ss" not in str(caught.value)
    assert proxy.requests[0].startswith(b"CONNECT api.test:443 HTTP/1.1\r\n")
    assert b"proxy-authorization: basic dxnlcjpwqhnz\r\n" in proxy.requests[0].lower()
    assert KEY.encode() not in b"".join(proxy.requests)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_unusable_ca_file_is_a_configuration_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        open_transport(ApiSettings(ca_file=path))
