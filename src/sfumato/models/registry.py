"""Short names and where their weights are. A model is loaded by its name or from a folder.

torch is imported by `load` alone, so that a command line can list and complete the names at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import ModelUnavailableError

if TYPE_CHECKING:
    import torch

    from sfumato.models.model import Model


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


def load(name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> Model:
    """A model by its short name, or from a folder that training wrote; computed in float32 by default.

    Raises:
        ModelUnavailableError: there is no such model.
        SfumatoError: its weights are damaged.
    """
    import torch

    from sfumato.models.model import load_model

    entry = MODELS.get(name)
    folder = weights_folder(entry) if entry is not None else Path(name)
    if entry is not None or folder.is_dir():
        return load_model(folder, name=name, device=device, dtype=dtype or torch.float32)
    raise ModelUnavailableError(
        f"no model {name!r}: give a folder with model.json, or one of {', '.join(MODELS)}"
    )
