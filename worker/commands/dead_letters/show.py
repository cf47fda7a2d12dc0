"""`embedding-worker dead-letters show`."""

import json
from typing import Any, Final

import typer
from rich.console import Console

from worker.commands.configuration import run_until_done
from worker.commands.dead_letters.printable import printable, printable_bytes, when
from worker.commands.dead_letters.reading import opened_archive
from worker.commands.opening import open_codec
from worker.commands.output import say, writing
from worker.commands.progress import ProgressBar
from worker.core.dead_letters import ValueState, letter_in
from worker.core.letter_filter import Place
from worker.errors import InvalidEvent, StartError
from worker.model import Record
from worker.settings import Settings

LONGEST: Final = 500
"""Characters of one text, unless all are asked for."""
_HEX_BYTES: Final = 64


def print_letter(settings: Settings, place: Place, *, full: bool, as_json: bool) -> None:
    """Print one record of a dead-letter topic. Raises ConfigurationError and StartError."""
    with ProgressBar(Console(stderr=True, highlight=False)) as bar, opened_archive(settings, bar) as archive:
        count = archive.partition_counts([place.source.topic])[place.source.topic]
        record = archive.record(place.source, place.offset) if place.source.partition < count else None
    if record is None:
        raise StartError(
            f"there is no record at {place.source.topic}:{place.source.partition}:{place.offset}: it was deleted, or never "
            "written (transactions leave gaps); embedding-worker dead-letters list shows what there is"
        )
    most = None if full else LONGEST
    if as_json:
        say(json.dumps(document(settings, record, most)))
        return
    with writing():
        for line in lines(settings, record, most):
            typer.echo(line)


def lines(settings: Settings, record: Record, most: int | None) -> list[str]:
    """The record for a person; nothing in it can move the cursor."""
    letter = letter_in(record)
    stands = f"{record.source.topic}:{record.source.partition}:{record.offset}"
    written = "" if record.timestamp_ms < 0 else f", written {when(record.timestamp_ms / 1000)}"
    found = [f"{stands}{written}{'' if letter else ' (no dead letter: dlq.reason or the source is missing)'}", ""]
    width = max((len(printable(name, 60)) for name, _ in record.headers), default=0)
    found += [f"{printable(name, 60):<{width}}  {printable_bytes(value, most)}" for name, value in record.headers]
    found += ["", f"key    {printable_bytes(record.key, most)}", f"value  {_about(record)}"]
    datum, problem = decoded(settings, record)
    if problem:
        found.append(f"       {printable(problem)}")
    if datum is not None:
        shown = json.dumps(cut(datum, most), indent=2, ensure_ascii=False)
        found += [printable(line) for line in shown.splitlines()]
    elif record.value:
        raw = record.value if most is None else record.value[:_HEX_BYTES]
        found.append(f"       hex:{raw.hex()}{'…' if len(raw) < len(record.value) else ''}")
    return found


def document(settings: Settings, record: Record, most: int | None) -> dict[str, object]:
    """The record for a script."""
    letter = letter_in(record)
    datum, problem = decoded(settings, record)
    return {
        "topic": record.source.topic,
        "partition": record.source.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "is_dead_letter": letter is not None,
        "key": None if record.key is None else printable_bytes(record.key),
        "headers": [[name, None if value is None else printable_bytes(value, most)] for name, value in record.headers],
        "value_bytes": None if record.value is None else len(record.value),
        "value_state": None if letter is None else letter.value.value,
        "value": cut(datum, most),
        "not_decoded": problem or None,
    }


def decoded(settings: Settings, record: Record) -> tuple[object, str]:
    """The value by the input's schema; or None and why there is none."""
    letter = letter_in(record)
    if record.value is None:
        return None, "none"
    if letter is not None and letter.value is ValueState.REDACTED:
        return None, "redacted: the text's hash and length stand in place of the original"
    topic = record.source.topic if letter is None else letter.source.topic
    try:
        return run_until_done(open_codec(settings).decode(topic, record.value)), ""
    except InvalidEvent as error:
        return None, f"not decodable by the input's schema: {error}"


def cut(datum: Any, most: int | None) -> Any:  # noqa: ANN401 - whatever Avro can hold
    """The datum as JSON can write it, its texts cut after `most` characters."""
    if isinstance(datum, str):
        whole = most is None or len(datum) <= most
        return datum if whole else f"{datum[:most]}… ({len(datum):,} characters, --full shows all)"
    if isinstance(datum, bytes):
        return printable_bytes(datum, most)
    if isinstance(datum, dict):
        return {str(name): cut(value, most) for name, value in datum.items()}
    if isinstance(datum, list | tuple):
        return [cut(value, most) for value in datum]
    return datum if datum is None or isinstance(datum, bool | int | float) else str(datum)


def _about(record: Record) -> str:
    return "none" if record.value is None else f"{len(record.value):,} bytes"
