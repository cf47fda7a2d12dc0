"""Why nobody can listen on an address: the host's fault, or the port's?"""

from errno import EADDRNOTAVAIL
from socket import gaierror
from typing import NamedTuple


class Refusal(NamedTuple):
    """`reason`: the system's words; `is_host`: another port would not help."""

    reason: str
    is_host: bool


def refusal(error: OSError) -> Refusal:
    """What the error of a listening socket means. asyncio puts the address before the system's words; a name that is not known
    has words of its own, which `os.strerror` does not know."""
    reason = (error.strerror or str(error)).rpartition("): ")[2]
    return Refusal(reason, isinstance(error, gaierror) or error.errno == EADDRNOTAVAIL)


def in_url(host: str) -> str:
    """The host as URLs write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
