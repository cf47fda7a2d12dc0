"""Bodies of HTTP answers, bounded."""

import zlib
from typing import Final

LARGEST_BODY: Final = 4 * 1024 * 1024
"""Most bytes of a success' body that are read, and that it may have after decompression: a vector of 65,536 numbers takes 1.5."""

LARGEST_ERROR: Final = 256 * 1024
"""Most bytes of any other answer's body: of errors only the beginning is looked at, and many calls may fail at once."""


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
