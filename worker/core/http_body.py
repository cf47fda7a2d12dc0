"""Bodies of HTTP answers, bounded."""

import zlib
from typing import Final

LARGEST_BODY: Final = 16 * 1024 * 1024
"""Most bytes of an answer's body that are read, and that it may have after decompression."""


def decompressed(body: bytes, encoding: str) -> tuple[bytes, bool]:
    """The body, at most LARGEST_BODY bytes, and whether it is whole.

    `encoding` is the content-encoding. Compressed answers are not asked for, but some gateways compress without being asked:
    gzip and zlib are understood, all else is no body.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body, True
    if name not in ("gzip", "x-gzip", "deflate"):
        return b"", False
    inflater = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib by its header
    try:
        plain = inflater.decompress(body, LARGEST_BODY)
    except zlib.error:
        return b"", False
    return plain, inflater.eof
