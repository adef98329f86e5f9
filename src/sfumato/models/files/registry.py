"""Short names and where their weights are. A model is loaded by its name or from a folder.

torch is imported by the functions alone, so that a command line can list and complete the names at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import ModelUnavailableError, UsageError, did_you_mean

if TYPE_CHECKING:
    import torch

    from sfumato.models.cascade import Cascade, Stages
    from sfumato.models.model import Model
    from sfumato.models.runtime.placement import Compile, Offload, Placement


# The models that ship with the package, under sfumato/weights: name -> summary.
MODELS = {
    "emoji": "text to image, 64 x 64 and 256 x 256: emoji in ten styles, free English text",
    "emoji-256": "makes emoji of 64 pixels 256 x 256: the second stage of emoji",
    "digits": "handwritten digits by class, 28 x 28: the modern preset",
    "digits-class": "digits by class: the classic exercise, guidance 5, DDPM in 300 steps",
    "digits-time": "digits of any class: the classic exercise, DDPM in 300 steps",
    "digits-denoise": "the classic one-step denoiser, sigma = 0.5",
}

# The stage that ships with a model and makes its pictures larger
LARGER = {"emoji": "emoji-256"}


@dataclass(frozen=True)
class Hub:
    """A repository of the hub that has a short name; `larger` is that of the stage that upscales it."""

    repository: str
    summary: str
    larger: str | None = None


HUB = {
    "deepfloyd": Hub("DeepFloyd/IF-I-XL-v1.0", "DeepFloyd IF stage I, 64 x 64, 4.3 B: text", "deepfloyd-2"),
    "deepfloyd-l": Hub("DeepFloyd/IF-I-L-v1.0", "DeepFloyd IF stage I, 64 x 64, 0.9 B: text", "deepfloyd-2"),
    "deepfloyd-m": Hub(
        "DeepFloyd/IF-I-M-v1.0", "DeepFloyd IF stage I, 64 x 64, 0.4 B: text", "deepfloyd-2-m"
    ),
    "deepfloyd-2": Hub("DeepFloyd/IF-II-L-v1.0", "DeepFloyd IF stage II, 64 to 256, 1.2 B", "x4-upscaler"),
    "deepfloyd-2-m": Hub("DeepFloyd/IF-II-M-v1.0", "DeepFloyd IF stage II, 64 to 256, 0.4 B", "x4-upscaler"),
    "x4-upscaler": Hub(
        "stabilityai/stable-diffusion-x4-upscaler", "256 to 1024, in latents: DeepFloyd's III"
    ),
    "sd-1.5": Hub("stable-diffusion-v1-5/stable-diffusion-v1-5", "Stable Diffusion 1.5, latent, 512 x 512"),
    "sd-xl": Hub("stabilityai/stable-diffusion-xl-base-1.0", "Stable Diffusion XL, latent, 1024 x 1024"),
    "sd-2.1": Hub("stabilityai/stable-diffusion-2-1", "Stable Diffusion 2.1, latent, 768 x 768"),
}


DESCRIPTIONS = ("model.json", "model_index.json")  # of a folder that training or diffusers wrote
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def is_repository(name: str) -> bool:
    """Whether a name may be one of the hub: owner/name, with @revision or without."""
    return _REPOSITORY.fullmatch(name) is not None


def weights_folder(name: str) -> Path:
    """Where the package keeps the weights of one of `MODELS`."""
    return Path(str(files("sfumato"))) / "weights" / name


def check_name(name: str) -> None:
    """Refuse a name that no model has, before anything is loaded; a name of the hub is not looked up.

    A name such as runs/digits, whose first part is a folder here, is no name of the hub.

    Raises:
        ModelUnavailableError: with what was likely meant.
    """
    folder = Path(name)
    if name in MODELS or name in HUB:
        return
    if folder.is_dir():
        if not _holds_model(folder) and _holds_model(folder / "model"):
            raise ModelUnavailableError(
                f"{name} is the folder of a training; its model is in {folder / 'model'}"
            )
        return
    if folder.exists():
        raise ModelUnavailableError(f"{name} is a file: give the folder of a model, or a name")
    parts, repository = len(folder.parts), is_repository(name)
    beside = _folders(folder.parent)
    if parts > 1 and not (repository and ("@" in name or not folder.parent.is_dir())):
        raise ModelUnavailableError(f"there is no folder {name}{did_you_mean(name, beside)}")
    if not repository:
        models = [str(path) for path in map(Path, beside) if _holds_model(path)]
        raise ModelUnavailableError(
            f"no model {name!r}: give a folder with {' or '.join(DESCRIPTIONS)}, a hub id, or one of "
            f"{', '.join([*MODELS, *HUB])}{did_you_mean(name, [*MODELS, *HUB, *models])}"
        )


def _folders(folder: Path) -> list[str]:
    """The folders in a folder; none where it cannot be read."""
    try:
        return [str(path) for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in DESCRIPTIONS)


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

    device, dtype, compile, offload: where and how it is run, as `Placement` has them; dtype None is float32.
    A hub id is `owner/name`, with `@revision` where one is pinned; offline takes it from the local cache
    alone. embeddings: files of encoded prompts (`sfumato encode`), with which a large text encoder is not
    fetched.

    Raises:
        UsageError: embeddings that are not of this model; compiling or offloading that has no effect here.
        ModelUnavailableError: there is no such model, or it is gated or out of reach.
        SfumatoError: its weights are damaged, or not to be trusted.
    """
    check_name(name)
    placement = _placement(device, dtype, compile, offload)
    model = _load(name, placement, offline=offline, encoded=bool(embeddings))
    _read_embeddings([model], embeddings)
    return model


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

    names = (name, *stages)
    for given in names:
        check_name(given)
    placement = _placement(device, dtype, compile, offload)
    cascade = Cascade(*(_load(n, placement, offline=offline, encoded=bool(embeddings)) for n in names))
    published = None if stages else _larger(name)
    if published is None and not stages:
        raise UsageError(f"no stages were published for {name}: name the models that make it larger")
    while published is not None:
        # what was published together has one text encoder, which the first model brings
        larger = _load(published, placement, offline=offline, encoded=True)
        cascade = Cascade(*cascade.stages, larger)
        published = _larger(published) if upscale is not None and cascade.sizes[-1] < upscale else None
    if upscale is not None:
        cascade = cascade.up_to(upscale)
    _read_embeddings(cascade.stages, embeddings)
    return Cascade(*cascade.stages, one_at_a_time=one_at_a_time)


