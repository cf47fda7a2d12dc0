"""The API key: read once, and read again after a 401, so that a rotated secret heals by itself."""

from collections.abc import Callable

from worker.core.redaction import Redactor
from worker.errors import ConfigurationError

_LONGEST_KEY = 4096


class ApiKey:
    """Holds the present key and the redactor of all keys that were in use lately. Its repr shows nothing.

    Raises ConfigurationError where no usable key can be read at first. Later readings that fail leave the old key in place
    and are told by `problem`.
    """

    __slots__ = ("_key", "_others", "_read", "_stale", "problem", "redactor")

    def __init__(self, read: Callable[[], str], other_secrets: tuple[str, ...] = ()) -> None:
        self._read = read
        self._others = other_secrets
        self._stale = False
        self._key = _usable(read)
        self.problem = ""
        self.redactor = Redactor((self._key, *other_secrets))

    def refuse(self, key: str) -> None:
        """The API does not know this key: read it again before the next request. Late answers to requests that carried an
        older key change nothing."""
        self._stale = self._stale or key == self._key

    def present(self) -> str:
        """The key to send now."""
        if self._stale:
            self._reread()
        return self._key

    def _reread(self) -> None:
        self._stale = False
        try:
            key = _usable(self._read)
        except ConfigurationError as error:
            self.problem = self.redactor.clean(str(error))
            return
        self.problem = ""
        if key != self._key:
            # Answers to requests with the old key are still under way, and may quote it.
            self.redactor = Redactor((key, self._key, *self._others))
            self._key = key


def _usable(read: Callable[[], str]) -> str:
    failure = ""
    key = ""
    try:
        key = read()
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - a secret store may fail in any way
        failure = type(error).__name__
    if failure:
        raise ConfigurationError(f"The API key cannot be read ({failure}): check SEGMIND_API_KEY_FILE.")
    if not key:
        raise ConfigurationError("The API key is empty: set SEGMIND_API_KEY or SEGMIND_API_KEY_FILE.")
    if len(key) > _LONGEST_KEY or not all("!" <= char <= "~" for char in key):
        raise ConfigurationError(
            "The API key holds blanks, line ends or characters outside ASCII: check SEGMIND_API_KEY or SEGMIND_API_KEY_FILE."
        )
    return key
