"""Stable Diffusion 1.x, 2.x, XL and the x4 upscaler: UNets in the latent space of a VAE, told by CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.core.crops import Crops
from sfumato.core.expression import Expression, Filtered, Seen
from sfumato.core.filters import Mask
from sfumato.core.frame import Beside, Condition, Unconditional
from sfumato.core.invariant import check_whole
from sfumato.core.noise import Noise
from sfumato.core.sampler import Draw
from sfumato.core.views import check_orthogonal
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.pretrained.embeddings import Embeddings
from sfumato.models.pretrained.encoders import text_embeddings, two_text_embeddings
from sfumato.models.pretrained.in_pixels import encoded
from sfumato.models.pretrained.in_pixels import in_pixels as over_latents
from sfumato.models.pretrained.loading import Folder
from sfumato.models.pretrained.safety import weights_digest
from sfumato.models.pretrained.schedulers import defaults_of, prediction_of, read_scheduler, schedule_of
from sfumato.models.pretrained.text import Deferred, TextModel, TextNetwork, square
from sfumato.models.pretrained.upscaling import UpscalingModel
from sfumato.models.runtime.runner import Compile, Offload

STEPS, GUIDANCE = 25, 7.5
XL_GUIDANCE = 5.0  #                      as StableDiffusionXLPipeline has it
UPSCALE_STEPS, UPSCALE_GUIDANCE = 75, 9.0  # as StableDiffusionUpscalePipeline has them
NOISE_LEVEL = 20  # of the upscaler's low-resolution picture, as StableDiffusionUpscalePipeline has it


class LatentModel(TextModel):
    """A model whose state is a latent (C, h, w), not a picture: pictures go through a VAE.

    A latent is no small picture: turned, mirrored, filtered or negated it decodes to something else. What
    acts on pixels is therefore refused, or goes through the VAE when that is asked for (in_pixels.py).
    """

    vae: Deferred
    scaling: float  #                   of latents, so that they have unit variance
    latent: tuple[int, int, int]  #     (C, h, w)

    @property
    def of_pixels(self) -> bool:
        return False

    @property
    def state_shape(self) -> tuple[int, int, int]:
        return self.latent

    def state(self, size: tuple[int, int]) -> tuple[int, int, int]:  # noqa: ARG002
        return self.latent

    def to(
        self,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        *,
        compile: Compile = "auto",
        offload: Offload = "no",
    ) -> LatentModel:
        super().to(device, dtype, compile=compile, offload=offload)
        self.vae.to(device, torch.float32, compile="off", offload=offload)
        return self

    def check(self, e: Expression) -> None:
        """Refuse, with the reason, what acts on pixels; UsageError. Masks and known pictures may stay."""
        for node in e.walk():
            if isinstance(node, Seen | Crops) or (
                isinstance(node, Filtered) and not isinstance(node.band, Mask)
            ):
                raise UsageError(
                    f"{node.name} acts on pixels and {self.name} works on latents, which do not turn, "
                    "split or tile as pictures do: use a pixel model such as deepfloyd, or ask for "
                    "in_pixels (--in-pixels)"
                )

    def express(self, e: Expression, size: tuple[int, int], *, in_pixels: bool = False) -> Expression:
        if not in_pixels:
            self.check(e)
            e = encoded(e, self)
            check_whole(e, self.state(size), native=self.state_shape[1:])
            return e
        if any(isinstance(node, Crops) for node in e.walk()):
            raise UsageError("crops do not go with in_pixels: a decoder is asked for whole pictures")
        check_whole(e, self.shape)
        for node in e.walk():
            if isinstance(node, Seen):
                check_orthogonal(node.view, self.latent)  # it turns the noise on the latent's grid
        return over_latents(e, self)

    def encode(self, picture: Tensor, draw: Draw | None = None) -> Tensor:
        """Latents (B, C, h, w) of pictures (B, 3, H, W) in [-1, 1]: a sample by one draw, or their mean."""
        noise = None if draw is None else draw()
        vae: Any = self.vae.module()
        with torch.inference_mode():
            posterior = vae.encode(picture.to(self.device)).latent_dist
            latents: Tensor = posterior.mean if noise is None else posterior.mean + posterior.std * noise
        return self.scaling * latents

    def decode(self, latent: Tensor) -> Tensor:
        """The pictures (B, 3, H, W) of latents (B, C, h, w), one at a time: a VAE takes much memory."""
        vae: Any = self.vae.module()
        with torch.inference_mode():
            rows = [vae.decode(row[None] / self.scaling, return_dict=False)[0] for row in latent]
        return torch.cat(rows)


class XLModel(LatentModel):
    """Stable Diffusion XL: told the pooled text as well, and the size that a picture had before it was cut.

    blank: whether "no condition" is zeros instead of the empty text.
    """

    blank: bool

    def _answer(self, x: Tensor, t: Tensor, conditions: Sequence[Condition], label: Tensor | None) -> Tensor:
        told = self.embeddings.rows([self._text(c) for c in conditions], x.device)
        assert told.pooled is not None
        assert isinstance(self.network, TextNetwork)
        hidden, pooled = told.hidden, told.pooled  #                                     (N, L, D), (N, P)
        if self.blank:
            said = torch.tensor([c != Unconditional() for c in conditions], device=x.device)[:, None]
            hidden, pooled = hidden * said[..., None], pooled * said
        _, height, width = self.shape
        times = torch.tensor(
            [[height, width, 0, 0, height, width]], device=x.device
        )  # original, crop, target
        added = {"text_embeds": pooled, "time_ids": times.float().expand(len(x), -1)}
        return self.network.forward(x, t, label, hidden, added)


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
    if vae.get("latents_mean") or vae.get("latents_std"):
        raise SfumatoError(f"{folder.at('vae')}: latents with a mean of their own are not known here")
    enlarge = 2 ** (len(vae.get("block_out_channels", [1])) - 1)
    large = "XL" in folder.pipeline
    model = (LatentUpscaler if upscales else XLModel if large else LatentModel)(
        name=name,
        unet=Deferred(folder, "unet", device=device, dtype=dtype),
        embeddings=(_two_texts if large else _one_text)(folder, config, device),
        schedule=schedule_of(scheduler),
        prediction=prediction_of(scheduler),
        shape=(pixels, size * enlarge, size * enlarge),
        defaults=replace(
            defaults_of(
                scheduler,
                steps=UPSCALE_STEPS if upscales else STEPS,
                guidance=UPSCALE_GUIDANCE if upscales else XL_GUIDANCE if large else GUIDANCE,
            ),
            clip=False,
            quantile=None,
        ),
        sha256=weights_digest(folder.at("unet")),
    )
    model.vae = Deferred(folder, "vae", device=device, dtype=torch.float32)
    model.vae.berth_with(model.unet)
    model.scaling = float(vae.get("scaling_factor", 0.18215))
    model.latent = (channels, size, size)
    if isinstance(model, LatentUpscaler):
        model.low_schedule = schedule_of(read_scheduler(folder.at("low_res_scheduler")))
    if isinstance(model, XLModel):
        model.blank = bool(folder.options.get("force_zeros_for_empty_prompt", True))
    return model


def _one_text(folder: Folder, config: Mapping[str, Any], device: torch.device | str) -> Embeddings:
    return text_embeddings(
        folder,
        device=device,
        width=int(config.get("cross_attention_dim", 0)),
        length=lambda tokenizer: int(tokenizer.model_max_length),
        masked=_masked,
    )


def _two_texts(folder: Folder, config: Mapping[str, Any], device: torch.device | str) -> Embeddings:
    times = 6 * int(config.get("addition_time_embed_dim") or 0)
    pooled = int(config.get("projection_class_embeddings_input_dim") or 0) - times
    if config.get("addition_embed_type") != "text_time" or pooled < 1:
        raise SfumatoError(f"{folder.at('unet')} is not told a pooled text and sizes: it is no UNet of SDXL")
    return two_text_embeddings(
        folder, device=device, width=int(config.get("cross_attention_dim", 0)), pooled=pooled
    )


def _masked(encoder: nn.Module) -> bool:
    """Whether padding is hidden from the text encoder: as diffusers decides it."""
    return bool(getattr(encoder.config, "use_attention_mask", False))