def load_whole(name: str, **options: Any) -> Stages:
    """A model with the stage that ships with it and makes its pictures larger, if there is one.

    options: those of `load`.
    """
    return load_cascade(name, **options) if name in LARGER else load(name, **options)


def _larger(name: str) -> str | None:
    """The stage that was published for a model, or ships with it."""
    return HUB[name].larger if name in HUB else LARGER.get(name)


def model_of(model: Stages | str | Path) -> Stages:
    """A model or a cascade as it is; a name or a folder as `load_whole` has it, on the CPU.

    Raises:
        UsageError: it is none of these.
        ModelUnavailableError, SfumatoError: as `load`.
    """
    if isinstance(model, str | Path):
        return load_whole(str(model))
    if not hasattr(model, "stages"):
        raise UsageError(f"{model!r:.80} is no model: give a Model, a Cascade, a name or a folder")
    return model


def _placement(
    device: str | torch.device, dtype: torch.dtype | None, compile: Compile, offload: Offload
) -> Placement:
    import torch

    from sfumato.models.runtime.placement import Placement

    return Placement(device=device, dtype=dtype or torch.float32, compile=compile, offload=offload)


def _load(name: str, placement: Placement, *, offline: bool, encoded: bool) -> Model:
    """The model of a name or a folder, fetched where it must be; encoded: its prompts come encoded."""
    from sfumato.models.files.saved import load_model
    from sfumato.models.files.store import DESCRIPTION
    from sfumato.models.pretrained import fetch, load_folder

    folder = weights_folder(name) if name in MODELS else Path(name)
    if name in HUB or (name not in MODELS and not folder.exists() and is_repository(name)):
        return load_folder(fetch(name, offline=offline, encoded=encoded), name=name, placement=placement)
    own = (folder / DESCRIPTION).is_file()  #  a folder that was exported for diffusers has both
    if (folder / "model_index.json").is_file() and not own:
        return load_folder(folder, name=name, placement=placement)
    return load_model(folder, name=name, placement=placement)


def _read_embeddings(models: Sequence[Model], paths: Sequence[str | Path]) -> None:
    """Give each file of embeddings to the models that it fits; one that fits none is a UsageError."""
    from sfumato.models.pretrained.prompts import encoded_prompts

    for path in paths:
        refused: list[UsageError] = []
        for model in models:
            try:
                encoded_prompts(model).read(Path(path))
            except UsageError as error:
                refused.append(error)
        if len(refused) == len(models):
            raise refused[0]
