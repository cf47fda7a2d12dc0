"""The shapes in which an embedding may be given back: the vendor publishes none, so each can be chosen."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

Wrap = Callable[[bytes], bytes]


def _around(before: bytes, after: bytes) -> Wrap:
    def wrap(vector: bytes) -> bytes:
        return before + vector + after

    return wrap


def _as_string(inner: Wrap) -> Wrap:
    """The JSON text of another shape as a JSON string; such a text holds no character to escape but the quote."""

    def wrap(vector: bytes) -> bytes:
        return b'"' + inner(vector).replace(b'"', b'\\"') + b'"'

    return wrap


_FLAT = _around(b"", b"")
_EMBEDDING_VALUES = _around(b'{"embedding":{"values":', b"}}")

SHAPES: Mapping[str, Wrap] = MappingProxyType(
    {
        "flat": _FLAT,
        "nested": _around(b"[", b"]"),
        "embedding": _around(b'{"embedding":', b"}"),
        "embedding_values": _EMBEDDING_VALUES,
        "values": _around(b'{"values":', b"}"),
        "embeddings": _around(b'{"embeddings":[', b"]}"),
        "embeddings_values": _around(b'{"embeddings":[{"values":', b"}]}"),
        "data": _around(b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":', b"}]}"),
        "predictions": _around(b'{"predictions":[{"embeddings":{"values":', b"}}]}"),
        "string": _as_string(_FLAT),
        "string_embedding_values": _as_string(_EMBEDDING_VALUES),
    }
)
"""Name of a shape to the function that puts a JSON array (bytes) into it."""
