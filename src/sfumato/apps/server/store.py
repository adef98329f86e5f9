"""Results that wait to be fetched, in memory and within bounds: jobs by id, files by random names."""

import secrets
import threading
import time
from dataclasses import dataclass, field

from sfumato.serving import Job

MAX_JOBS = 1024


@dataclass(frozen=True)
class File:
    """An encoded picture."""

    data: bytes
    media_type: str
    made: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, eq=False)
class KeptJob:
    """A job, the whole factor that enlarges its pictures, and what its answer warns of."""

    job: Job
    enlarge: int
    warnings: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of its pictures."""
        return sum(x.numel() * x.element_size() for x in self.job.pictures if x is not None)


class Store:
    """Files and ended jobs, at most max_bytes of them and at most `seconds` old. The oldest leave first."""

    def __init__(self, *, max_bytes: int, seconds: float) -> None:
        self.max_bytes, self.seconds = max_bytes, seconds
        self._files: dict[str, File] = {}
        self._jobs: dict[str, KeptJob] = {}
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

    def keep(self, kept: KeptJob) -> None:
        """Keep a job, to be found by its id."""
        with self._lock:
            self._jobs[kept.job.id] = kept
            self._tidy()

    def forget(self, job: Job) -> None:
        with self._lock:
            self._jobs.pop(job.id, None)

    def job(self, name: str) -> KeptJob | None:
        """The job of this id, or None."""
        with self._lock:
            self._tidy()
            return self._jobs.get(name)

    @property
    def bytes(self) -> int:
        """Bytes of the files and of the pictures of kept jobs."""
        return self._file_bytes() + sum(kept.bytes for kept in self._jobs.values())

    def _file_bytes(self) -> int:
        return sum(len(file.data) for file in self._files.values())

    def _tidy(self) -> None:
        old = time.monotonic() - self.seconds
        for name, file in list(self._files.items()):
            if file.made >= old and self._file_bytes() <= self.max_bytes:
                break
            del self._files[name]
        held = sum(kept.bytes for kept in self._jobs.values())
        for name, kept in list(self._jobs.items()):
            late = time.time() - kept.job.created > self.seconds
            if kept.job.state.ended and (late or held > self.max_bytes or len(self._jobs) > MAX_JOBS):
                held -= kept.bytes
                del self._jobs[name]
