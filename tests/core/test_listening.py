"""Why nobody can listen: errors as asyncio raises them."""

import socket
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL

import pytest

from worker.core.listening import Refusal, in_url, refusal

BIND = "error while attempting to bind on address ('::1', 80, 0, 0): "


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            Refusal("Name or service not known", is_host=True),
        ),
        (
            OSError(EADDRNOTAVAIL, BIND + "cannot assign requested address"),
            Refusal("cannot assign requested address", is_host=True),
        ),
        (OSError(EADDRINUSE, BIND + "address already in use"), Refusal("address already in use", is_host=False)),
        (PermissionError(EACCES, "Permission denied"), Refusal("Permission denied", is_host=False)),
    ],
)
def test_a_name_or_address_that_is_not_this_machines_is_the_hosts_fault(error: OSError, told: Refusal) -> None:
    assert refusal(error) == told


def test_only_an_ipv6_address_stands_in_brackets() -> None:
    assert [in_url(host) for host in ("::1", "127.0.0.1", "localhost")] == ["[::1]", "127.0.0.1", "localhost"]
