"""The README's table of settings, made from the code."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.settings.catalogue import Setting, catalogue
from worker.settings.secrets import API_KEY, API_KEY_FILE

BEGIN, END = "<!-- settings -->", "<!-- /settings -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: its variable, what it takes in words, its default as it would be written, and its meaning."""

    environment: str
    type: str
    default: str
    description: str


def rows() -> Sequence[Row]:
    """Every setting, the API key first."""
    return [
        Row(API_KEY, "text", "unset", "The API key. Sent to the origin of WORKER_API__BASE_URL only."),
        Row(
            API_KEY_FILE,
            "a path",
            "unset",
            "File with the API key, read again after a 401; instead of the variable above.",
        ),
        *(Row(setting.environment, setting.words, _default(setting), setting.description) for setting in catalogue()),
    ]


def _default(setting: Setting) -> str:
    match setting.default:
        case None:
            return "unset"
        case bool():
            return f"`{str(setting.default).lower()}`"
        case tuple():
            return f"`{','.join(setting.default)}`"
        case float():
            return f"`{setting.default:g}`"
    return f"`{setting.default}`"


def markdown() -> str:
    """The table, with a line end after its last row."""
    lines = ["| variable | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for row in rows():
        cells = (f"`{row.environment}`", row.type, row.default, row.description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def updated(readme: str) -> str:
    """The README with the table between its markers made anew. Raises ValueError if the markers are not there, each once
    and in order."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"the README needs the lines {BEGIN} and {END} once each, the table goes between them")
    return f"{before}{BEGIN}\n\n{markdown()}\n{END}{after}"
