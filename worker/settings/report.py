"""One line for each thing that is wrong with the settings; what they got is shown only where it cannot be a secret."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.errors import ConfigurationError
from worker.settings.catalogue import Setting
from worker.settings.secrets import API_KEY, API_KEY_FILE, MASK, may_hold_secret

LONGEST_SHOWN = 80  # characters of a value or a name
SHORTEST_KEY = 8  # characters; a shorter "key" would blot out ordinary words
ALIKE = 0.7  # ratio of difflib's SequenceMatcher; of names that have nothing to do with each other it is up to 0.65


class InvalidSettings(ConfigurationError):
    """Everything that is wrong with the settings of one start. `problems` holds one line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        count = f"{len(problems)} settings are wrong: " if len(problems) > 1 else ""
        super().__init__(count + "; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Given:
    """A setting that somebody has set. `place` names the variable, the file and its key, or the flag; `is_text`: from a
    source that knows strings only."""

    setting: Setting
    value: object
    place: str
    is_text: bool


class Report:
    """Collects the problems of one start. It knows the API key only to keep it out of every line."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key
        self._lines: list[str] = []

    def add(self, place: str, problem: str) -> None:
        """`place: problem` in one line."""
        line = f"{place}: {problem}"
        if len(self._api_key) >= SHORTEST_KEY:
            line = line.replace(self._api_key, MASK)
        self._lines.append(line)

    def wrong(self, given: Given, wanted: str, *, note: str = "") -> None:
        """A value that is not what the setting takes."""
        self.add(given.place, f"got {self._shown(given)}{note}, wants {wanted}")

    def unknown(self, place: str, name: str, known: Iterable[str]) -> None:
        """A name that no setting has."""
        nearest = max(known, key=lambda candidate: _likeness(name, candidate))
        if _likeness(name, nearest) >= ALIKE:
            self.add(place, f"no such setting; the nearest is {nearest}")
        else:
            self.add(place, "no such setting, nor one with a similar name: README.md lists them all")

    def raise_if_any(self) -> None:
        """Raises InvalidSettings with all that was collected."""
        if self._lines:
            raise InvalidSettings(self._lines)

    def _shown(self, given: Given) -> str:
        value = given.value
        text = value if isinstance(value, str) else ""
        holds_key = bool(self._api_key) and self._api_key in text
        if given.setting.hidden or "@" in text or holds_key or may_hold_secret(text):
            return "a value that is not shown, as it may be secret"
        if isinstance(value, str | bool | float):
            return cut(repr(value))
        if isinstance(value, int):
            return str(value) if abs(value) < 10**LONGEST_SHOWN else "a very large integer"
        if isinstance(value, list | tuple):
            return "a list"
        return "a table" if isinstance(value, dict) else f"a {type(value).__name__}"


def cut(text: str) -> str:
    """At most LONGEST_SHOWN characters."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def printable(name: str) -> str:
    """A name from outside, fit for a line."""
    return cut(escaped(name))


def escaped(name: str) -> str:
    """The whole name on one line: of a path that is cut nobody knows which file it names."""
    return name if name.isprintable() else repr(name)[1:-1]


def home_of_secret(key: str) -> str:
    """Where a secret belongs that was found under `key` (a dotted name) in a file."""
    if key.startswith("kafka"):
        return "WORKER_KAFKA__PROPERTIES_FILE (a mounted JSON file) or WORKER_KAFKA__PROPERTIES"
    for name in ("api.extra", "api.proxy"):
        if key.startswith(name):
            return f"WORKER_{name.replace('.', '__')}".upper()
    return f"{API_KEY_FILE} or {API_KEY}"


def _likeness(name: str, known: str) -> float:
    """How alike two names of settings are, 0 to 1; a section that was left out does not count."""
    # difflib takes quadratic time, and no setting has so long a name.
    written, wanted = _plain(name[:LONGEST_SHOWN]), _plain(known)
    return max(
        difflib.SequenceMatcher(None, written, candidate).ratio() for candidate in (wanted, wanted.rpartition(".")[2])
    )


def _plain(name: str) -> str:
    return name.lower().removeprefix("worker_").replace("__", ".")
