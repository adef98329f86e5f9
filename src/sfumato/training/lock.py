"""One training at a time in a folder: a second one would overwrite the first one's files.

The system holds the lock for a process and frees it when the process ends, however it ends. Where a file
system or an operating system has no such locks there is none.
"""

import contextlib
import os
from pathlib import Path

from sfumato.errors import SfumatoError, UsageError

FILE = "training.lock"


class FolderLock:
    """The lock of a run's folder, from its making until `free`, or until nothing refers to it."""

    def __init__(self, folder: Path) -> None:
        """Raise UsageError where another training has it, with that one's process id."""
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+", encoding="ascii")
        except OSError as error:
            raise SfumatoError(f"cannot write {self.path}: {error.strerror or error}") from error
        if not _locked(self._file.fileno()):
            self._file.seek(0)
            holder = self._file.read(32).strip() or "unknown"
            self._file.close()
            raise UsageError(
                f"{folder} is in use by another training (process {holder}): wait for it, or choose another "
                "folder"
            )
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def free(self) -> None:
        """Let another training have the folder. The file stays: to delete it would race with the next one."""
        self._file.close()


def _locked(descriptor: int) -> bool:
    """Whether this process has the file's lock now."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    with contextlib.suppress(OSError):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
