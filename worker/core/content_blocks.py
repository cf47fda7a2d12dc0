"""Tells apart what the API says in words only: FAILED by content block or bad input, and the kinds of 406 (contract).

No list of these texts is published. The markers of content blocks are the names that Google's Gemini and Vertex AI give
to block reasons, finish reasons and harm categories (SAFETY, PROHIBITED_CONTENT, BLOCKLIST, SPII, RECITATION,
MODEL_ARMOR, JAILBREAK, HARM_CATEGORY_*, rai*), and the common words of moderation. Each has a weight; the sum decides:

    +5   only moderation says so: enough alone, also beside words of infrastructure
    +2   says so unless infrastructure is spoken of
    +1   says so in company: two of them are enough
    -3   speaks of infrastructure (a connection can be blocked, a thread unsafe); counts once
    -8   says that something broke, be it the moderation itself; counts once

A wrong yes costs a retry that might have helped, a wrong no costs attempts that are not billed.
"""

import re

_ENOUGH = 2
_LONGEST_READ = 4096

_SUBJECT = r"(?:prompt|input|text|content|request|message|query|response|output|answer|generation|candidates?|result)"
_VERDICT = r"(?:blocked|flagged|filtered|rejected|refused|disallowed|moderated|declined)"
_BE = r"(?:\s+(?:was|were|is|are|has been|have been|got|being))?"

_INFRASTRUCTURE = (
    r"connections?|sockets?|network|firewall|waf|proxy|dns|ports?|ip|cors|egress|cloudflare|threads?|locks?|deadlock|"
    r"process(?:es)?|i/?o|disk|gpu|cuda|memory|types?|kernel|queue|workers?|retry|retries|rate[\s-]?limit\w*|quota|"
    r"permissions?|iam|access control|segmentation"
)

_BROKE = (
    r"\btimed[\s-]?out\b|\btimeout\b|(?:service|temporarily|currently|is|was) unavailable|connection (?:refused|reset|closed)|"
    r"(?:failed|unable|cannot|could not|couldn't) (?:to )?(?:connect|reach|load|start)|out of memory|no space left"
)

_MARKERS: tuple[tuple[int, str], ...] = (
    (5, r"^\W*(?:safety|recitation|spii|blocklist|jailbreak)\W*$"),
    (5, r"prohibited[\s_-]*(?:content|input|topic)"),
    (5, r"content[\s_-]*(?:policy|policies|filter\w*|moderation|safety|violations?|guidelines?|restrictions?)"),
    (5, r"responsible[\s_-]*ai\b|\brai\b|\brai[\s_-]?(?:filter|media|block|reason|polic|check|error)\w*|\brai_"),
    (5, r"harm[\s_-]*(?:category|categories|block|probability)"),
    (
        5,
        r"hate[\s_-]*speech|sexually[\s_-]*explicit|(?:dangerous|explicit|harmful|unsafe|inappropriate|toxic)[\s_-]*content",
    ),
    (
        5,
        r"\bspii\b|sensitive personally identifi|\bcsam\b|child sexual|\bnsfw\b|\brecitation\b|\bmodel[\s_-]?armor\b",
    ),
    (
        5,
        r"safety[\s_-]*(?:filter|setting|system|polic|guideline|rating|block|threshold|reason|attribute|concern)",
    ),
    (
        5,
        r"(?:finish|block|blocked)[\s_-]*reason\W{1,6}(?:safety|recitation|blocklist|prohibited|spii|jailbreak|other\b)",
    ),
    (5, r"(?:usage|acceptable use|moderation|ai|community)[\s_-]*(?:policy|policies|guidelines|principles)"),
    (2, r"violat\w+.{0,60}(?:guidelines|ai practices|ai principles|terms of (?:use|service))"),
    (
        2,
        r"(?:blocked|flagged|filtered|rejected)\s+(?:by|for|due to|because of)\s+(?:\w+\s+){0,2}(?:safety|moderat|polic)",
    ),
    (5, r"sensitive (?:words|content)|\bjailbreak\b|flagged (?:as|for|by)\b"),
    (1, rf"\b{_SUBJECT}{_BE}\s+{_VERDICT}\b|\b{_VERDICT}\s+(?:the\s+|your\s+)?{_SUBJECT}\b"),
    (1, r"\bblocked\b|\bblocklist\b"),
    (1, r"\bflagged\b|\bfiltered\b"),
    (1, r"\bmoderat(?:ion|ed)\b"),
    (1, r"\bsafety\b|\bunsafe\b"),
    (1, r"\bviolat(?:es|ed|ion|ions|ing)\b"),
    (1, r"\bpolic(?:y|ies)\b"),
    (1, r"\bprohibited\b|\bdisallowed\b"),
    (1, r"\bharmful\b|\bharassment\b|\boffensive\b|\btoxic(?:ity)?\b|\binappropriate\b"),
    (-8, _BROKE),
    (-3, rf"\b(?:{_INFRASTRUCTURE})\b"),
)

