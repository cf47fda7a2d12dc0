"""Free TCP ports that stay usable when a server on them is restarted."""

import random
import socket
from pathlib import Path
from typing import Final

_EPHEMERAL_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 15000
_USUAL_EPHEMERAL_START: Final = 32768
_FEWEST: Final = 1000
_ATTEMPTS: Final = 200


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, below the range that the system gives to outgoing connections.

    Inside that range a client that reconnects to a stopped broker could be given the broker's own port, connect
    to itself and so keep the broker from coming back.
    """
    highest = _ephemeral_start() - 1
    if highest - _LOWEST < _FEWEST:
        highest = _USUAL_EPHEMERAL_START - 1
    for _ in range(_ATTEMPTS):
        port = random.randint(_LOWEST, highest)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {_LOWEST} and {highest} of 127.0.0.1")


def _ephemeral_start() -> int:
    try:
        return int(_EPHEMERAL_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_EPHEMERAL_START
