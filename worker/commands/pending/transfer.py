"""`pending --export` and `--import`: committed offsets with their ledgers, which kafka-consumer-groups leaves out."""

import contextlib
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import typer

from worker.adapters.kafka import GroupOffsets, GroupReading, Topics
from worker.commands.opening import no_log, open_codec
from worker.commands.output import say
from worker.commands.pending.listing import counted
from worker.core import offsets_file
from worker.core.ledger import job_of
from worker.core.offsets_file import OffsetsFile, UnusableFile
from worker.core.pending import PartitionState, state_of
from worker.core.times import rfc3339
from worker.errors import ConfigurationError, WorkerError
from worker.model import Position, TopicPartition
from worker.settings import Settings


async def export_to(settings: Settings, path: Path, patience: float) -> None:
    """Write what is committed to a file that does not exist yet. Raises WorkerError."""
    await Topics(settings.kafka, no_log).wait_reachable(lambda line: typer.echo(line, err=True), patience)
    reading = await GroupOffsets(settings.kafka, no_log).read(settings.topics.input, stable=True)
    positions = {where: position for where, position in reading.positions.items() if position is not None}
    if not positions:
        raise WorkerError(f"nothing to export: group {settings.kafka.group_id} has committed nothing for these topics")
    file = OffsetsFile(settings.kafka.group_id, reading.cluster, rfc3339(time.time()), reading.topics, positions)
    write(path, offsets_file.written(file))
    jobs = sum(len(state.jobs) for state in states_of(settings, reading, positions))
    say(f"{counted(len(positions), 'offset')} with {counted(jobs, 'job')} of group {file.group} are in {path}")
    say("it is of use only as long as no worker of the group goes on; bring it back with: pending --import")


async def import_from(
    settings: Settings,
    path: Path,
    from_group: str | None,
    only: Collection[str] | None,
    patience: float,
    *,
    yes: bool,
) -> None:
    """Commit what such a file says, after it was shown and agreed to. Raises WorkerError."""
    file = read(path)
    if file.group not in {settings.kafka.group_id, from_group}:
        raise ConfigurationError(
            f"{path} is of group {file.group}, and kafka.group_id is {settings.kafka.group_id}: set that, or say --from-group "
            f"{file.group} to commit it all the same"
        )
    positions = {where: at for where, at in file.positions.items() if only is None or where.topic in only}
    if not positions:
        raise ConfigurationError(f"{path} holds no offsets of these topics")
    await Topics(settings.kafka, no_log).wait_reachable(lambda line: typer.echo(line, err=True), patience)
    group = GroupOffsets(settings.kafka, no_log)
    topics = sorted({where.topic for where in positions})
    reading = await group.read(topics, stable=True)
    missing = [str(where) for where in sorted(positions) if where not in reading.positions]
    if missing:
        raise ConfigurationError(f"{path} names partitions that do not exist: {', '.join(missing[:5])}")
    bounds = await group.bounds(list(positions))
    for line in plan(settings, file, reading, positions, bounds):
        say(line)
    require_consent(yes=yes, question=f"Commit {counted(len(positions), 'offset')} of group {settings.kafka.group_id}?")
    await group.commit(positions)
    say(f"committed {counted(len(positions), 'offset')} of group {settings.kafka.group_id}: start its workers")


def plan(
    settings: Settings,
    file: OffsetsFile,
    reading: GroupReading,
    positions: Mapping[TopicPartition, Position],
    bounds: Mapping[TopicPartition, tuple[int, int]],
) -> Iterator[str]:
    """What an import would do, a line for each partition, and what is wrong with it."""
    yield f"exported at {file.exported_at} from group {file.group}"
    if file.cluster != reading.cluster:
        yield "warning: it comes from another cluster: the same offset may be another record there"
    for topic, topic_id in reading.topics.items():
        if file.topics.get(topic, topic_id) != topic_id:
            yield f"warning: {topic} was made anew since: a worker begins at its first record, whatever offset is committed"
    jobs = 0
    for state in states_of(settings, reading, positions):
        at, now = positions[state.where].offset, reading.positions[state.where]
        jobs += 0 if state.problem else len(state.jobs)
        yield f"{state.where}: {moved(at, now)}, {counted(len(state.jobs), 'job')}"
        begin, end = bounds[state.where]
        if not begin <= at <= end:
            yield f"warning: {state.where} holds the offsets {begin} to {end}: a worker halts this partition"
        if state.problem:
            yield f"warning: {state.where}: {state.problem}"
    yield f"{counted(jobs, 'job')} in all would be polled on"


def moved(to: int, now: Position | None) -> str:
    """From where to where the offset would go."""
    if now is None:
        return f"nothing is committed -> {to}"
    back = now.offset - to
    if back == 0:
        return f"{to} stays"
    return (
        f"{now.offset} -> {to} ({counted(abs(back), 'record')} {'back, done again' if back > 0 else 'ahead, LEFT OUT'})"
    )


def states_of(
    settings: Settings, reading: GroupReading, positions: Mapping[TopicPartition, Position]
) -> list[PartitionState]:
    """What a worker with these settings would find at these positions."""
    job = job_of(settings.api, settings.input, open_codec(settings).bare_schema)
    return [
        state_of(where, position, reading.cluster, reading.topics[where.topic], job)
        for where, position in sorted(positions.items())
    ]


def require_consent(*, yes: bool, question: str) -> None:
    """Ask, unless told not to. Raises WorkerError where the answer is no, and where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError("pending: nobody to ask, as stdin is no terminal: say --yes to commit it")
    if not typer.confirm(question, err=True):
        raise WorkerError("nothing was changed")


def read(path: Path) -> OffsetsFile:
    """The file. Raises ConfigurationError."""
    try:
        with path.open("rb") as source:
            content = source.read(offsets_file.LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        return offsets_file.read(content)
    except UnusableFile as error:
        raise ConfigurationError(f"{path} cannot be imported: {error}") from None


def write(path: Path, text: str) -> None:
    """Write a new file, whole or not at all. Raises ConfigurationError where there is one, WorkerError where it cannot be."""
    try:
        with path.open("x", encoding="ascii") as target:
            try:
                target.write(text)
                target.flush()
                os.fsync(target.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already: name another file") from None
    except OSError as error:
        raise WorkerError(f"cannot write {path}: {error.strerror or error}") from None
