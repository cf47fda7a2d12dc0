"""Words in a text that tell the emulator what shall become of it, such as `[[block]]` or `[[slow:3]]`."""

import re
from dataclasses import dataclass

from worker.emulator.shapes import SHAPES

_MARKER = re.compile(r"\[\[(block|fail|flaky|slow|hang|badvector|reject|shape)(?::([\w.]{1,40}))?\]\]")
_COUNT = re.compile(r"[0-9]{1,6}")
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Markers:
    """What a text asks for; the defaults are a text without markers."""

    reject: bool = False
    block: bool = False
    fail: bool = False
    flaky: int = 0
    """How many submissions of this very text fail before one succeeds."""
    slow: float | None = None
    """Total latency in seconds in place of the law's."""
    hang: bool = False
    bad_vector: str = ""
    """`nan` (one component is the string "NaN"), `length` (one component is missing) or empty."""
    shape: str = ""


_NONE = Markers()


def find_markers(text: str) -> Markers:
    """The markers in `text`. What looks like one but has an unknown name or value is plain text."""
    if "[[" not in text:
        return _NONE
    found = dict(_MARKER.findall(text))
    if not found:
        return _NONE
    slow = found.get("slow", "")
    bad_vector = found.get("badvector")
    return Markers(
        reject="reject" in found,
        block="block" in found,
        fail="fail" in found,
        flaky=_flaky(found),
        slow=float(slow) if _SECONDS.fullmatch(slow) else None,
        hang="hang" in found,
        bad_vector="" if bad_vector is None else "length" if bad_vector == "length" else "nan",
        shape=found["shape"] if found.get("shape") in SHAPES else "",
    )


def _flaky(found: dict[str, str]) -> int:
    if "flaky" not in found:
        return 0
    count = found["flaky"] or "1"
    return int(count) if _COUNT.fullmatch(count) else 0
