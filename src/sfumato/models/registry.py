"""Short names and where their weights are. A model is loaded by its name or from a folder."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch

from sfumato.errors import ModelUnavailableError
from sfumato.models.model import Model, load_model


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model that ships with the package."""

    folder: str  #      under sfumato/weights
    summary: str


MODELS: dict[str, Entry] = {
    "digits": Entry(folder="digits", summary="handwritten digits by class, 28 x 28: the modern preset"),
    "digits-class": Entry(
        folder="digits-class", summary="handwritten digits by class: the UNet of the classic exercise"
    ),
    "digits-denoise": Entry(
        folder="digits-denoise", summary="the classic one-step denoiser of digits, at sigma = 0.5"
    ),
}


def weights_folder(entry: Entry) -> Path:
    """Where the package keeps a model's weights."""
    return Path(str(files("sfumato"))) / "weights" / entry.folder


def load(name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Model:
    """A model by its short name, or from a folder that training wrote.

    Raises:
        ModelUnavailableError: there is no such model.
        SfumatoError: its weights are damaged.
    """
    entry = MODELS.get(name)
    if entry is not None:
        return load_model(weights_folder(entry), name=name, device=device, dtype=dtype)
    if Path(name).is_dir():
        return load_model(Path(name), name=name, device=device, dtype=dtype)
    raise ModelUnavailableError(
        f"no model {name!r}: give a folder with model.json, or one of {', '.join(MODELS)}"
    )
