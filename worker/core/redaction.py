"""Secrets are taken out of foreign text before it becomes part of an error, a log line or a dead letter (promise P8)."""

import base64
import re
from collections.abc import Iterable
from html.entities import codepoint2name

MARK = "[redacted]"
_LONGEST_ESCAPE = 12
"""Characters that one byte of a secret takes at most, but for idle zeros."""
WINDOW = 65_536
"""Characters of a foreign text that are looked at."""


class Redactor:
    """Replaces every known form of the given secrets: plain, hexadecimal, base64 at any alignment inside a longer base64 text,
    and any mixture of plain characters and such as are escaped for a URL, JSON or HTML. Its own repr shows nothing."""

    __slots__ = ("_longest", "_pattern")

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        forms = sorted({form for secret in known for form in _forms(secret)}, key=len, reverse=True)
        escaped = ["".join(map(_escaped, secret)) for secret in known]
        self._longest = max([0, *map(len, forms), *(_LONGEST_ESCAPE * len(secret.encode()) for secret in known)])
        self._pattern = re.compile("|".join([*escaped, *map(re.escape, forms)]), re.IGNORECASE) if known else None

    def holds_secret(self, text: str) -> bool:
        """Whether a secret occurs in the text."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def clean(self, text: str, limit: int = 1024) -> str:
        """One line of at most `limit` bytes of UTF-8, without secrets. Only the first WINDOW characters are looked at."""
        window = text[:WINDOW]
        if self._pattern is not None:
            window = self._pattern.sub(MARK, window)
            if len(text) > WINDOW:  # a secret may straddle the end of the window: its first part must not stay
                window = window[: -self._longest]
        line = " ".join("".join(char if char.isprintable() else " " for char in window).split())
        return line.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _escaped(char: str) -> str:
    """A pattern of one character as it is, or percent-encoded (up to three times over), or as an escape of JSON or HTML."""
    percent = "".join(f"%(?:25){{0,2}}{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    named = f"|&{codepoint2name[ord(char)]};" if ord(char) in codepoint2name else ""
    code = f"{ord(char):x}"
    escapes = rf"{percent}|\\u0*{code}|\\x{code}|&#x0*{code};|&#0*{ord(char)};{named}"
    return rf"(?:{escapes}|\\?{re.escape(char)})"  # what is longer comes first


def _forms(secret: str) -> Iterable[str]:
    raw = secret.encode()
    yield raw.hex()
    for shift in range(3):
        # The characters at both ends also depend on the neighbours, so only those in between are searched for.
        core = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        core = core[(0, 2, 3)[shift] : -1 if (shift + len(raw)) % 3 else None]
        if len(core) >= 4:
            yield core
            yield core.translate(str.maketrans("+/", "-_"))
