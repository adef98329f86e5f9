"""A diffusers folder becomes a model: by the pipeline that its index names."""

from collections.abc import Callable
from pathlib import Path

from sfumato.errors import SfumatoError
from sfumato.models.model import Model
from sfumato.models.pretrained.deepfloyd import load_deepfloyd
from sfumato.models.pretrained.loading import open_folder
from sfumato.models.pretrained.stable_diffusion import load_stable_diffusion
from sfumato.models.pretrained.unet2d import load_unet2d
from sfumato.models.runtime.placement import Placement

LOADERS: dict[str, Callable[..., Model]] = {
    "DDPMPipeline": load_unet2d,
    "DDIMPipeline": load_unet2d,
    "IFPipeline": load_deepfloyd,
    "IFImg2ImgPipeline": load_deepfloyd,
    "IFSuperResolutionPipeline": load_deepfloyd,
    "StableDiffusionPipeline": load_stable_diffusion,
    "StableDiffusionImg2ImgPipeline": load_stable_diffusion,
    "StableDiffusionUpscalePipeline": load_stable_diffusion,
    "StableDiffusionXLPipeline": load_stable_diffusion,
}


def load_folder(path: Path, *, name: str, placement: Placement) -> Model:
    """The model of a folder with a model_index.json.

    Raises:
        ModelUnavailableError: it, a part of it, or the library that reads it is missing.
        SfumatoError: it is of another class, damaged or not to be trusted.
    """
    folder = open_folder(path)
    if folder.pipeline not in LOADERS:
        raise SfumatoError(f"{path} holds a {folder.pipeline}; sfumato loads {', '.join(LOADERS)}")
    return LOADERS[folder.pipeline](folder, name=name, placement=placement)
