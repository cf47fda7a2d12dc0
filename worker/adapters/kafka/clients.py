"""Making librdkafka clients: bad properties become ConfigurationError, log lines go to a callable, never to stderr."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from worker.errors import ConfigurationError

T = TypeVar("T")
Log = Callable[[int, str], None]
"""Takes a level of the module `logging` and a line without secrets. Called from any thread; must not raise."""

_SENSITIVE: Final = re.compile(r"password|secret|pem|token|jaas|oauthbearer|key|username", re.IGNORECASE)


class LineLogger:
    """What librdkafka's binding takes for a logger: it calls `log(level, format, *arguments)`."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def log(self, level: int, line: str, *arguments: object) -> None:
        """Hand one line on."""
        self._log(level, line % arguments if arguments else line)


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
    def on_error(error: KafkaError) -> None:
        log(logging.ERROR if error.fatal() else logging.WARNING, f"Kafka: {error.str()}")

    configuration = {"error_cb": on_error, **properties, **callbacks, "logger": LineLogger(log)}
    try:
        return client(configuration)
    except (KafkaException, TypeError, ValueError, OverflowError, SystemError) as problem:
        detail = error_of(problem).str() if isinstance(problem, KafkaException) else str(problem)
        raise ConfigurationError(f"WORKER_KAFKA__PROPERTIES: {_masked(detail, properties)}") from None


def _masked(detail: str, properties: Mapping[str, Any]) -> str:
    """librdkafka quotes a wrong value in its message: values of properties that may be secrets are taken out."""
    values = [str(value) for name, value in properties.items() if _SENSITIVE.search(name)]
    for value in sorted(filter(None, values), key=len, reverse=True):
        detail = detail.replace(value, "***")
    return detail
