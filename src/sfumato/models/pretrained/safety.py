"""What a folder from elsewhere must satisfy before anything of it is loaded.

Nothing here executes or allocates what a file asks for: JSON is read up to a size, configurations are held
to bounds, safetensors headers are compared with the file that they describe. Pickles and remote code are
refused.
"""

import hashlib
import re
import stat
from pathlib import Path
from typing import Any

from sfumato.errors import ModelUnavailableError, SfumatoError
from sfumato.models.files.bounds import check_sizes, items
from sfumato.models.files.reading import joint_sha256, read_json
from sfumato.parsing import inside

PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}


def read_config(path: Path) -> dict[str, Any]:
    """A JSON configuration, held to bounds and without remote code.

    Raises:
        ModelUnavailableError: there is none.
        SfumatoError: it is not JSON, asks for code or for absurd sizes.
    """
    config = read_json(path, missing=f"there is no {path}: give a folder that diffusers wrote")
    for key, _ in items(config):
        if key in {"auto_map", "custom_pipelines"}:
            raise SfumatoError(f"{path} asks for code of its own ({key}): code from a model is never run")
    check_sizes(path, config)
    return config


def check_files(place: Path, root: Path) -> None:
    """Refuse a component, in the folder of a model, that holds something else than files of that folder.

    A device or a pipe has no end, and a link may lead to any file of this machine: SfumatoError.
    """
    for path in place.iterdir():
        try:
            kind = path.stat().st_mode
        except OSError as error:
            raise SfumatoError(f"cannot read {path}: {error.strerror or error}") from error
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise SfumatoError(f"{path} is not a regular file: it is not read")
        if not inside(path, root):
            raise SfumatoError(f"{path} leads out of {root}: put the file itself there")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a component, in order; all of its shards.

    Raises:
        ModelUnavailableError: there are none.
        SfumatoError: there are pickles instead, or an index that names something else.
    """
    if not folder.is_dir():
        raise ModelUnavailableError(f"there is no {folder}: fetch the model again")
    for stem in ("diffusion_pytorch_model", "model"):
        if (folder / f"{stem}.safetensors").is_file():
            return [folder / f"{stem}.safetensors"]
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            return _shards(index)
    if any(path.suffix in PICKLES for path in folder.iterdir()):
        raise SfumatoError(
            f"{folder} holds its weights as a pickle, which can run code when it is opened: "
            "convert them to safetensors"
        )
    raise ModelUnavailableError(f"there are no safetensors weights in {folder}: fetch the model again")


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(read_json(index, missing=f"there is no {index}")["weight_map"].values()))
    except (KeyError, TypeError, AttributeError) as error:
        raise SfumatoError(f"{index} is not an index of shards") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise SfumatoError(f"{index} names {name!r}, which is no safetensors file beside it")
        if not (index.parent / name).is_file():
            raise ModelUnavailableError(f"the shard {index.parent / name} is missing: fetch the model again")
    return [index.parent / name for name in names]


def weights_digest(*folders: Path) -> str:
    """The sha256 of the weights of components: of the one file, or of all files' hashes in order."""
    return joint_sha256([joint_sha256([*map(_file_digest, weight_files(folder))]) for folder in folders])


def _file_digest(path: Path) -> str:
    # The hub's cache keeps a large file under its sha256, verified on the way in.
    blob = path.resolve().name
    if path.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
