"""Stable Diffusion 1.x, 2.x and its x4 upscaler: UNets in the latent space of a VAE, asked through CLIP."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.core.crops import Crops
from sfumato.core.expression import Expression, Filtered, Known, Seen
from sfumato.core.frame import Beside
from sfumato.core.noise import Noise
from sfumato.core.sampler import Draw
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.pretrained.loading import Folder
from sfumato.models.pretrained.safety import weights_digest
from sfumato.models.pretrained.schedulers import defaults_of, prediction_of, read_scheduler, schedule_of
from sfumato.models.pretrained.text import Deferred, TextModel, square, text_embeddings
from sfumato.models.pretrained.upscaling import UpscalingModel

STEPS, GUIDANCE = 25, 7.5
NOISE_LEVEL = 20  # of the upscaler's low-resolution picture, as StableDiffusionUpscalePipeline has it


class LatentModel(TextModel):
    """A model whose state is a latent (C, h, w), not a picture: pictures go through a VAE.

    A latent is no small picture: turned, mirrored, filtered or negated it decodes to something else. What
    acts on pixels is therefore refused.
    """

    vae: Deferred
    scaling: float  #                   of latents, so that they have unit variance
    latent: tuple[int, int, int]  #     (C, h, w)

    @property
    def state_shape(self) -> tuple[int, int, int]:
        return self.latent

    def state(self, size: tuple[int, int]) -> tuple[int, int, int]:  # noqa: ARG002
        return self.latent

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> LatentModel:
        super().to(device, dtype)
        self.vae.to(device, torch.float32)
        return self

    def check(self, e: Expression) -> None:
        """Refuse, with the reason, what acts on pixels; UsageError."""
        for node in e.walk():
            if isinstance(node, Seen | Filtered | Known | Crops):
                raise UsageError(
                    f"{node.name} acts on pixels and {self.name} works on latents, which do not turn, "
                    "split or tile as pictures do: use a pixel model such as deepfloyd"
                )

    def encode(self, picture: Tensor, draw: Draw) -> Tensor:
        """A sample of the latents (B, C, h, w) of pictures (1 or B, 3, H, W) in [-1, 1]; one draw."""
        noise = draw()
        vae: Any = self.vae.module()
        with torch.inference_mode():
            posterior = vae.encode(picture.to(self.device)).latent_dist
            sampled: Tensor = posterior.mean + posterior.std * noise
        return self.scaling * sampled

    def decode(self, latent: Tensor) -> Tensor:
        """The pictures (B, 3, H, W) of latents (B, C, h, w), one at a time: a VAE takes much memory."""
        vae: Any = self.vae.module()
        with torch.inference_mode():
            rows = [vae.decode(row[None] / self.scaling, return_dict=False)[0] for row in latent]
        return torch.cat(rows)


class LatentUpscaler(UpscalingModel, LatentModel):
    """The x4 upscaler: its latents are as large as the low-resolution picture that it is shown."""

    low_t = (NOISE_LEVEL + 1) / 1000

    def start(self, low: Tensor, noise: Noise, t: float | None) -> tuple[Tensor, Beside]:
        if low.shape[1:] != (self.shape[0], *self.latent[1:]):
            raise UsageError(
                f"{self.name} upscales pictures of {self.latent[2]} x {self.latent[1]} pixels, "
                f"not {low.shape[3]} x {low.shape[2]}"
            )
        beside = self._noised(low, noise, t)
        return noise.of_shape(self.latent).draw(), beside

    def fitting(self, side: int) -> LatentUpscaler:
        fitted, enlarge = copy(self), self.shape[1] // self.latent[1]
        fitted.latent = (self.latent[0], side, side)
        fitted.shape = (self.shape[0], side * enlarge, side * enlarge)
        return fitted


def load_stable_diffusion(
    folder: Folder, *, name: str, device: torch.device | str, dtype: torch.dtype
) -> LatentModel:
    """The model of a StableDiffusionPipeline or StableDiffusionUpscalePipeline folder.

    Raises:
        ModelUnavailableError, SfumatoError: as `load_network`.
    """
    scheduler = read_scheduler(folder.at("scheduler"))
    config, vae = folder.config("unet"), folder.config("vae")
    upscales, pixels = "Upscale" in folder.pipeline, vae.get("out_channels", 3)
    size, channels, shown = square(folder, config), config.get("out_channels"), config.get("in_channels")
    more = pixels if upscales else 0
    if not isinstance(channels, int) or channels != vae.get("latent_channels") or shown != channels + more:
        raise SfumatoError(
            f"{folder.at('unet')}: {shown} channels in and {channels} out do not fit "
            f"the VAE's {vae.get('latent_channels')}; inpainting UNets are not read"
        )
    enlarge = 2 ** (len(vae.get("block_out_channels", [1])) - 1)
    model = (LatentUpscaler if upscales else LatentModel)(
        name=name,
        unet=Deferred(folder, "unet", device=device, dtype=dtype),
        embeddings=text_embeddings(
            folder,
            device=device,
            width=int(config.get("cross_attention_dim", 0)),
            length=lambda tokenizer: int(tokenizer.model_max_length),
            masked=_masked,
        ),
        schedule=schedule_of(scheduler),
        prediction=prediction_of(scheduler),
        shape=(pixels, size * enlarge, size * enlarge),
        defaults=replace(defaults_of(scheduler, steps=STEPS, guidance=GUIDANCE), clip=False, quantile=None),
        sha256=weights_digest(folder.at("unet")),
    )
    model.vae = Deferred(folder, "vae", device=device, dtype=torch.float32)
    model.scaling = float(vae.get("scaling_factor", 0.18215))
    model.latent = (channels, size, size)
    if isinstance(model, LatentUpscaler):
        model.low_schedule = schedule_of(read_scheduler(folder.at("low_res_scheduler")))
    return model


def _masked(encoder: nn.Module) -> bool:
    """Whether padding is hidden from the text encoder: as diffusers decides it."""
    return bool(getattr(encoder.config, "use_attention_mask", False))
