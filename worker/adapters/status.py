"""The status port: /livez and /readyz, for probes and for people, and /spend."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web

from worker.core.listening import in_url, refusal
from worker.errors import StartError


class StatusServer:
    """Serves what functions say. `live` and `ready` return the reasons why not; none: 200 `ok`, else 503 with a reason a line.
    `spend` returns what is shown as JSON."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        live: Callable[[], Sequence[str]],
        ready: Callable[[], Sequence[str]],
        spend: Callable[[], Mapping[str, object]],
    ) -> None:
        self._host = host
        self._port = port
        self._live = live
        self._ready = ready
        self._spend = spend
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on (known after `start`)."""
        return self._port

    async def start(self) -> None:
        """Listen. Raises StartError if the port is taken, or the host is not this machine's."""
        application = web.Application()
        application.router.add_get("/livez", self._answer(self._live))
        application.router.add_get("/readyz", self._answer(self._ready))
        application.router.add_get("/spend", self._show_spend)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self.close()
            reason, is_host = refusal(error)
            fix = (
                "set WORKER_STATUS__HOST to a name or address of this machine"
                if is_host
                else "set WORKER_STATUS__PORT to a free one, or to 0 to have one chosen"
            )
            raise StartError(
                f"status port {in_url(self._host)}:{self._port} cannot be opened ({reason}): {fix}"
            ) from None
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening. May be called twice."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _show_spend(self, _: web.Request) -> web.Response:
        return web.json_response(self._spend(), headers={"cache-control": "no-store"})

    @staticmethod
    def _answer(ask: Callable[[], Sequence[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(_: web.Request) -> web.Response:
            reasons = ask()
            return web.Response(
                status=503 if reasons else 200,
                text="".join(f"{reason}\n" for reason in reasons) or "ok\n",
                headers={"cache-control": "no-store"},
            )

        return handler
