"""Secrets are taken out of foreign text before it becomes part of an error, a log line or a dead letter (promise P8)."""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

MARK = "[redacted]"
WINDOW = 65_536
"""Characters of a foreign text that are looked at."""


class Redactor:
    """Replaces every known form of the given secrets: plain, URL-encoded, hexadecimal, and base64 at any alignment inside a
    longer base64 text. Its own repr shows nothing."""

    __slots__ = ("_longest", "_pattern")

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True)
        self._longest = len(forms[0]) if forms else 0
        self._pattern = re.compile("|".join(map(re.escape, forms)), re.IGNORECASE) if forms else None

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


def _forms(secret: str) -> Iterable[str]:
    raw = secret.encode()
    yield secret
    yield quote(secret, safe="")
    yield "".join(f"%{byte:02x}" for byte in raw)
    yield raw.hex()
    for shift in range(3):
        # The characters at both ends also depend on the neighbours, so only those in between are searched for.
        core = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        core = core[(0, 2, 3)[shift] : -1 if (shift + len(raw)) % 3 else None]
        if len(core) >= 4:
            yield core
            yield core.translate(str.maketrans("+/", "-_"))
