"""Making librdkafka clients: bad properties become ConfigurationError, log lines go to a callable, never to stderr."""

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from worker.errors import ConfigurationError
from worker.settings.secrets import MASK, is_secret

T = TypeVar("T")
Log = Callable[[int, str], None]
"""Takes a level of the module `logging` and a line without secrets. Called from any thread; must not raise."""

_REPEAT_SECONDS: Final = 60.0
_KINDS: Final = 200
_NUMBER: Final = re.compile(r"\d+")
_FAILURE: Final = re.compile(r"^(?:FAIL|ERROR) \[[^]]*\] \[thrd:[^]]*\]: (?:\w+://)?(.*?)(?: \(after .*)?$")
_GENERIC: Final = re.compile(r"^\S+: (?:Disconnected|error:)")
"""Lines that come beside the one with the cause."""
_PEM: Final = re.compile(r"\bpem$")
_SHORTEST_SECRET: Final = 4
"""Characters: taking out a shorter one would garble the words around it, and tell what it is."""


class LineLogger:
    """What librdkafka's binding takes for a logger: it calls `log(level, format, *arguments)`.

    A client without brokers writes some 35 lines a second: lines that differ in numbers only are handed on once in
    `_REPEAT_SECONDS`.
    """

    def __init__(self, log: Log, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._monotonic = monotonic
        self._last: dict[str, float] = {}

    def log(self, level: int, line: str, *arguments: object) -> None:
        """Hand one line on."""
        text = line % arguments if arguments else line
        kind = _NUMBER.sub("", text)
        now = self._monotonic()
        if now - self._last.get(kind, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return
        if len(self._last) >= _KINDS:
            self._last.clear()
        self._last[kind] = now
        self._log(level, text)

    def error(self, error: KafkaError) -> None:
        """librdkafka's callback for errors; those of a connection are among its log lines already."""
        if error.fatal():
            self.log(logging.ERROR, f"Kafka: {error.str()}")
        elif error.code() != KafkaError._TRANSPORT:  # noqa: SLF001
            self.log(logging.WARNING, f"Kafka: {error.str()}")


class RememberedCause:
    """Hands lines on to `log` and keeps the last one that says why a broker is not to be had."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.line = ""

    def log(self, level: int, line: str) -> None:
        """Take one line."""
        self._log(level, line)
        found = _FAILURE.search(line)
        if found and not (_GENERIC.search(found[1]) and self.line):
            self.line = found[1].replace("/bootstrap", "", 1)


def open_consumer(properties: Mapping[str, Any], log: Log, **callbacks: Callable[..., None]) -> Consumer:
    """A consumer. Raises ConfigurationError."""
    return _open(Consumer, properties, log, **callbacks)


def open_producer(properties: Mapping[str, Any], log: Log, **callbacks: Callable[..., None]) -> Producer:
    """A producer. Raises ConfigurationError."""
    return _open(Producer, properties, log, **callbacks)


def open_admin(properties: Mapping[str, Any], log: Log) -> AdminClient:
    """An admin client. Raises ConfigurationError."""
    return _open(AdminClient, properties, log)


def error_of(exception: KafkaException) -> KafkaError:
    """The error inside an exception of the client."""
    inner = exception.args[0] if exception.args else None
    return inner if isinstance(inner, KafkaError) else KafkaError(KafkaError._FAIL, str(exception))  # noqa: SLF001


def _open(
    client: Callable[[dict[str, Any]], T], properties: Mapping[str, Any], log: Log, **callbacks: Callable[..., None]
) -> T:
    lines = LineLogger(log)
    configuration = {**properties, **callbacks, "error_cb": lines.error, "logger": lines}
    try:
        return client(configuration)
    except (KafkaException, TypeError, ValueError, OverflowError, SystemError) as problem:
        detail = error_of(problem).str() if isinstance(problem, KafkaException) else str(problem)
        raise ConfigurationError(f"WORKER_KAFKA__PROPERTIES: {masked(detail, properties)}") from None


def masked(detail: str, properties: Mapping[str, Any]) -> str:
    """The text without secrets: librdkafka quotes a wrong value in its message, and a broker may say anything."""
    values = [str(value) for name, value in properties.items() if is_secret(name, value) or _PEM.search(name)]
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            detail = detail.replace(value, MASK)
    return detail
