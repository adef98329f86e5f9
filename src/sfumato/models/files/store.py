"""A folder of weights: `model.json`, which says what they are, and `model.safetensors`, which holds them.

The folder appears whole or not at all, and is read only when every file of it has the hash that `model.json`
states. Weights of more than `SHARD` bytes lie in several files:

    "weights": {"file": "model.safetensors", "sha256": ..., "bytes": ...}
    "weights": {"sha256": ..., "bytes": ..., "shards": [{"file": ..., "sha256": ..., "bytes": ...}, ...]}
    "files": [{"file": "tokenizer.json", "sha256": ..., "bytes": ...}]        what else the model needs

The sha256 of weights in shards is that of the shards' own, one after another in hexadecimal. Files may lie in
folders below; "prefix" beside the weights is what their names begin with in the files (export.py).
"""

import hashlib
import json
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sfumato.errors import ModelUnavailableError, SfumatoError
from sfumato.models.files.headers import Shapes, read_shapes
from sfumato.models.files.reading import joint_sha256, read_json
from sfumato.parsing import inside

DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"
SHARD = 15_000_000  # bytes of one file of weights at most
ENTRY = 128  #         bytes that a tensor takes in a safetensors header at most, its name apart


def write_folder(
    folder: Path,
    description: dict[str, Any],
    tensors: dict[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    files: Mapping[str, bytes] | None = None,
    shard: int = SHARD,
) -> None:
    """Publish weights with their description; a folder that is there already is replaced.

    Args:
        description: JSON-able; "weights" is added to it, and "files" where there are any.
        dtype: of the floating-point tensors as they are stored: float32, float16 or bfloat16.
        files: what else the model needs, by plain file name; `read_file` reads it.
        shard: bytes of one file of weights at most; a single tensor of more has a file of its own.

    Raises:
        SfumatoError: the folder cannot be written, or is there and holds something else than weights.
    """
    parts = list(_parts({name: _stored(tensor, dtype) for name, tensor in tensors.items()}, shard))
    contents = {name: save(part) for name, part in zip(_names(len(parts)), parts, strict=True)}
    shards = [file_entry(name, content) for name, content in contents.items()]
    weights = shards[0]
    if len(shards) > 1:
        sha256 = joint_sha256([shard["sha256"] for shard in shards])
        weights = {"sha256": sha256, "bytes": sum(shard["bytes"] for shard in shards), "shards": shards}
    stated = {**description, "weights": weights}
    if files:
        stated["files"] = [file_entry(name, content) for name, content in files.items()]

    def write(place: Path) -> None:
        for name, content in (contents | dict(files or {})).items():
            (place / name).write_bytes(content)
        write_description(place / DESCRIPTION, stated)

    publish_folder(folder, write)


def publish_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Publish what `write` puts into an empty folder; errors are those of `write_folder`."""
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not (folder / DESCRIPTION).is_file():
        raise SfumatoError(f"{folder} exists and is no model folder: choose another place")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            write(new)
            _swap(new, folder, Path(scratch, "old"))
    except OSError as error:
        raise SfumatoError(f"cannot write the model to {folder}: {error}") from error


def write_description(path: Path, description: Mapping[str, Any]) -> None:
    """A JSON file that people can read."""
    path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _parts(tensors: Mapping[str, Tensor], limit: int) -> Iterator[dict[str, Tensor]]:
    """The tensors, in their order, in parts whose files have at most `limit` bytes."""
    part, size = dict[str, Tensor](), 0
    for name, tensor in tensors.items():
        more = tensor.nbytes + len(json.dumps(name)) + ENTRY
        if part and size + more > limit:
            yield part
            part, size = {}, 0
        part[name] = tensor
        size += more
    yield part


def _names(count: int) -> list[str]:
    """The files of weights in `count` parts."""
    if count == 1:
        return [WEIGHTS]
    return [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]


def file_entry(name: str, content: bytes) -> dict[str, Any]:
    """What a description states of a file."""
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Put `new` in the place of `folder`; on failure what was there is back."""
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:  # a signal, too
        old.rename(folder)
        raise
    shutil.rmtree(old)


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the verified tensors of a folder; stored floating-point tensors come as float32.

    Raises:
        ModelUnavailableError: nothing is there.
        SfumatoError: what is there is damaged or not readable.
    """
    description = read_description(folder)
    stated, prefix = _stated_weights(folder, description)
    tensors: dict[str, Tensor] = {}
    for name, sha256, size in stated:
        try:
            tensors |= load(_verified(folder, name, sha256, "weights", size))
        except SafetensorError as error:
            raise SfumatoError(f"{folder / name} is not a safetensors file: {error}") from error
    return description, {
        name.removeprefix(prefix): t.float() if t.is_floating_point() else t for name, t in tensors.items()
    }


def _stated_weights(folder: Path, description: Mapping[str, Any]) -> tuple[list[tuple[str, str, int]], str]:
    """The name, hash and bytes of each file of weights; what the names of weights begin with there."""
    try:
        weights = description["weights"]
        shards = weights.get("shards", [weights])
        stated = [(_below(shard["file"]), str(shard["sha256"]), int(shard["bytes"])) for shard in shards]
        prefix = str(weights.get("prefix", ""))
        whole = weights["sha256"] == joint_sha256([sha256 for _, sha256, _ in stated])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SfumatoError(f"{folder / DESCRIPTION} states no hash of its weights: it is damaged") from error
    if not whole:
        raise SfumatoError(f"{folder / DESCRIPTION}: the hash of its weights is not that of its shards")
    return stated, prefix


def read_file(folder: Path, description: Mapping[str, Any], name: str) -> bytes:
    """The verified content of a file that lies beside the weights, `description` being that of the folder.

    Raises:
        ModelUnavailableError: it is not there.
        SfumatoError: it is damaged, or the description does not state it.
    """
    try:
        ((sha256, size),) = [
            (str(stated["sha256"]), int(stated["bytes"]))
            for stated in description["files"]
            if stated["file"] == name
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise SfumatoError(f"{folder / DESCRIPTION} states no hash of {name}: it is damaged") from error
    return _verified(folder, name, sha256, "file", size)


def _checked(folder: Path, name: str, what: str, size: int) -> Path:
    """The path of a regular file of the folder that has the stated bytes; errors as of `read_folder`."""
    path = folder / name
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelUnavailableError(f"no {what} at {path}: fetch or train the model again") from error
    except (OSError, ValueError) as error:
        raise SfumatoError(f"cannot read {path}: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise SfumatoError(f"cannot read {path}: it is not a regular file")
    if not inside(path, folder):
        raise SfumatoError(f"{path} leads out of {folder}: put the file itself there")
    if found.st_size != size:
        raise SfumatoError(
            f"{path} has not the sha256 that {DESCRIPTION} states ({found.st_size} bytes, not {size}): it is "
            "cut short or changed; fetch or train the model again"
        )
    return path


def read_shapes_of(folder: Path, description: Mapping[str, Any]) -> Shapes:
    """The shapes of the weights, by the headers of their files; nothing else of them is read.

    Raises:
        ModelUnavailableError, SfumatoError: as `read_folder`.
    """
    shapes: Shapes = {}
    stated, prefix = _stated_weights(folder, description)
    for name, _, size in stated:
        shapes |= read_shapes(_checked(folder, name, "weights", size))
    return {name.removeprefix(prefix): shape for name, shape in shapes.items()}


def _below(name: str) -> str:
    """The path of a file, refused with ValueError where it leads out of the folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{name} is not below the folder")
    return name


def _verified(folder: Path, name: str, sha256: str, what: str, size: int) -> bytes:
    path = _checked(folder, name, what, size)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SfumatoError(f"cannot read {path}: {error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SfumatoError(
            f"{path} has not the sha256 that {DESCRIPTION} states: it is cut short or changed; "
            "fetch or train the model again"
        )
    return content


def read_description(folder: Path) -> dict[str, Any]:
    """What `model.json` says, the weights unread.

    Raises:
        ModelUnavailableError, SfumatoError: as `read_json`.
    """
    return read_json(folder / DESCRIPTION, missing=f"no model at {folder}: there is no {DESCRIPTION}")
