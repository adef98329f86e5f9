"""Results that wait to be fetched, in memory and within bounds: jobs by id, files by random names."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from sfumato.serving import Job

MAX_JOBS = 1024


@dataclass(frozen=True)
class File:
    """An encoded picture."""

    data: bytes
    media_type: str
    made: float = field(default_factory=time.monotonic)


class Store:
    """Files and ended jobs, at most max_bytes of them and at most `seconds` old. The oldest leave first."""

    def __init__(self, *, max_bytes: int, seconds: float) -> None:
        self.max_bytes, self.seconds = max_bytes, seconds
        self._files: OrderedDict[str, File] = OrderedDict()
        self._jobs: OrderedDict[str, tuple[Job, int]] = OrderedDict()  # with the factor of its pictures
        self._lock = threading.Lock()

    def put(self, file: File, extension: str) -> str:
        """Keep a file; returns its name, which cannot be guessed."""
        name = f"{secrets.token_hex(16)}{extension}"
        with self._lock:
            self._files[name] = file
            self._tidy()
        return name

    def file(self, name: str) -> File | None:
        """The file of this name, or None."""
        with self._lock:
            self._tidy()
            return self._files.get(name)

    def keep(self, job: Job, enlarge: int) -> None:
        """Keep a job, to be found by its id."""
        with self._lock:
            self._jobs[job.id] = (job, enlarge)
            self._tidy()

    def forget(self, job: Job) -> None:
        """Drop a job."""
        with self._lock:
            self._jobs.pop(job.id, None)

    def job(self, name: str) -> tuple[Job, int] | None:
        """The job of this id and the factor of its pictures, or None."""
        with self._lock:
            self._tidy()
            return self._jobs.get(name)

    @property
    def bytes(self) -> int:
        """Bytes of the files and of the pictures of kept jobs."""
        files = sum(len(file.data) for file in self._files.values())
        return files + sum(_bytes(job) for job, _ in self._jobs.values())

    def _tidy(self) -> None:
        old = time.monotonic() - self.seconds
        while self._files and (
            next(iter(self._files.values())).made < old
            or sum(len(file.data) for file in self._files.values()) > self.max_bytes
        ):
            self._files.popitem(last=False)
        ended = [name for name, (job, _) in self._jobs.items() if job.state.ended]
        held = sum(_bytes(job) for job, _ in self._jobs.values())
        for name in ended:
            job, _ = self._jobs[name]
            late = time.time() - job.created > self.seconds
            if not late and held <= self.max_bytes and len(self._jobs) <= MAX_JOBS:
                break
            held -= _bytes(job)
            del self._jobs[name]


def _bytes(job: Job) -> int:
    return sum(x.numel() * x.element_size() for x in job.pictures if x is not None)
