"""Values in Avro's binary encoding: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding"""

NULL = b"\x00"
"""The first branch of a union, a null."""
SECOND_BRANCH = b"\x02"
"""Stands before a value of a union's second branch."""


def long(value: int) -> bytes:
    """Of int and long: zigzag and base 128, least significant first."""
    rest = (value << 1) ^ (value >> 63)
    if rest < 0x80:
        return bytes((rest,))
    encoded = bytearray()
    while rest >= 0x80:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def string(text: str) -> bytes:
    """Raises UnicodeEncodeError for a text that has no UTF-8."""
    encoded = text.encode()
    return long(len(encoded)) + encoded
