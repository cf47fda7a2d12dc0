"""What happened, as log lines."""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TextIO

import structlog

from worker.model import OutcomeKind, Record, TopicPartition
from worker.notices import (
    Adopted,
    Assigned,
    CommitFailed,
    Dropped,
    Ended,
    Fetched,
    Halted,
    Healed,
    Leased,
    Notice,
    Polled,
    Recalled,
    Retried,
    Spend,
    Submitted,
    Throttled,
)
from worker.ports import Observer

Logger = structlog.stdlib.BoundLogger


def open_log(level: str, *, json_lines: bool, stream: TextIO = sys.stderr) -> Logger:
    """A logger that writes to the stream; texts of events are never given to it."""
    renderer = (
        structlog.processors.JSONRenderer()
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)
    )
    logger: Logger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    bound: Logger = logger.bind()  # unbound, it would be put together anew for every line
    return bound


class LogObserver:
    """Writes a line for what an operator must know (INFO and above), and for every call at DEBUG."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._writers: dict[type[Notice], Callable[[Any], None]] = {
            Assigned: self._assigned,
            Recalled: self._recalled,
            Leased: self._leased,
            Dropped: self._dropped,
            Halted: lambda notice: log.error("halted", reason=notice.reason),
            Healed: lambda notice: log.info("healed", was=notice.reason, seconds=round(notice.seconds, 1)),
            Throttled: self._throttled,
            Adopted: lambda notice: log.info("adopted", at=place(notice.record), request_id=notice.job.request_id),
            CommitFailed: lambda notice: log.warning("commit failed", detail=notice.detail),
            Ended: self._ended,
            Spend: self._spend,
        }
        if log.is_enabled_for(logging.DEBUG):
            self._writers |= {
                Retried: self._retried,
                Submitted: self._job,
                Fetched: self._job,
                Polled: self._polled,
            }
        self._chatty = log.is_enabled_for(logging.DEBUG)

    def notice(self, notice: Notice) -> None:
        """Write the line that belongs to the notice."""
        write = self._writers.get(type(notice))
        if write:
            write(notice)

    def _assigned(self, notice: Assigned) -> None:
        self._log.info("partitions assigned", partitions=names(notice.partitions))

    def _recalled(self, notice: Recalled) -> None:
        write = self._log.warning if notice.problem or notice.voided else self._log.info
        write(
            "ledger read",
            partition=str(notice.partition),
            offset=notice.offset,
            unfinished=notice.unfinished,
            jobs=notice.jobs,
            voided=notice.voided,
            clean=notice.clean,
            unclean_takeovers=notice.unclean_takeovers,
            problem=notice.problem,
        )

    def _leased(self, notice: Leased) -> None:
        self._log.info("lease", seconds=round(notice.seconds, 2), transaction_p99=round(notice.transaction_p99, 3))

    def _dropped(self, notice: Dropped) -> None:
        self._log.info(
            "partitions dropped", partitions=names(notice.partitions), in_flight=notice.in_flight, lost=notice.lost
        )

    def _throttled(self, notice: Throttled) -> None:
        pace = round(notice.requests_per_minute, 1)
        self._log.warning("throttled", delay=round(notice.delay, 2), requests_per_minute=pace)

    def _spend(self, notice: Spend) -> None:
        figures = {name: figure for name, figure in asdict(notice).items() if figure is not None}
        self._log.info("spend", **{name: round(figure, 6) for name, figure in figures.items()})

    def _ended(self, notice: Ended) -> None:
        dead = notice.kind is OutcomeKind.DEAD_LETTER
        if dead or self._chatty:
            write = self._log.info if dead else self._log.debug
            seconds = round(notice.seconds, 3)
            write(notice.kind.value, at=place(notice.record), reason=notice.reason, seconds=seconds)

    def _retried(self, notice: Retried) -> None:
        delay = round(notice.delay, 2)
        self._log.debug("retried", at=place(notice.record), detail=notice.detail, delay=delay, counted=notice.counted)

    def _job(self, notice: Submitted | Fetched) -> None:
        name, job = type(notice).__name__.lower(), notice.job
        self._log.debug(name, at=place(notice.record), request_id=job.request_id, attempt=job.attempt)

    def _polled(self, notice: Polled) -> None:
        age = round(notice.age, 3)
        self._log.debug("polled", request_id=notice.job.request_id, completed=notice.completed, age=age)


def names(partitions: Sequence[TopicPartition]) -> list[str]:
    """Partitions for a log line."""
    return [str(where) for where in partitions]


def place(record: Record) -> str:
    """A record for a log line: topic, partition and offset, nothing of its content."""
    return f"{record.source}@{record.offset}"


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def notice(self, notice: Notice) -> None:
        """Tell each of them."""
        for observer in self._observers:
            observer.notice(notice)
