"""The answers of the API as data, and the bodies that the contract fixes. No I/O."""

import dataclasses
import json
from dataclasses import dataclass

import orjson

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; `reset` closes the connection instead, `delay` (seconds) holds the answer back first."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Headers = ()
    delay: float = 0.0
    reset: bool = False

    def reset_instead(self) -> "Reply":
        """The same request, taken effect, but nobody is told."""
        return dataclasses.replace(self, reset=True)

    def delayed(self, seconds: float) -> "Reply":
        """The same answer, later."""
        return dataclasses.replace(self, delay=seconds)


def json_reply(status: int, value: object, headers: Headers = ()) -> Reply:
    """`value` as JSON."""
    return Reply(status, json_bytes(value), headers=headers)


def error(status: int, message: str, headers: Headers = ()) -> Reply:
    """The envelope of most errors."""
    return json_reply(status, {"error": message}, headers)


def auth_error(status: int, code: str, description: str) -> Reply:
    """The envelope of the authentication surface."""
    return json_reply(status, {"error": code, "error_description": description, "status_code": status})


def html_error(status: int, title: str, headers: Headers = ()) -> Reply:
    """What a gateway or a framework in front of the API answers."""
    page = f"<html>\n<head><title>{status} {title}</title></head>\n<body><h1>{status} {title}</h1></body>\n</html>\n"
    return Reply(status, page.encode(), "text/html", headers)


def not_found(request_id: str) -> Reply:
    """An unknown or expired job."""
    return error(404, f"Request {request_id} not found")


def wrong_verb(allowed: str) -> Reply:
    """405, an HTML page like the vendor's."""
    return html_error(405, "Method Not Allowed", (("Allow", allowed),))


def vendor_error(status: int) -> Reply:
    """A 5xx: JSON from the API itself, HTML from a gateway."""
    if status == 500:
        return error(500, "Internal server error")
    return html_error(status, "Bad Gateway" if status == 502 else "Gateway Timeout")


def dropped() -> Reply:
    """The connection ends before the request took effect."""
    return Reply(0, b"", reset=True)


def json_bytes(value: object) -> bytes:
    """JSON; what is no character (a lone surrogate, from undecodable bytes of a request) becomes `?`."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
