"""From a decoded datum to a text event, by the configured paths."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.errors import ConfigurationError, InvalidEvent
from worker.model import Record, TextEvent

TASK_TYPES = frozenset(
    {
        "RETRIEVAL_DOCUMENT",
        "RETRIEVAL_QUERY",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    }
)
"""The task types of `segmind-v2-contract.md`."""

MAX_DIMENSIONALITY = 65536
"""Longest vector that may be asked for; the settings have the same bound."""

MAX_METADATA_BYTES = 65536
"""Most bytes of UTF-8 in the keys and values of an event's metadata."""

Path = tuple[str, ...]
Datum = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class InputMapping:
    """Where the event lies in a datum. `text` is a dotted path or, if it holds a brace, a template in which `{path}`
    stands for a field and `{{`, `}}` for braces. `id` is a dotted path; None: field `id`, else the key."""

    text: str
    id: str | None
    max_text_bytes: int


def compile_mapping(mapping: InputMapping) -> Callable[[object, Record], TextEvent]:
    """The function that takes the event out of a datum. Raises ConfigurationError for paths and templates that cannot
    be meant.

    The function raises InvalidEvent, which names the field that is to blame. The id is the configured field; without
    one, the datum's `id` where it is a filled string or an integer, else the key's UTF-8, else its hex, else
    topic-partition-offset.
    """
    is_template = "{" in mapping.text or "}" in mapping.text
    text_of = _template(mapping.text) if is_template else _text_at(_path(mapping.text, "WORKER_INPUT__TEXT"))
    id_path = None if mapping.id is None else _path(mapping.id, "WORKER_INPUT__ID")

    def extract(datum: object, record: Record) -> TextEvent:
        if not isinstance(datum, Mapping):
            raise InvalidEvent(f"the value is not a record but {_kind(datum)}")
        return TextEvent(
            id=_default_id(datum, record) if id_path is None else _id_at(datum, id_path),
            text=_checked(text_of(datum), mapping.max_text_bytes),
            task_type=_task_type(datum.get("task_type")),
            output_dimensionality=_dimensionality(datum.get("output_dimensionality")),
            metadata=_metadata(datum.get("metadata")),
        )

    return extract


def fields_named(mapping: InputMapping) -> frozenset[str]:
    """The datum's own fields in which the mapping's paths begin. Raises ConfigurationError as `compile_mapping` does."""
    is_template = "{" in mapping.text or "}" in mapping.text
    parts = _parse_template(mapping.text) if is_template else [_path(mapping.text, "WORKER_INPUT__TEXT")]
    if mapping.id is not None:
        parts.append(_path(mapping.id, "WORKER_INPUT__ID"))
    return frozenset(part[0] for part in parts if isinstance(part, tuple))


def _checked(text: str, max_bytes: int) -> str:
    if not text or text.isspace():
        raise InvalidEvent("the text is empty or only white space")
    size = len(text) if len(text) > max_bytes else _utf8_size(text, "the text")
    if size > max_bytes:
        raise InvalidEvent(f"the text is longer than {max_bytes} bytes (WORKER_INPUT__MAX_TEXT_BYTES)")
    return text


def _path(dotted: str, setting: str) -> Path:
    path = tuple(dotted.split("."))
    if any(not name or name != name.strip() or "{" in name or "}" in name for name in path):
        raise ConfigurationError(f"{setting}: {_quoted(dotted)} is no dotted path; write it like `text` or `doc.title`")
    return path


def _text_at(path: Path) -> Callable[[Datum], str]:
    def read(datum: Datum) -> str:
        text = _look_up(datum, path)
        if not isinstance(text, str):
            raise InvalidEvent(f"field {'.'.join(path)} is not a string but {_kind(text)}")
        return text

    return read


def _template(template: str) -> Callable[[Datum], str]:
    """Raises InvalidEvent for a missing field; a null one is empty, because Avro's optional fields are null."""
    parts = _parse_template(template)
    if not any(isinstance(part, tuple) for part in parts):
        raise ConfigurationError(f"WORKER_INPUT__TEXT: {_quoted(template)} names no field; write one like `{{title}}`")

    def read(datum: Datum) -> str:
        return "".join([part if isinstance(part, str) else _filled_in(datum, part) for part in parts])

    return read


