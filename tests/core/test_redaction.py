"""No form of a secret survives redaction."""

import base64
import json
from html import escape
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from worker.core.redaction import MARK, WINDOW, Redactor

SECRET = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40)


@given(SECRET, st.binary(max_size=20), st.binary(max_size=20))
def test_a_secret_inside_any_base64_text_is_found(secret: str, before: bytes, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(before + secret.encode() + after).decode()
        assert Redactor([secret]).holds_secret(text)
        assert Redactor([secret]).holds_secret(text.rstrip("="))


@given(SECRET, st.text(max_size=30), st.text(max_size=30))
@example("redacted", "", "")
def test_plain_and_url_encoded_secrets_are_replaced(secret: str, before: str, after: str) -> None:
    redactor = Redactor([secret])
    every = "".join(f"%{byte:02x}" for byte in secret.encode())
    forms = (
        secret,
        secret.upper(),
        quote(secret),
        quote(secret, safe=""),
        quote(quote(secret)),
        every,
        secret.encode().hex(),
    )
    for form in forms:
        kept = redactor.clean(before + form + after).split(
            MARK
        )  # a secret may be spelt like the mark, or like a part of it
        assert not any(form in part or redactor.holds_secret(part) for part in kept)


@given(SECRET)
def test_secrets_escaped_for_json_and_html_are_replaced(secret: str) -> None:
    redactor = Redactor([secret])
    in_json = json.dumps(secret)[1:-1]
    every = "".join(f"\\u{ord(char):04x}" for char in secret)
    for form in (in_json, in_json.replace("/", "\\/"), every, escape(secret), "".join(f"&#{ord(c)};" for c in secret)):
        assert redactor.clean(f"<{form}>") == f"<{MARK}>"


@given(st.text(), st.integers(0, 100))
def test_what_is_left_is_one_printable_line_within_the_limit(text: str, limit: int) -> None:
    cleaned = Redactor([]).clean(text, limit)
    assert len(cleaned.encode()) <= limit
    assert cleaned.isprintable()


def test_a_secret_that_straddles_the_end_of_what_is_looked_at_leaves_no_part() -> None:
    secret = "SG_0123456789abcdef"
    for cut in range(1, len(secret)):
        text = "x" * (WINDOW - cut) + secret
        assert "SG" not in Redactor([secret]).clean(text, limit=2 * WINDOW)


def test_its_repr_shows_nothing_and_empty_secrets_redact_nothing() -> None:
    assert "SG_" not in repr(Redactor(["SG_0123"]))
    assert Redactor(["", ""]).clean("all of it") == "all of it"
