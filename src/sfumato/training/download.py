"""The files of a data set: read from a folder on disk, which is filled from the first source that works.

Contract: a file counts only when the sha256 of its decompressed content is the published one, whatever the
source. The sources that are packages of npm and Debian are in packages.py.
"""

import gzip
import hashlib
import io
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sfumato.cache import cache_folder
from sfumato.errors import SfumatoError
from sfumato.pictures.files import one_line, publish

_TIMEOUT_SECONDS = 10.0

Read = Callable[[str], bytes]  # a file's name -> its bytes, plain or gzip; raises SourceError


@dataclass(frozen=True, kw_only=True)
class ExpectedFile:
    """The size in bytes and the sha256 of a file's decompressed content."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """One place that may have the files: `open` gets a scratch folder and returns a reader."""

    title: str
    open: Callable[[Path], Read]


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The files of a data set and the sources to try, in order."""

    name: str
    files: Mapping[str, ExpectedFile]
    sources: tuple[FileSource, ...]


class SourceError(Exception):
    """This source does not have the files; the next one is tried."""


def fetch(collection: Collection, names: tuple[str, ...], cache: Path | None = None) -> dict[str, bytes]:
    """The verified content of `names`, from disk or else from the first source that has them.

    The files lie in `datasets/<collection>` of the cache. cache: a folder instead of `cache_folder()`; the
    files may also lie in this folder itself.

    Raises:
        SfumatoError: no source has them; the message lists what was tried and where to put the files by hand.
    """
    folder = (cache or cache_folder()) / "datasets" / collection.name
    tried = []
    for place in (folder,) if cache is None else (folder, cache):
        try:
            return _read_verified(collection, names, _reader_of_folder(place))
        except SourceError as error:
            tried.append(f"the disk ({error})")
    for source in collection.sources:
        with tempfile.TemporaryDirectory(prefix="sfumato-") as scratch:
            try:
                found = _read_verified(collection, tuple(collection.files), source.open(Path(scratch)))
            except SourceError as error:
                tried.append(f"{source.title} ({error})")
                continue
        _store(folder, found)
        return {name: found[name] for name in names}
    raise SfumatoError(
        f"cannot get the data set {collection.name}; tried {', '.join(tried)}. "
        f"Put {', '.join(collection.files)} (plain or .gz) into {folder} and run again"
    )


def _read_verified(collection: Collection, names: tuple[str, ...], read: Read) -> dict[str, bytes]:
    found = {}
    for name in names:
        content = _decompress(read(name), collection.files[name].size, name)
        if hashlib.sha256(content).hexdigest() != collection.files[name].sha256:
            raise SourceError(f"{name} has the wrong checksum")
        found[name] = content
    return found


def _decompress(content: bytes, size: int, name: str) -> bytes:
    """At most one byte more than the expected size, however much a gzip file would unpack to."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{name}: {error}") from error


def _store(folder: Path, found: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            publish(folder / f"{name}.gz", gzip.compress(content, compresslevel=6, mtime=0))
            (folder / name).unlink(missing_ok=True)  # a plain file would be read first, and it is damaged
    except OSError as error:
        raise SfumatoError(
            f"cannot write the data cache {folder}: {error.strerror or error}; "
            "set SFUMATO_CACHE to a writable folder"
        ) from error


def _reader_of_folder(folder: Path) -> Read:
    def read(name: str) -> bytes:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                try:
                    return path.read_bytes()
                except OSError as error:
                    raise SourceError(f"{path}: {error.strerror}") from error
        raise SourceError(f"no {name} in {folder}")

    return read


def folder_source(title: str, folder: Path) -> FileSource:
    """Files that another package installs on this machine."""
    return FileSource(title=title, open=lambda _: _reader_of_folder(folder))


def mirror(base: str) -> FileSource:
    """`<base>/<name>.gz` over https."""

    def open_in(scratch: Path) -> Read:
        try:
            import pooch
        except ImportError as error:
            raise SourceError("pooch is not installed: pip install 'sfumato[train]'") from error
        pooch.get_logger().setLevel("WARNING")
        downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS)

        def read(name: str) -> bytes:
            try:  # pooch would check the sha256 of the compressed bytes: `fetch` checks the content
                url = f"{base}/{name}.gz"
                return Path(pooch.retrieve(url, None, name, scratch, downloader=downloader)).read_bytes()
            except (OSError, ValueError) as error:  # errors of requests are OSErrors
                raise SourceError(one_line(error)) from error

        return read

    return FileSource(title=base.split("/")[2], open=open_in)
