"""What happened, as log lines."""

import logging
import sys
from typing import TextIO

import structlog

from worker.model import OutcomeKind
from worker.notices import (
    Assigned,
    CommitFailed,
    Dropped,
    Ended,
    Fetched,
    Halted,
    Healed,
    Notice,
    Polled,
    Retried,
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
    return logger


class LogObserver:
    """Writes a line for what an operator must know (INFO and above), and for every call at DEBUG."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    def notice(self, notice: Notice) -> None:
        """Write the line that belongs to the notice."""
        match notice:
            case Assigned(partitions):
                self._log.info("partitions assigned", partitions=[str(where) for where in partitions])
            case Dropped(partitions, in_flight, lost):
                names = [str(where) for where in partitions]
                self._log.info("partitions dropped", partitions=names, in_flight=in_flight, lost=lost)
            case Halted(reason):
                self._log.error("halted", reason=reason)
            case Healed(reason, seconds):
                self._log.info("healed", was=reason, seconds=round(seconds, 1))
            case Throttled(delay, requests_per_minute):
                self._log.warning("throttled", delay=round(delay, 2), requests_per_minute=round(requests_per_minute, 1))
            case CommitFailed(detail):
                self._log.warning("commit failed", detail=detail)
            case Ended(record, kind, reason, seconds):
                write = self._log.info if kind is OutcomeKind.DEAD_LETTER else self._log.debug
                write(kind.value, at=f"{record.source}@{record.offset}", reason=reason, seconds=round(seconds, 3))
            case Retried(record, detail, delay, counted):
                at = f"{record.source}@{record.offset}"
                self._log.debug("retried", at=at, detail=detail, delay=round(delay, 2), counted=counted)
            case Submitted(record, job) | Fetched(record, job):
                at = f"{record.source}@{record.offset}"
                self._log.debug(type(notice).__name__.lower(), at=at, request_id=job.request_id, attempt=job.attempt)
            case Polled(job, completed, age):
                self._log.debug("polled", request_id=job.request_id, completed=completed, age=round(age, 3))


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def notice(self, notice: Notice) -> None:
        """Tell each of them."""
        for observer in self._observers:
            observer.notice(notice)
