"""The emulator on a local port: aiohttp's low-level server around the pure API."""

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from aiohttp import web

from worker.core.listening import in_url
from worker.emulator.account import Account
from worker.emulator.answers import Reply, error
from worker.emulator.api import Api, Call
from worker.emulator.config import EmulatorConfig, as_json_object, reconfigured
from worker.emulator.control import PREFIX, control

_MAX_BODY_BYTES = 16 * 1024 * 1024
_SHUTDOWN_SECONDS = 1.0


class Emulator:
    """A stand-in for the Segmind v2 API, one account, in this process and event loop.

    `clock` gives seconds that never go back; everything but a `slow` fault's pause follows it. Not for use from
    several threads.
    """

    def __init__(self, config: EmulatorConfig | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._epoch = time.time() - clock()
        self._account = Account(config or EmulatorConfig(), clock())
        self._api = Api(self._account, self._utc)
        self._runner: web.ServerRunner | None = None
        self._date = (-1, "")

    @property
    def config(self) -> EmulatorConfig:
        """The configuration in force."""
        return self._account.config

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen and give the base URL, `http://host:port`; port 0 takes a free one. Raises OSError."""
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        bound: int = runner.addresses[0][1]
        return f"http://{in_url(host)}:{bound}"

    async def close(self) -> None:
        """Stop listening and end open connections; jobs and counts stay readable."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def stats(self) -> dict[str, Any]:
        """The object of `GET /_emulator/stats`."""
        now = self._clock()
        self._account.advance(now)
        return self._account.stats(now)

    def bills(self) -> dict[str, int]:
        """Bills by the hex SHA-256 of the text's UTF-8."""
        self._account.advance(self._clock())
        return self._account.billing.by_text()

    def settings(self) -> dict[str, Any]:
        """The configuration in force as a JSON object; of API keys only their number."""
        return as_json_object(self.config)

    def reconfigure(self, /, **changes: object) -> None:
        """Change any fields of EmulatorConfig, all or none. Raises InvalidConfigError."""
        config = reconfigured(self.config, changes)
        # Bills up to now are at the old price, expiries at the old retention.
        self._account.advance(self._clock())
        self._account.reconfigure(config)

    def reset(self) -> None:
        """Forget jobs, bills and counts; the balance and the random sequences start again from the configuration."""
        self._account = Account(self.config, self._clock())
        self._api = Api(self._account, self._utc)

    def handle(self, call: Call) -> Reply:
        """The reply to one call, without a socket: what the server sends, resets and delays included."""
        return control(self, call) if call.path.startswith(PREFIX) else self._api.handle(call, self._clock())

    def _utc(self, now: float) -> float:
        return self._epoch + now + self.config.clock_skew_seconds

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            # aiohttp's own limit of 1 MiB is less than what tests of oversized events send.
            body = await request.clone(client_max_size=_MAX_BODY_BYTES).read() if request.can_read_body else b""
        except web.HTTPRequestEntityTooLarge:
            reply = error(413, "Request body is too large")
        except web.RequestPayloadError:
            reply = error(400, "Malformed request body")
        else:
            call = Call(request.method, request.raw_path.partition("?")[0], request.headers, body)
            reply = self.handle(call)
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.reset and request.transport is not None:
            request.transport.abort()
        return self._response(reply)

    def _response(self, reply: Reply) -> web.Response:
        now = self._utc(self._clock())
        if self._date[0] != int(now):
            self._date = int(now), formatdate(now, usegmt=True)
        headers = {"Content-Type": reply.content_type, "Date": self._date[1], **dict(reply.headers)}
        return web.Response(status=reply.status or 503, body=reply.body, headers=headers)
