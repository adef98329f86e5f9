"""Short names and where their weights are. A model is loaded by its name or from a folder.

torch is imported by `load` alone, so that a command line can list and complete the names at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import ModelUnavailableError, UsageError

if TYPE_CHECKING:
    import torch

    from sfumato.models.cascade import Cascade
    from sfumato.models.model import Model
    from sfumato.models.runtime.runner import Compile, Offload


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model that ships with the package."""

    folder: str  #      under sfumato/weights
    summary: str


MODELS: dict[str, Entry] = {
    "emoji": Entry(folder="emoji", summary="text to image, 64 x 64: emoji in four styles, free English text"),
    "digits": Entry(folder="digits", summary="handwritten digits by class, 28 x 28: the modern preset"),
    "digits-class": Entry(
        folder="digits-class", summary="digits by class: the classic exercise, guidance 5, DDPM in 300 steps"
    ),
    "digits-time": Entry(
        folder="digits-time", summary="digits of any class: the classic exercise, DDPM in 300 steps"
    ),
    "digits-denoise": Entry(folder="digits-denoise", summary="the classic one-step denoiser, sigma = 0.5"),
}


def weights_folder(entry: Entry) -> Path:
    """Where the package keeps a model's weights."""
    return Path(str(files("sfumato"))) / "weights" / entry.folder


def load(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    compile: Compile = "auto",
    offload: Offload = "no",
    offline: bool = False,
    embeddings: Sequence[str | Path] = (),
) -> Model:
    """A model by its short name, from a folder that training or diffusers wrote, or by its id on the hub.

    Computed in float32 by default. compile: whether torch.compile makes it faster, after a minute or two;
    auto is off on a CPU, and on for long runs on a GPU. offload: where the weights of a pretrained model wait
    while a GPU does not need them (both in models/speed.py). A hub id is `owner/name`, with
    `@revision` where one is pinned; offline takes it from the local cache alone. embeddings: files of encoded
    prompts (`sfumato encode`), with which a large text encoder is not fetched.

    Raises:
        UsageError: embeddings that are not of this model; compiling or offloading that has no effect here.
        ModelUnavailableError: there is no such model, or it is gated or out of reach.
        SfumatoError: its weights are damaged, or not to be trusted.
    """
    model = _found(
        name,
        device=device,
        dtype=dtype,
        compile=compile,
        offload=offload,
        offline=offline,
        encoded=bool(embeddings),
    )
    for path in embeddings:
        model.read_embeddings(Path(path))
    return model


def _found(
    name: str,
    *,
    device: str | torch.device,
    dtype: torch.dtype | None,
    compile: Compile,
    offload: Offload,
    offline: bool,
    encoded: bool,
) -> Model:
    """A model as `load` has it; encoded: its prompts come encoded."""
    import torch

    from sfumato.models.runtime.runner import check_compile, check_offload

    dtype = dtype or torch.float32
    check_offload(offload, torch.device(device), check_compile(compile, torch.device(device)))
    model = _from_folder(name, device=device, dtype=dtype, offline=offline, encoded=encoded)
    return model.to(device, dtype, compile=compile, offload=offload)


def _from_folder(
    name: str, *, device: str | torch.device, dtype: torch.dtype, offline: bool, encoded: bool
) -> Model:
    """The model of a name's folder, fetched where it must be."""
    from sfumato.models.files.saved import load_model
    from sfumato.models.files.store import DESCRIPTION
    from sfumato.models.pretrained import HUB, fetch, is_repository, load_folder

    entry = MODELS.get(name)
    folder = weights_folder(entry) if entry is not None else Path(name)
    if name in HUB or (entry is None and not folder.exists() and is_repository(name)):
        fetched = fetch(name, offline=offline, encoded=encoded)
        return load_folder(fetched, name=name, device=device, dtype=dtype)
    own = (folder / DESCRIPTION).is_file()  #  a folder that was exported for diffusers has both
    if (folder / "model_index.json").is_file() and not own:
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
    compile: Compile = "auto",
    offload: Offload = "no",
    offline: bool = False,
    embeddings: Sequence[str | Path] = (),
    one_at_a_time: bool = False,
) -> Cascade:
    """A model and the stages that make its pictures larger, each as `load` has it.

    Without `stages` they are those that were published for the model, as far as the height `upscale` (the
    first of them without one). Each file of embeddings goes to every stage that it fits. one_at_a_time: a
    stage's network leaves the memory before the next one comes.

    Raises:
        UsageError: none were published, none of these makes that height, or they do not fit.
        ModelUnavailableError, SfumatoError: as `load`.
    """
    from sfumato.models.cascade import Cascade
    from sfumato.models.pretrained import HUB

    found = partial(_found, device=device, dtype=dtype, compile=compile, offload=offload, offline=offline)
    first = found(name, encoded=bool(embeddings))
    cascade = Cascade(first, *(found(stage, encoded=bool(embeddings)) for stage in stages))
    published = HUB[name].larger if name in HUB and not stages else None
    if published is None and not stages:
        raise UsageError(f"no stages were published for {name}: name the models that make it larger")
    while published is not None:
        # what was published together has one text encoder, which the first model brings
        cascade = Cascade(*cascade.models, found(published, encoded=True))
        published = HUB[published].larger if upscale is not None and cascade.sizes[-1] < upscale else None
    if upscale is not None:
        cascade = cascade.up_to(upscale)
    for path in embeddings:
        _read_embeddings(cascade.models, Path(path))
    return Cascade(*cascade.models, one_at_a_time=one_at_a_time)


def _read_embeddings(models: Sequence[Model], path: Path) -> None:
    """Give a file of embeddings to the models that it fits; to none of them is a UsageError."""
    refused: list[UsageError] = []
    for model in models:
        try:
            model.read_embeddings(path)
        except UsageError as error:
            refused.append(error)
    if len(refused) == len(models):
        raise refused[0]
