"""Checkpoints that are either complete or not there.

A checkpoint is a folder `step-00001234` of safetensors and JSON. It is written under another name and flushed
to disk; `manifest.json` (size and sha256 of every file, and its own) is written last and makes it complete.
Then the folder is renamed, and only then are older checkpoints deleted. Every byte is verified before it is
used. Nothing is unpickled.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from sfumato.errors import SfumatoError

KEEP = 2
_MANIFEST = "manifest.json"
_FACTS = "facts.json"
_NAME = re.compile(r"step-(\d{8,})")
_ASIDE = ".writing-"


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """Everything that a training needs to go on as if it had not been stopped.

    Attributes:
        step: optimiser steps done.
        facts: JSON values: the preset, the data, counters.
        groups: named sets of tensors ("network", "optimizer", "ema").
    """

    step: int
    facts: Mapping[str, Any]
    groups: Mapping[str, dict[str, Tensor]]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint into `folder`, then deletes all but the newest `KEEP`.

    Returns:
        The checkpoint's own folder. A complete checkpoint of this step stays as it is.

    Raises:
        SfumatoError: the folder cannot be written; older checkpoints are untouched.
    """
    final = checkpoint_path(folder, checkpoint.step)
    if (final / _MANIFEST).exists():
        return final
    aside = folder / f"{_ASIDE}{checkpoint.step:08d}"
    try:
        for left in folder.glob(f"{_ASIDE}*"):  # of a session that was killed while writing
            shutil.rmtree(left)
        aside.mkdir(parents=True)
        _write_files(aside, checkpoint)
        if final.exists():  # incomplete, see above
            shutil.rmtree(final)
        aside.rename(final)
        _flush_folder(folder)
        for old in complete_checkpoints(folder)[:-KEEP]:
            shutil.rmtree(old)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise SfumatoError(f"cannot write the checkpoint {final}: {error.strerror or error}") from error
    return final


def checkpoint_path(folder: Path, step: int) -> Path:
    """The folder of a step's checkpoint."""
    return folder / f"step-{step:08d}"


def complete_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a folder, oldest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    named = [(int(match[1]), path) for path in found if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(named) if (path / _MANIFEST).is_file()]


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint and verifies every file.

    Raises:
        SfumatoError: a file is missing or damaged; the message names it.
    """
    try:
        manifest = _parse((path / _MANIFEST).read_bytes(), _MANIFEST)
        _check_manifest(manifest, path)
        contents = {
            name: _verified(path / Path(name).name, stated["bytes"], stated["sha256"])
            for name, stated in manifest["files"].items()
        }
        return Checkpoint(
            step=int(manifest["step"]),
            facts=_parse(contents.pop(_FACTS), _FACTS),
            groups={name.removesuffix(".safetensors"): load_tensors(c) for name, c in contents.items()},
        )
    except OSError as error:
        raise _unreadable(path, f"cannot read {error.filename}: {error.strerror or error}") from error
    except ValueError as error:
        raise _unreadable(path, f"the checkpoint {path} is damaged: {error}") from error
    except (AttributeError, KeyError, TypeError, SafetensorError) as error:
        raise _unreadable(path, f"the checkpoint {path} is damaged ({error!r})") from error


def _unreadable(path: Path, reason: str) -> SfumatoError:
    """The error that also says what the user can do."""
    older = [other for other in complete_checkpoints(path.parent) if other != path]
    remedy = f"delete {path} to go on from {older[-1].name}" if older else "start again in another folder"
    return SfumatoError(f"{reason}; {remedy}")


def _write_files(aside: Path, checkpoint: Checkpoint) -> None:
    contents = {_FACTS: _json(checkpoint.facts)}
    for name, tensors in checkpoint.groups.items():
        held = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        contents[f"{name}.safetensors"] = save_tensors(held)
    files = {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in contents.items()}
    stated = {"step": checkpoint.step, "files": files}
    contents[_MANIFEST] = _json({**stated, "sha256": hashlib.sha256(_json(stated)).hexdigest()})
    for name, content in contents.items():
        with (aside / name).open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    _flush_folder(aside)


def _check_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    """ValueError where the manifest was changed: by its own sha256, which version 0.1 did not write."""
    stated = {name: value for name, value in manifest.items() if name != "sha256"}
    own = hashlib.sha256(_json(stated)).hexdigest()
    if manifest.get("sha256", own) != own:
        raise ValueError(f"{_MANIFEST} does not have the checksum it was written with")
    if path.name != checkpoint_path(path, int(manifest["step"])).name:
        raise ValueError(f"{_MANIFEST} is of step {manifest['step']!r:.20}, not of {path.name}")


def _verified(path: Path, size: int, sha256: str) -> bytes:
    content = path.read_bytes()
    if len(content) != size:
        raise ValueError(f"{path.name} is cut short: {len(content)} bytes where {size} were written")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path.name} does not have the checksum it was written with")
    return content


def _parse(content: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object")
    return value


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _flush_folder(path: Path) -> None:
    """Flushes the names in a folder to disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
