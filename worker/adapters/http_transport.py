"""The transport of the real API: aiohttp's connections behind httpx's seam, set up so that the key goes to one origin only."""

import base64
import ssl
from typing import Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from worker.core.api_url import api_prefix, proxy_address
from worker.errors import ConfigurationError
from worker.settings.sections import ApiSettings

KEEP_ALIVE_SECONDS: Final = 15.0
"""Idle connections are closed before the usual gateways do (60 s and more): a POST that meets a closing connection is lost."""


def open_transport(settings: ApiSettings) -> httpx.AsyncBaseTransport:
    """The transport of the real API. Connections are opened on first use, on the event loop that runs then.

    At most `connections` at a time, no cookies, no redirects, no proxy or netrc from the environment, addresses looked up again
    every 10 s. Raises ConfigurationError for an unusable `proxy` or `ca_file`.
    """
    tls = _tls_context(settings)
    proxy, session_headers = _proxy(settings)

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

    return AiohttpTransport(verify=tls, proxy=proxy, client=session)


def _proxy(settings: ApiSettings) -> tuple[httpx.Proxy | None, dict[str, str]]:
    """The proxy, and the headers it needs on each request where it gets them in the clear."""
    if settings.proxy is None:
        return None, {}
    address = proxy_address(settings.proxy)
    credentials: dict[str, str] = {}
    if address.user or address.password:
        pair = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
        credentials["Proxy-Authorization"] = f"Basic {pair}"
    if api_prefix(settings.base_url).startswith("https:"):
        return httpx.Proxy(address.url, headers=credentials), {}
    return httpx.Proxy(address.url), credentials


def _tls_context(settings: ApiSettings) -> ssl.SSLContext:
    if settings.ca_file is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file))
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        pass
    raise ConfigurationError("WORKER_API__CA_FILE must name a readable PEM file of certificate authorities.")
