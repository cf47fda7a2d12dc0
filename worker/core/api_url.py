"""The addresses the API key may be sent to, checked once at the start."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

from worker.errors import ConfigurationError

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_PATH = re.compile(r"(/[A-Za-z0-9._~:@!$&'()*+,;=-]+)*/*")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `url` is without the credentials."""

    url: str
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"


def api_prefix(base_url: str) -> str:
    """The base URL without a slash at its end. Raises ConfigurationError unless it is http(s)://host[:port][/path]."""
    name = "WORKER_API__BASE_URL"
    parts = _split(base_url, name)
    if "@" in parts.netloc:
        raise ConfigurationError(f"{name} must not hold a user name or password; the key comes from SEGMIND_API_KEY.")
    if "?" in base_url or "#" in base_url:
        raise ConfigurationError(f"{name} must not hold a query or fragment.")
    segments = parts.path.split("/")
    if not _PATH.fullmatch(parts.path) or "." in segments or ".." in segments:
        raise ConfigurationError(f"{name} has an unusable path; give the origin, such as https://api.segmind.com.")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def proxy_address(url: str) -> Proxy:
    """The proxy and its credentials. Raises ConfigurationError unless it is http(s)://[user:password@]host:port."""
    name = "WORKER_API__PROXY"
    parts = _split(url, name)
    if parts.path.strip("/") or "?" in url or "#" in url:
        raise ConfigurationError(f"{name} must be http://host:port, without path or query.")
    return Proxy(
        url=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def is_clear_text(base_url: str) -> bool:
    """Whether the API key would cross a network unencrypted: http to a host that is not this machine."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True


def _split(url: str, name: str) -> SplitResult:
    """The messages name the setting and never show its value, which may hold a password."""
    parts = None
    if url.isascii() and url.isprintable():
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts = None
    if parts is None or port == 0 or parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"{name} must be a URL such as https://host or http://host:port, in ASCII.")
    host = parts.netloc.rpartition("@")[2]
    if not _HOST.fullmatch(re.sub(r":\d*$", "", host)):
        raise ConfigurationError(f"{name} has no usable host name.")
    return parts
