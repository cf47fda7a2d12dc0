"""Secrets: where the API key comes from, which names look like one, and how text that may hold one is shown."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ConfigurationError

API_KEY = "SEGMIND_API_KEY"
API_KEY_FILE = "SEGMIND_API_KEY_FILE"
MASK = "***"
LARGEST_FILE = 1_048_576  # bytes of any file that settings read; a device or a wrong mount must not fill the memory

_ALWAYS = ("password", "passwd", "passphrase", "secret", "credential", "apikey", "userinfo", "jaasconfig")
_WORDS = frozenset({"token", "key", "auth", "authorization", "bearer", "jwt"})
# `ssl.key.location` names a file, `sasl.oauthbearer.token.endpoint.url` a place, `basic.auth.credentials.source` a way.
_PLACES = frozenset(
    {"location", "file", "path", "url", "uri", "endpoint", "source", "id", "type", "mechanism", "method"}
)
_SEGMIND_KEY = re.compile(r"SG_[A-Za-z0-9]{8}")


def looks_secret(name: str) -> bool:
    """Whether a value of this name is a secret: `sasl.password`, `api_key`, `sslKeyPem`, ..."""
    words = _words(name)
    return bool(words) and words[-1] not in _PLACES and _speak_of_secret(words)


def may_hold_secret(text: str) -> bool:
    """Whether a value speaks of a secret and has more to it than that, as properties do that were put into another setting;
    or is what an API key of Segmind looks like. Rather once too often."""
    words = _words(text)
    return (len(words) > 1 and _speak_of_secret(words)) or _SEGMIND_KEY.search(text) is not None


def shown_path(path: Path) -> str:
    """The path for a line of text, unless it rather is properties, which were put where a path belongs. Mounted secrets do have
    paths that speak of secrets: those are shown."""
    text = str(path)
    looks_odd = not set(text).isdisjoint('{}="')
    return "(not shown, as it may be secret)" if looks_odd and may_hold_secret(text) else text


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1.\2", name).lower())


def _speak_of_secret(words: Sequence[str]) -> bool:
    joined = "".join(words)
    # librdkafka's sasl.oauthbearer.config is a line of key=value pairs, extensions and tokens among them.
    return any(part in joined for part in _ALWAYS) or not _WORDS.isdisjoint(words) or "oauthbearerconfig" in joined


def is_secret(name: str, value: object) -> bool:
    """Whether `value` is a secret by its name; switches (`enable.sasl.oauthbearer.unsecure.jwt`) and null are none."""
    return value is not None and not isinstance(value, bool) and looks_secret(name)


def has_userinfo(text: str) -> bool:
    """Whether `text` may be a URL with user and password in it; rather once too often."""
    return "://" in text and "@" in text.partition("://")[2]


def without_userinfo(text: str) -> str:
    """`text` with all that may be user and password of a URL masked."""
    if not has_userinfo(text):
        return text
    scheme, _, rest = text.partition("://")
    return f"{scheme}://{MASK}@{rest.rpartition('@')[2]}"


def read_file(path: Path) -> str:
    """The text of a file of at most LARGEST_FILE bytes. Raises ValueError; its text holds neither path nor content, since
    what was meant as a path may be the secret itself."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError:
        reason = "not a path"
    else:
        if len(content) > LARGEST_FILE:
            raise ValueError(f"larger than {LARGEST_FILE} bytes")
        if _is_utf8(content):
            return content.decode()
        reason = "not UTF-8"
    raise ValueError(reason)


def _is_utf8(content: bytes) -> bool:
    return content.decode(errors="replace").encode() == content


@dataclass(frozen=True, slots=True, repr=False)
class SecretSource:
    """Where a secret comes from. It keeps the way to the secret, not a field that something could print or copy."""

    variable: str
    _take: Callable[[], str]

    @classmethod
    def from_value(cls, variable: str, secret: str) -> "SecretSource":
        """A secret that stands in the variable itself."""
        return cls(variable, lambda: secret)

    @classmethod
    def from_file(cls, variable: str, path: Path) -> "SecretSource":
        """A secret in the file that the variable names; read at each call of `read`, so that it can be rotated."""
        return cls(variable, lambda: read_file(path))

    def read(self) -> str:
        """The secret, without the line end of a file. Raises ConfigurationError if it cannot be read, is empty, or cannot
        be sent in a header (anything but printable ASCII without blanks)."""
        try:
            secret = self._take()
        except ValueError as error:
            raise ConfigurationError(f"{self.variable}: the file it names cannot be read: {error}") from None
        secret = secret.rstrip("\r\n")
        if not secret.strip():
            raise ConfigurationError(f"{self.variable}: the key is empty, put the API key there")
        if not re.fullmatch(r"[!-~]+", secret):
            raise ConfigurationError(f"{self.variable}: the key holds blanks or characters that no API key has")
        return secret

    def __repr__(self) -> str:
        return f"SecretSource({self.variable})"


def api_key_source(environ: Mapping[str, str]) -> SecretSource | None:
    """The API key's source, None if there is none. Raises ConfigurationError if both variables are set, or the value of
    SEGMIND_API_KEY is unusable; a file is not read yet."""
    secret, path = environ.get(API_KEY, ""), environ.get(API_KEY_FILE, "")
    if secret and path:
        raise ConfigurationError(f"{API_KEY}: set together with {API_KEY_FILE}, which of them counts? Unset one")
    if path:
        return SecretSource.from_file(API_KEY_FILE, Path(path))
    if not secret:
        return None
    source = SecretSource.from_value(API_KEY, secret)
    source.read()
    return source
