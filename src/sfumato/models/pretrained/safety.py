"""What a folder from elsewhere must satisfy before anything of it is loaded.

Nothing here executes or allocates what a file asks for: JSON is read up to a size, configurations are held
to bounds, safetensors headers are compared with the file that they describe. Pickles and remote code are
refused.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfumato.errors import ModelUnavailableError, SfumatoError
from sfumato.models.files.reading import joint_sha256, read_json

MAX_HEADER = 100_000_000  # bytes
MAX_NUMBER, MAX_LAYERS, MAX_ITEMS = 1_000_000, 512, 4096
# These size nothing: transformers writes 1e30 for a tokenizer without a limit, diffusers an infinity.
UNLIMITED = {"model_max_length", "lambda_min_clipped"}
LIMITS = {"sample_size": 4096, "in_channels": 4096, "num_train_timesteps": 100_000}

PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}

Shapes = dict[str, tuple[int, ...]]


def read_config(path: Path) -> dict[str, Any]:
    """A JSON configuration, held to bounds and without remote code.

    Raises:
        ModelUnavailableError: there is none.
        SfumatoError: it is not JSON, asks for code or for absurd sizes.
    """
    config = read_json(path, missing=f"there is no {path}: give a folder that diffusers wrote")
    for key, value in _items(config):
        if key in {"auto_map", "custom_pipelines"}:
            raise SfumatoError(f"{path} asks for code of its own ({key}): code from a model is never run")
        _check_size(path, key, value)
    return config


def _items(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with every value below it, depth first."""
    yield key, value
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _items(below, str(name))
    elif isinstance(value, list):
        for below in value:
            yield from _items(below, key)


def _check_size(path: Path, key: str, value: Any) -> None:
    if isinstance(value, list | dict) and len(value) > MAX_ITEMS:
        raise SfumatoError(f"{path}: {key} has {len(value)} entries, more than {MAX_ITEMS}")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    most = MAX_LAYERS if "layers" in key or "blocks" in key else LIMITS.get(key, MAX_NUMBER)
    if abs(value) > most and key not in UNLIMITED:
        raise SfumatoError(f"{path}: {key} = {value:g} is absurd (at most {most:,}): it is not loaded")


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


def read_shapes(path: Path) -> Shapes:
    """The tensors that a safetensors file holds, by its header, which must describe the file exactly.

    Raises:
        SfumatoError: the header lies, or the file is cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
            raise SfumatoError(
                f"{path} is not a safetensors file, or is cut short: its header would have {length} bytes "
                f"of {size}"
            )
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            spans = {name: _span(entry) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SfumatoError(
                f"the header of {path} lies about its tensors: fetch the model again"
            ) from error
    end = 0
    for start, stop in sorted(spans.values()):
        if start != end:
            raise SfumatoError(f"the header of {path} lies: its tensors overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise SfumatoError(
            f"{path} holds {size - 8 - length} bytes of weights, its header says {end}: fetch the model again"
        )
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    """The bytes of one tensor; ValueError where they do not fit its shape."""
    start, stop = entry["data_offsets"]
    shape = entry["shape"]
    if not all(isinstance(n, int) and n >= 0 for n in (start, stop, *shape)):
        raise ValueError("a shape or an offset is no whole number")
    if math.prod(shape) * BYTES[entry["dtype"]] != stop - start:
        raise ValueError("a tensor has not the bytes of its shape")
    return start, stop


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
