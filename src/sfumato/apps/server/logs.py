"""What the server logs: one line a job, with the id of its request; and errors. As text, or as JSON."""

import atexit
import json
import logging
import os
import queue
import sys
import time
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener
from typing import Any, Literal

from sfumato.errors import SfumatoError, first_line
from sfumato.serving import Ended, Job

WAITING = 10_000  # records that are not yet written, at most
LAST_SECONDS = 1.0  # for what is not yet written when the server ends

LogFormat = Literal["text", "json"]

jobs = logging.getLogger("sfumato.jobs")


def configure(log_format: LogFormat) -> None:
    """Send what is logged to stderr, a line a record; of other libraries their warnings.

    A thread of its own writes: nobody else waits where stderr is a pipe that is full.
    """
    records: queue.Queue[logging.LogRecord] = queue.Queue(WAITING)
    handler = _Dropping(records)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    QueueListener(records, _to_stderr()).start()
    atexit.register(_wait_written, records)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    jobs.setLevel(logging.INFO)


def _to_stderr() -> logging.Handler:
    try:
        return _Unbuffered(sys.stderr.fileno())
    except (OSError, AttributeError, ValueError):  # a stream that is no file
        return logging.StreamHandler(sys.stderr)


class _Unbuffered(logging.Handler):
    """Writes to a file descriptor, from one thread: a full pipe holds no lock that the exit waits for."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor

    def createLock(self) -> None:
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # the reader has gone
            os.write(self.descriptor, f"{self.format(record)}\n".encode(errors="replace"))


class _Dropping(QueueHandler):
    """Formats a record and hands it over; one that finds no room is dropped."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self.queue.put_nowait(record)


def _wait_written(records: queue.Queue[logging.LogRecord]) -> None:
    """Let the last records be written, if anybody reads them."""
    end = time.monotonic() + LAST_SECONDS
    while records.unfinished_tasks and time.monotonic() < end:
        time.sleep(0.01)


def log_job(job: Job, ended: Ended) -> None:
    """Log the end of a job, with a traceback where it is a defect. Prompts and users are left out."""
    first = job.recipes[0][0]
    fields: dict[str, Any] = {
        "request_id": job.id,
        "client": job.client.partition("/")[0],
        "outcome": ended.outcome,
        "model": first.model,
        "pictures": len(job),
        "steps": first.steps,
        "wait_seconds": None if job.wait_seconds is None else round(job.wait_seconds, 3),
        "seconds": round(time.time() - job.created, 3),
        "error": None if ended.error is None else first_line(ended.error)[:300],
    }
    given = {key: value for key, value in fields.items() if value is not None}
    unforeseen = None if isinstance(ended.error, SfumatoError | MemoryError | None) else ended.error
    jobs.log(
        logging.INFO if unforeseen is None else logging.ERROR,
        "job",
        extra={"fields": given},
        exc_info=unforeseen,
    )


def _when(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z"


class _JsonFormatter(logging.Formatter):
    """A record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _TextFormatter(logging.Formatter):
    """A record as a line of text, its fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(
            f" {key}={json.dumps(value) if isinstance(value, str) and ' ' in value else value}"
            for key, value in getattr(record, "fields", {}).items()
        )
        line = f"{_when(record)} {record.levelname.lower()} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
