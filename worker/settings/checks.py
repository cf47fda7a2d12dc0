"""Rules of single values. Each takes a value and returns it (normalised), or raises ValueError whose text says what is
wanted. No text repeats the value: that is shown, or hidden, by whoever reports."""

import math
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

# Kafka's rule for topic names (org.apache.kafka.common.internals.Topic); held for groups too, which brokers leave free.
KAFKA_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
BROKER = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")
HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PROPERTY = re.compile(r"[a-z][a-z0-9]*(?:[._][a-z0-9]+)*")

MOST_LEVELS = 32  # of nested JSON; orjson writes at most 254
WIDEST_INTEGERS = (-(2**63), 2**64 - 1)  # what orjson can write


def kafka_name(name: str) -> str:
    """A topic or group."""
    if name in {".", ".."} or not KAFKA_NAME.fullmatch(name):
        raise ValueError("1 to 249 of the characters a-z A-Z 0-9 . _ - (and not just . or ..)")
    return name


def kafka_names(names: Iterable[str]) -> tuple[str, ...]:
    """Topics, each once."""
    checked = tuple(kafka_name(name) for name in names)
    if len(set(checked)) != len(checked):
        raise ValueError("each topic once")
    return checked


def brokers(servers: str) -> str:
    """`host:port,host:port`; blanks around the commas are taken away."""
    parts = [part.strip() for part in servers.split(",")]
    for part in parts:
        found = BROKER.fullmatch(part)
        if not found or not 1 <= int(found[1]) <= 65535:
            raise ValueError("host:port,host:port (each with its port, without a scheme)")
    return ",".join(parts)


def host(name: str) -> str:
    """An address to listen on."""
    if not HOST.fullmatch(name):
        raise ValueError("a host name or an IP address")
    return name


def model_slug(name: str) -> str:
    """One segment of a URL's path, and not a way out of it."""
    if not SLUG.fullmatch(name):
        raise ValueError("a model slug: letters, digits and . _ - only, beginning with a letter or digit")
    return name


def origin(url: str) -> str:
    """An http(s) URL that neither carries credentials nor a query; a slash at its end is taken away."""
    if not _is_http(url) or "@" in url or "?" in url or "#" in url:
        raise ValueError("http://host[:port] or https://host[:port], without user, password, query or fragment")
    return url.rstrip("/")


def proxy(url: str) -> str:
    """An http(s) URL that may carry user and password, but no path."""
    if not _is_http(url) or urlsplit(url).path not in {"", "/"} or "?" in url or "#" in url:
        raise ValueError("http://[user:password@]host:port, with special characters of the password percent-encoded")
    return url.rstrip("/")


def _is_http(url: str) -> bool:
    # urlsplit drops tabs and line ends in silence, so everything but printable ASCII is refused before.
    if not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def kafka_properties(properties: Mapping[str, object]) -> dict[str, object]:
    """Properties for librdkafka: flat, with plain values. Which of them are not free is the Kafka adapters' knowledge."""
    for name, value in properties.items():
        if not PROPERTY.fullmatch(name):
            raise ValueError("a JSON object whose names are librdkafka properties, such as security.protocol")
        # Names are shown only where they look like a property, never where a secret may have slipped in as a name.
        shown = f" (look at {name})" if "." in name else ""
        if value is None or isinstance(value, dict | list) or not json_value(value):
            raise ValueError(f"a JSON object with a string, number or boolean for each property{shown}")
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"a JSON object without NUL characters{shown}")
    return dict(properties)


def json_object(value: Mapping[str, object]) -> dict[str, object]:
    """What can be written as JSON in UTF-8."""
    if not json_value(dict(value)):
        raise ValueError(
            f"a JSON object that can be sent: at most {MOST_LEVELS} levels, 64-bit integers, finite numbers, valid Unicode"
        )
    return dict(value)


def json_value(value: object) -> bool:
    """Whether `value` can be written as JSON in UTF-8 by any writer, at most MOST_LEVELS deep."""
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        item, level = waiting.pop()
        if level > MOST_LEVELS:
            return False
        if isinstance(item, dict):
            waiting.extend((part, level + 1) for pair in item.items() for part in pair)
            if not all(isinstance(name, str) for name in item):
                return False
        elif isinstance(item, list):
            waiting.extend((part, level + 1) for part in item)
        elif not _is_scalar(item):
            return False
    return True


def _is_scalar(item: object) -> bool:
    if isinstance(item, str):
        return not any("\ud800" <= character <= "\udfff" for character in item)
    if isinstance(item, float):
        return math.isfinite(item)
    if isinstance(item, int):
        return WIDEST_INTEGERS[0] <= item <= WIDEST_INTEGERS[1]
    return item is None