def _parse_template(template: str) -> list[str | Path]:
    parts: list[str | Path] = []
    position = 0
    while position < len(template):
        if template.startswith(("{{", "}}"), position):
            parts.append(template[position])
            position += 2
        elif template[position] == "{":
            end = template.find("}", position)
            if end < 0:
                raise ConfigurationError(f"WORKER_INPUT__TEXT: close the brace in {_quoted(template)} or write `{{{{`")
            parts.append(_path(template[position + 1 : end], "WORKER_INPUT__TEXT"))
            position = end + 1
        elif template[position] == "}":
            raise ConfigurationError(f"WORKER_INPUT__TEXT: open the brace in {_quoted(template)} or write `}}}}`")
        else:
            parts.append(template[position])
            position += 1
    return parts


def _filled_in(datum: Datum, path: Path) -> str:
    value = _look_up(datum, path)
    text = "" if value is None else _scalar_text(value)
    if text is None:
        raise InvalidEvent(f"field {'.'.join(path)} does not fit into a text: it is {_kind(value)}")
    return text


def _look_up(datum: Datum, path: Path) -> object:
    value: object = datum
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            raise InvalidEvent(f"field {'.'.join(path)} is missing")
        value = value[name]
    return value


def _id_at(datum: Datum, path: Path) -> str:
    found = _id_text(_look_up(datum, path))
    if found is None:
        raise InvalidEvent(f"field {'.'.join(path)} is no id: it must be a filled string or an integer")
    return found


def _default_id(datum: Datum, record: Record) -> str:
    found = _id_text(datum.get("id"))
    if found is not None:
        return found
    if not record.key:
        return f"{record.source}-{record.offset}"
    try:
        return record.key.decode()
    except UnicodeDecodeError:
        return record.key.hex()


def _id_text(value: object) -> str | None:
    if isinstance(value, str) and value:
        _utf8_size(value, "the id")
        return value
    return _scalar_text(value) if type(value) is int else None


def _task_type(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in TASK_TYPES:
        raise InvalidEvent(f"task_type {_quoted(value)} is none of {', '.join(sorted(TASK_TYPES))}")
    return value


def _dimensionality(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 < value <= MAX_DIMENSIONALITY:
        raise InvalidEvent(f"output_dimensionality {_quoted(value)} is not an integer from 1 to {MAX_DIMENSIONALITY}")
    return value


def _metadata(value: object) -> Mapping[str, str]:
    """Scalars as text, nulls left out. Raises InvalidEvent for anything nested: dropping it would go unnoticed."""
    if not value and (value is None or isinstance(value, Mapping)):
        return {}
    if not isinstance(value, Mapping):
        raise InvalidEvent(f"metadata is not a map but {_kind(value)}")
    metadata: dict[str, str] = {}
    size = 0
    for name, entry in value.items():
        if not isinstance(name, str):
            raise InvalidEvent(f"metadata has a key that is not a string but {_kind(name)}")
        if entry is None:
            continue
        text = _scalar_text(entry)
        if text is None:
            raise InvalidEvent(f"metadata {_quoted(name)} is neither text nor a number but {_kind(entry)}")
        size += _utf8_size(name, "a key of metadata") + _utf8_size(text, "a value of metadata")
        if size > MAX_METADATA_BYTES:
            raise InvalidEvent(f"metadata is longer than {MAX_METADATA_BYTES} bytes")
        metadata[name] = text
    return metadata


def _scalar_text(value: object) -> str | None:
    """Text of a string, number or boolean (as JSON spells it); None for all else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def _utf8_size(text: str, what: str) -> int:
    """Bytes of UTF-8. Raises InvalidEvent for lone surrogates, which have none."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidEvent(f"{what} holds a lone surrogate, which is no character") from None


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _quoted(value: object) -> str:
    """A short, printable form: what stands in a record may be of any length and hold anything."""
    if isinstance(value, str):
        return ascii(value[:80])
    return str(value) if isinstance(value, int | float) else _kind(value)
