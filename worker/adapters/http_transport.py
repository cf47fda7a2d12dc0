"""The transport of the real API: aiohttp's connections behind httpx's seam, set up so that the key goes to one origin only.

Requests go straight to it, without an `httpx.AsyncClient` around it. Measured: CPU of the client process per request at 64
connections on loopback, uvloop, the mix POST / GET status / GET result of 3072 floats:

    httpx.AsyncClient with its own transport             2.7 to 4.1 ms
    httpx.AsyncClient with httpx-aiohttp's transport     0.23 to 0.28 ms
    straight to httpx-aiohttp's transport                0.14 to 0.18 ms
    aiohttp alone, for comparison                        0.06 to 0.09 ms
    `segmind.SegmindApi`, JSON and checks included       0.09 ms POST, 0.09 ms status, 0.18 ms result

A transport of our own, because `httpx_aiohttp.AiohttpTransport` makes each URL and each header twice. CPU of the client process
for a status call at 64 connections (min of 5 runs), the adapter's own work included, and for aiohttp alone beside it: 132 and 49
us with that transport, 86 and 41 us with this one, measured on one machine at different times.
"""

import base64
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from worker.core.api_url import api_prefix, proxy_address
from worker.errors import ConfigurationError
from worker.settings.sections import ApiSettings

KEEP_ALIVE_SECONDS: Final = 15.0
"""Idle connections are closed before the usual gateways do (60 s and more): a POST that meets a closing connection is lost."""

_NEVER_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Carries requests over an aiohttp session, which is opened on first use, on the event loop that runs then.

    Follows no redirects and decompresses nothing. Extensions of a request: `timeout` (seconds for `connect` and `pool`; the
    caller bounds the rest) and `target` (path and query as bytes, in place of the URL's, as in httpcore). Raises
    httpx.ConnectError where the request surely was not sent, else httpx.TransportError.
    """

    def __init__(
        self, open_session: Callable[[], aiohttp.ClientSession], proxy: str | None, proxy_headers: dict[str, str]
    ) -> None:
        self._open_session = open_session
        self._session: aiohttp.ClientSession | None = None
        self._proxy = proxy
        self._proxy_headers = CIMultiDict(proxy_headers) if proxy else None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, repeated only where aiohttp does: a GET once, on a kept connection that turned out to be dead."""
        if self._session is None:
            self._session = self._open_session()
        seconds = request.extensions["timeout"]
        body = await request.aread()
        try:
            response = await self._session.request(
                request.method,
                full_url(request),
                headers=CIMultiDict([(name.decode(), value.decode()) for name, value in request.headers.raw]),
                data=body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=seconds["connect"], connect=seconds["pool"]),
                proxy=self._proxy,
                proxy_headers=self._proxy_headers,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise as_httpx(error) from error
        return httpx.Response(response.status, headers=response.raw_headers, stream=Body(response))

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


class Body(httpx.AsyncByteStream):
    """The answer's body as it arrives. Closing it before its end closes the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Chunks of any size. Raises httpx.TransportError."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise as_httpx(error) from error

    async def aclose(self) -> None:
        """Give the connection back, or close it."""
        self._response.release()


def as_httpx(error: aiohttp.ClientError | OSError) -> httpx.TransportError:
    """httpx's exception for aiohttp's, told apart by whether the request can have been sent."""
    kind = httpx.ConnectError if isinstance(error, _NEVER_SENT) else httpx.TransportError
    return kind(type(error).__name__)  # what it says is read from the cause


def full_url(request: httpx.Request) -> URL:
    """The URL to be asked, already encoded: nothing in it is quoted again."""
    target = request.extensions.get("target")
    if target is None:
        return URL(str(request.url), encoded=True)
    return URL(f"{request.url.scheme}://{request.url.netloc.decode()}{target.decode('ascii')}", encoded=True)


def open_transport(settings: ApiSettings) -> httpx.AsyncBaseTransport:
    """The transport of the real API.

    At most `connections` at a time, no cookies, no redirects, no proxy or netrc from the environment, addresses looked up again
    every 10 s. Raises ConfigurationError for an unusable `proxy` or `ca_file`.
    """
    tls = _tls_context(settings)
    proxy, proxy_headers, session_headers = _proxy(settings)

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.connections, ssl=tls, keepalive_timeout=KEEP_ALIVE_SECONDS, ttl_dns_cache=10
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=session_headers,
            trust_env=False,
            auto_decompress=False,
        )

    return AiohttpTransport(session, proxy, proxy_headers)


def _proxy(settings: ApiSettings) -> tuple[str | None, dict[str, str], dict[str, str]]:
    """The proxy, the headers it gets when a tunnel is asked for, and those it needs on each request in the clear."""
    if settings.proxy is None:
        return None, {}, {}
    address = proxy_address(settings.proxy)
    credentials: dict[str, str] = {}
    if address.user or address.password:
        pair = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
        credentials["Proxy-Authorization"] = f"Basic {pair}"
    tunnel = api_prefix(settings.base_url).startswith("https:")
    return address.url, credentials if tunnel else {}, {} if tunnel else credentials


def _tls_context(settings: ApiSettings) -> ssl.SSLContext:
    if settings.ca_file is None:
        # certifi's authorities, as httpx has them: slim images hold none of their own
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file))
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        pass
    raise ConfigurationError("WORKER_API__CA_FILE must name a readable PEM file of certificate authorities.")
