"""Files: read within a limit of size, recognised by content, written whole or not at all."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sfumato.errors import SfumatoError, UsageError

MAX_FILE_BYTES = 128 * 2**20
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # written: extension -> format
_ALSO_READ = {
    ".jfif": "JPEG",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
}
READ_FORMATS = FORMATS | _ALSO_READ  # read: extension -> format

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"BM", "BMP"),
    (0, b"%PDF", "PDF"),
)
_AVIF = {b"avif", b"avis"}  # brands of ISO/IEC 14496-12 and 23008-12
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def one_line(text: object) -> str:
    """The text on one line: every run of white space becomes one space."""
    return " ".join(str(text).split())


def sniff(data: bytes) -> str | None:
    """The format by the first bytes ("PNG", "GIF", "SVG", …), or None."""
    for offset, signature, name in _SIGNATURES:
        if data.startswith(signature, offset):
            return name
    if data.startswith(b"ftyp", 4):
        return _of_brands(data)
    return "SVG" if b"<svg" in data[:2048].lower() else None


def _of_brands(data: bytes) -> str:
    """The format of a file of boxes, by the brands that its first box names."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, end, 4))}
    return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIF else "MP4"


class FileContent(NamedTuple):
    """The bytes of a file, its name in messages, and its extension ("" for bytes without a file)."""

    data: bytes
    name: str
    extension: str


def read_content(source: str | os.PathLike[str] | bytes) -> FileContent:
    """The content of bytes or of a regular file, 1 .. MAX_FILE_BYTES bytes; UsageError for anything else."""
    if isinstance(source, bytes):
        _check_length(len(source), "the picture")
        return FileContent(source, "the picture", "")
    path = Path(source)
    name = one_line(path)
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise UsageError(f"{name} is a folder: name one picture file in it")
        if not stat.S_ISREG(info.st_mode):
            raise UsageError(f"{name} is not a regular file: save the picture in a file first")
        _check_length(info.st_size, name)
        return FileContent(path.read_bytes(), name, path.suffix.lower())
    except UsageError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"there is no file {name}: check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"cannot read {name} ({_reason(error)}): check the path and its rights") from error


def _check_length(length: int, name: str) -> None:
    if not length:
        raise UsageError(f"{name} is empty (0 bytes): save or download it again")
    if length > MAX_FILE_BYTES:
        limit = f"{MAX_FILE_BYTES // 2**20} MiB"
        raise UsageError(f"{name} has {length / 2**20:.0f} MiB, over the limit of {limit}: make it smaller")


def _reason(error: Exception) -> str:
    """The message of the system, without the path."""
    return one_line(getattr(error, "strerror", None) or error)


def check_destination(path: str | os.PathLike[str], extensions: tuple[str, ...] = tuple(FORMATS)) -> Path:
    """Checks that a picture can be written at `path`, before anything is computed for it; returns the path.

    Errors: UsageError for an extension not in `extensions`; SfumatoError for a folder that is missing or not
    writable, and for a name of something that is no file.
    """
    path = Path(path)
    name, folder = one_line(path), one_line(path.parent)
    if path.suffix.lower() not in extensions:
        raise UsageError(f"cannot write {name}: give it one of the extensions {', '.join(extensions)}")
    try:
        if not path.parent.is_dir():
            raise SfumatoError(f"cannot write {name}: there is no folder {folder}; make it first")
        if not stat.S_ISREG(path.stat().st_mode):
            raise SfumatoError(f"cannot write {name}: something else has that name; choose another")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise SfumatoError(f"cannot write {name} ({_reason(error)}): choose another name") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise SfumatoError(f"cannot write {name}: the folder {folder} is not writable; choose another")
    return path


@contextlib.contextmanager
def encoding(path: Path, instead: str) -> Iterator[None]:
    """Turns an encoder's error (a side over the format's limit, a missing codec) into a SfumatoError."""
    try:
        yield
    except SfumatoError:
        raise
    except Exception as error:
        raise SfumatoError(f"cannot write {one_line(path)} ({one_line(error)}): {instead}") from error


def publish(path: Path, data: bytes) -> None:
    """Writes `data` to `path` in one step: after an error the old file is still there."""
    part = path.parent / f".sfumato-{secrets.token_hex(8)}.part"
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, ValueError) as error:
        where = f"{one_line(path)} ({_reason(error)})"
        raise SfumatoError(f"cannot write {where}: choose another folder or name") from error
    finally:
        with contextlib.suppress(OSError, ValueError):  # there only after an error
            part.unlink()
