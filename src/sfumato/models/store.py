"""A folder of weights: `model.json`, which says what they are, and `model.safetensors`, which holds them.

The folder appears whole or not at all, and is read only when the weights have the hash that `model.json`
states.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sfumato.errors import ModelUnavailableError, SfumatoError

DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"


def write_folder(
    folder: Path,
    description: dict[str, Any],
    tensors: dict[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Publish weights with their description; a folder that is there already is replaced.

    Args:
        folder: where to.
        description: JSON-able; "weights" is added to it.
        tensors: by name; the floating-point ones are stored as `dtype`.
        dtype: float32, float16 or bfloat16.

    Raises:
        SfumatoError: the folder cannot be written, or is there and holds something else than weights.
    """
    content = save({name: _stored(tensor, dtype) for name, tensor in tensors.items()})
    weights = {"file": WEIGHTS, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    text = json.dumps({**description, "weights": weights}, indent=2) + "\n"
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not (folder / DESCRIPTION).is_file():
        raise SfumatoError(f"{folder} exists and is no model folder: choose another place")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            (new / WEIGHTS).write_bytes(content)
            (new / DESCRIPTION).write_text(text, encoding="utf-8")
            _swap(new, folder, Path(scratch, "old"))
    except OSError as error:
        raise SfumatoError(f"cannot write the model to {folder}: {error}") from error


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
    try:
        expected = description["weights"]["sha256"]
        content = (folder / WEIGHTS).read_bytes()
    except FileNotFoundError as error:
        raise ModelUnavailableError(
            f"no weights at {folder / WEIGHTS}: fetch or train the model again"
        ) from error
    except OSError as error:
        raise SfumatoError(f"cannot read {folder / WEIGHTS}: {error}") from error
    except (KeyError, TypeError) as error:
        raise SfumatoError(f"{folder / DESCRIPTION} states no hash of its weights: it is damaged") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise SfumatoError(
            f"{folder / WEIGHTS} has not the sha256 that {DESCRIPTION} states: it is cut short or changed; "
            "fetch or train the model again"
        )
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise SfumatoError(f"{folder / WEIGHTS} is not a safetensors file: {error}") from error
    return description, {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def read_description(folder: Path) -> dict[str, Any]:
    """What `model.json` says, the weights unread.

    Raises:
        ModelUnavailableError: nothing is there.
        SfumatoError: it is not readable.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelUnavailableError(f"no model at {folder}: there is no {DESCRIPTION}") from error
    except OSError as error:
        raise SfumatoError(f"cannot read {folder / DESCRIPTION}: {error}") from error
    except ValueError as error:
        raise SfumatoError(f"{folder / DESCRIPTION} is not JSON: {error}") from error
    if not isinstance(description, dict):
        raise SfumatoError(f"{folder / DESCRIPTION} is not a JSON object")
    return description