_WEIGHTED = tuple((weight, re.compile(pattern, re.IGNORECASE)) for weight, pattern in _MARKERS)


def is_content_block(text: str) -> bool:
    """Does the error text of a FAILED job say that the content was refused, rather than that something broke?"""
    read = " ".join(text[:_LONGEST_READ].split())
    return sum(weight for weight, marker in _WEIGHTED if marker.search(read)) >= _ENOUGH


_NAMES = (
    r"(?:input|text|content|body|payload|prompt|parameters?|params?|arguments?|values?|fields?|task_?type|"
    r"output_dimensionality|dimension(?:s|ality)?)"
)
_NAMED = rf"(?:\b{_NAMES}\b|#)[^.;#]{{0,60}}?\b"

_BAD_INPUT_PATTERN = (
    rf"\b(?:invalid|illegal|unsupported|unknown|unexpected|missing|bad) (?:required )?{_NAMES}\b"
    r"|\binvalid[ _]argument\b|\b(?:input |parameter )?validation (?:error|failed)\b"
    rf"|{_NAMED}(?:is|are) (?:invalid|not (?:valid|allowed|supported)|unsupported|required|missing|empty)\b"
    rf"|{_NAMED}(?:must (?:not )?(?:be|have|contain)|cannot be|too (?:long|large|big|short)|out of range)\b"
    r"|\b(?:exceeds?|exceeded|over|above)\b[^.;]{0,60}\b(?:tokens?|characters|length)\b|\btoo many tokens\b"
)
_BAD_INPUT = re.compile(_BAD_INPUT_PATTERN)
_NOT_THE_EVENTS = re.compile(r"\bapi[ _]key\b|\bcredentials?\b|\bauthenticat\w+|\bupstream\b")
"""The vendor's own trouble with the provider behind it, which reports that as an invalid argument too."""


def is_bad_input(signature: str) -> bool:
    """Does the signature (`core.refusals`: lower case, `#` for values) of a FAILED text blame the input or a parameter?"""
    return _BAD_INPUT.search(signature) is not None and _NOT_THE_EVENTS.search(signature) is None


_KINDS_OF_406 = re.compile(
    r"(?P<credits>insufficient (?:\w+ )?(?:credits?|balance|funds)|(?:out of|not enough|no|low) (?:remaining )?credits?"
    r"|credits? (?:\w+ )?(?:exhausted|depleted|used up))"
    r"|(?P<spend_limit>(?:spend(?:ing)?|budget|billing|team|usage)[ -]*(?:\w+ )?(?:limit|cap)\b)"
    r"|(?P<content_type>(?:(?:invalid|unsupported|missing) (?:\w+ ){0,4})?(?:content|media|mime)[ -]types?\b)"
    rf"|(?P<parameter>{_BAD_INPUT_PATTERN})"
)


def kind_of_406(signature: str) -> str | None:
    """What the signature of a 406 speaks of: `credits`, `spend_limit`, `content_type`, `parameter`, or None.

    The first marker in the text decides, and quoted values are gone from a signature: an event's own text, repeated in
    a message, must not pass for what the API says of the account.
    """
    found = _KINDS_OF_406.search(signature)
    return found.lastgroup if found else None
