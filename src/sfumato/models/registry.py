"""Short names and where their weights are. A model is loaded by its name or from a folder.

torch is imported by `load` alone, so that a command line can list and complete the names at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import ModelUnavailableError, UsageError

if TYPE_CHECKING:
    import torch

    from sfumato.models.cascade import Cascade
    from sfumato.models.model import Model


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model that ships with the package."""

    folder: str  #      under sfumato/weights
    summary: str


MODELS: dict[str, Entry] = {
    "digits": Entry(folder="digits", summary="handwritten digits by class, 28 x 28: the modern preset"),
    "digits-class": Entry(
        folder="digits-class", summary="digits by class: the classic exercise, so far 0.8 of 20 epochs"
    ),
    "digits-denoise": Entry(
        folder="digits-denoise", summary="the classic one-step denoiser, sigma = 0.5, so far 0.2 of 5 epochs"
    ),
}


def weights_folder(entry: Entry) -> Path:
    """Where the package keeps a model's weights."""
    return Path(str(files("sfumato"))) / "weights" / entry.folder


def load(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    offline: bool = False,
) -> Model:
    """A model by its short name, from a folder that training or diffusers wrote, or by its id on the hub.

    Computed in float32 by default. A hub id is `owner/name`, with `@revision` where one is pinned; offline
    takes it from the local cache alone.

    Raises:
        ModelUnavailableError: there is no such model, or it is gated or out of reach.
        SfumatoError: its weights are damaged, or not to be trusted.
    """
    import torch

    from sfumato.models.model import load_model
    from sfumato.models.pretrained import HUB, fetch, is_repository, load_folder

    dtype = dtype or torch.float32
    entry = MODELS.get(name)
    folder = weights_folder(entry) if entry is not None else Path(name)
    if name in HUB or (entry is None and not folder.exists() and is_repository(name)):
        return load_folder(fetch(name, offline=offline), name=name, device=device, dtype=dtype)
    if (folder / "model_index.json").is_file():
        return load_folder(folder, name=name, device=device, dtype=dtype)
    if entry is not None or folder.is_dir():
        return load_model(folder, name=name, device=device, dtype=dtype)
    raise ModelUnavailableError(
        f"no model {name!r}: give a folder with model.json or model_index.json, a hub id, or one of "
        f"{', '.join([*MODELS, *HUB])}"
    )


def load_cascade(
    name: str,
    *stages: str,
    upscale: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    offline: bool = False,
    one_at_a_time: bool = False,
) -> Cascade:
    """A model and the stages that make its pictures larger, each as `load` has it.

    Without `stages` they are those that were published for the model, as far as the height `upscale` (the
    first of them without one). one_at_a_time: a stage's network leaves the memory before the next one comes.

    Raises:
        UsageError: none were published, none of these makes that height, or they do not fit.
        ModelUnavailableError, SfumatoError: as `load`.
    """
    from sfumato.models.cascade import Cascade
    from sfumato.models.pretrained import HUB

    cascade = Cascade(
        load(name, device=device, dtype=dtype, offline=offline),
        *(load(stage, device=device, dtype=dtype, offline=offline) for stage in stages),
        one_at_a_time=one_at_a_time,
    )
    published = HUB[name].larger if name in HUB and not stages else None
    if published is None and not stages:
        raise UsageError(f"no stages were published for {name}: name the models that make it larger")
    while published is not None:
        stage = load(published, device=device, dtype=dtype, offline=offline)
        cascade = Cascade(*cascade.models, stage, one_at_a_time=one_at_a_time)
        published = HUB[published].larger if upscale is not None and cascade.sizes[-1] < upscale else None
    return cascade if upscale is None else cascade.up_to(upscale)
