"""DeepFloyd IF: a cascade of pixel UNets asked through T5 (extra `sfumato[pretrained]`).

eps with a learned-range variance (six channels), a squared-cosine table, dynamic thresholding. A stage that
upscales is shown the low-resolution picture, enlarged and noised, as three more channels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sfumato.core.frame import LowResolution
from sfumato.core.noise import Noise
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.pretrained.encoders import text_embeddings
from sfumato.models.pretrained.loading import Folder
from sfumato.models.pretrained.release import release_of
from sfumato.models.pretrained.safety import weights_digest
from sfumato.models.pretrained.schedulers import defaults_of, prediction_of, read_scheduler, schedule_of
from sfumato.models.pretrained.text import Deferred, TextModel, square
from sfumato.models.pretrained.upscaling import UpscalingModel

TOKENS = 77  # T5 was asked with no more when IF was trained
STEPS, GUIDANCE = 100, 7.0  #             as IFPipeline has them
UPSCALE_STEPS, UPSCALE_GUIDANCE = 50, 4.0  # as IFSuperResolutionPipeline has them
NOISE_LEVEL = 250  #                          its timestep of the low-resolution picture's noise


def clean(text: str) -> str:
    """A text as diffusers hands it to T5 without its optional caption cleaning."""
    return text.lower().strip()


class PixelUpscaler(UpscalingModel):
    """A stage of IF that upscales: views, filters and masks act on its low-resolution picture as well."""

    low_t = (NOISE_LEVEL + 1) / 1000

    def start(self, low: Tensor, noise: Noise, t: float | None) -> tuple[Tensor, LowResolution]:
        if low.shape[1] != self.shape[0]:
            raise UsageError(f"{self.name} upscales pictures of {self.shape[0]} channels, not {low.shape[1]}")
        x = noise.of_shape(self.shape).draw()
        large = interpolate(low, self.shape[1:], mode="bilinear", align_corners=True)
        return x, self._noised(large, noise, t)


def load_deepfloyd(folder: Folder, *, name: str, device: torch.device | str, dtype: torch.dtype) -> TextModel:
    """Stage I of a folder of IFPipeline, or a stage that upscales of IFSuperResolutionPipeline.

    Raises:
        ModelUnavailableError, SfumatoError: as `load_network`.
    """
    upscales = "SuperResolution" in folder.pipeline
    scheduler = read_scheduler(folder.at("scheduler"))
    config = folder.config("unet")
    size, channels = square(folder, config), config.get("in_channels", 0) // (2 if upscales else 1)
    if config.get("out_channels") not in {channels, 2 * channels}:
        raise SfumatoError(
            f"{folder.at('unet')}: {config.get('in_channels')} channels in and {config.get('out_channels')} "
            f"out are not those of a {folder.pipeline}"
        )
    width = config.get("encoder_hid_dim") or config.get("cross_attention_dim", 0)
    defaults = defaults_of(scheduler, steps=STEPS, guidance=GUIDANCE)
    make = PixelUpscaler if upscales else TextModel
    model = make(
        name=name,
        unet=Deferred(folder, "unet", device=device, dtype=dtype),
        embeddings=text_embeddings(
            folder,
            device=device,
            width=width,
            length=lambda tokenizer: TOKENS,  # noqa: ARG005
            masked=lambda encoder: True,  # noqa: ARG005
            clean=clean,
        ),
        schedule=schedule_of(scheduler),
        prediction=prediction_of(scheduler),
        shape=(channels, size, size),
        defaults=replace(defaults, steps=UPSCALE_STEPS, guidance=UPSCALE_GUIDANCE) if upscales else defaults,
        sha256=weights_digest(folder.at("unet")),
    )
    model.postprocess = release_of(folder)
    if isinstance(model, UpscalingModel):
        model.low_schedule = schedule_of(read_scheduler(folder.at("image_noising_scheduler")))
    return model
