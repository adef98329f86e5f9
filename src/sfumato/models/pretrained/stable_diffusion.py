"""Stable Diffusion 1.x, 2.x, XL and the x4 upscaler: UNets of a VAE's latents, texts by CLIP."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sfumato.core.noise import DrawNoise
from sfumato.errors import SfumatoError
from sfumato.models.codec import LatentCodec
from sfumato.models.low_resolution import PictureOfLatentSize
from sfumato.models.model import Model
from sfumato.models.pretrained.encoders import text_embeddings
from sfumato.models.pretrained.loading import Folder, lazy_network
from sfumato.models.pretrained.prompts import ConditionalUNet, EncodedPrompts, PooledPrompts, square
from sfumato.models.pretrained.safety import weights_digest
from sfumato.models.pretrained.schedulers import defaults_of, prediction_of, read_scheduler, schedule_of
from sfumato.models.runtime.lazy import LazyNetwork
from sfumato.models.runtime.placement import Placement

STEPS, GUIDANCE = 25, 7.5
XL_GUIDANCE = 5.0  #                      as StableDiffusionXLPipeline has it
UPSCALE_STEPS, UPSCALE_GUIDANCE = 75, 9.0  # as StableDiffusionUpscalePipeline has them
NOISE_LEVEL = 20  # of the upscaler's low-resolution picture, as StableDiffusionUpscalePipeline has it


class VAECodec(LatentCodec):
    """Latents (C, h, w) by an AutoencoderKL; scaling: of latents, so that they have unit variance."""

    def __init__(
        self,
        vae: LazyNetwork,
        *,
        scaling: float,
        shape: tuple[int, int, int],
        state_shape: tuple[int, int, int],
    ) -> None:
        super().__init__(shape, state_shape)
        self.vae, self.scaling = vae, scaling

    def place(self, placement: Placement) -> None:
        """As `Codec.place`, in float32 and never compiled."""
        self.vae.place(_of_vae(placement))

    def encode(self, picture: Tensor, draw: DrawNoise | None = None) -> Tensor:
        """Latents (B, C, h, w) of pictures (B, 3, H, W) in [-1, 1]: a sample by one draw, or their mean."""
        noise = None if draw is None else draw()
        vae: Any = self.vae.module()
        with torch.inference_mode():
            posterior = vae.encode(picture.to(self.vae.device)).latent_dist
            latents: Tensor = posterior.mean if noise is None else posterior.mean + posterior.std * noise
        return self.scaling * latents

    def decode(self, state: Tensor) -> Tensor:
        """The pictures (B, 3, H, W) of latents (B, C, h, w), one at a time: a VAE takes much memory."""
        vae: Any = self.vae.module()
        with torch.inference_mode():
            rows = [vae.decode(row[None] / self.scaling, return_dict=False)[0] for row in state]
        return torch.cat(rows)


def _of_vae(placement: Placement) -> Placement:
    return replace(placement, dtype=torch.float32, compile="off")


def load_stable_diffusion(folder: Folder, *, name: str, placement: Placement) -> Model:
    """The model of a folder of StableDiffusionPipeline, StableDiffusionUpscalePipeline or -XLPipeline.

    Errors are those of `load_network`.
    """
    scheduler = read_scheduler(folder.at("scheduler"))
    config, vae = folder.config("unet"), folder.config("vae")
    upscales = "Upscale" in folder.pipeline
    pixels, latents = vae.get("out_channels", 3), vae.get("latent_channels")
    size, channels, shown = square(folder, config), config.get("out_channels"), config.get("in_channels")
    more = pixels if upscales else 0
    if not isinstance(channels, int) or channels != latents or shown != channels + more:
        raise SfumatoError(
            f"{folder.at('unet')}: {shown} channels in and {channels} out do not fit the VAE's {latents}; "
            "inpainting UNets are not read"
        )
    if vae.get("latents_mean") or vae.get("latents_std"):
        raise SfumatoError(f"{folder.at('vae')}: latents with a mean of their own are not known here")
    enlarge = 2 ** (len(vae.get("block_out_channels", [1])) - 1)
    shape, state_shape = (pixels, size * enlarge, size * enlarge), (channels, size, size)
    schedule, low_schedule, low_resolution = schedule_of(scheduler), None, None
    steps, guidance = STEPS, XL_GUIDANCE if "XL" in folder.pipeline else GUIDANCE
    if upscales:
        steps, guidance = UPSCALE_STEPS, UPSCALE_GUIDANCE
        low_schedule = schedule_of(read_scheduler(folder.at("low_res_scheduler")))
        t = (NOISE_LEVEL + 1) / 1000
        low_resolution = PictureOfLatentSize(
            schedule=low_schedule, t=t, channels=pixels, state_shape=state_shape
        )
    unet = lazy_network(folder, "unet", placement, call=ConditionalUNet(schedule, low_schedule))
    codec = VAECodec(
        lazy_network(folder, "vae", _of_vae(placement)),
        scaling=float(vae.get("scaling_factor", 0.18215)),
        shape=shape,
        state_shape=state_shape,
    )
    codec.vae.share_slot(unet)
    defaults = defaults_of(scheduler, steps=steps, guidance=guidance)
    return Model(
        unet,
        name=name,
        schedule=schedule,
        prediction=prediction_of(scheduler),
        shape=shape,
        conditioner=_prompts(folder, config, placement.device, shape[1:]),
        codec=codec,
        low_resolution=low_resolution,
        defaults=replace(defaults, clip=False, quantile=None),
        sha256=weights_digest(folder.at("unet")),
    )


def _prompts(
    folder: Folder, config: Mapping[str, Any], device: torch.device | str, size: tuple[int, int]
) -> EncodedPrompts:
    """Texts by one CLIP; for Stable Diffusion XL by two, with the pooled text and the size (H, W)."""
    width = int(config.get("cross_attention_dim", 0))
    if "XL" not in folder.pipeline:
        one = {"text_encoder": "tokenizer"}
        return EncodedPrompts(text_embeddings(folder, one, device=device, width=width))
    times = 6 * int(config.get("addition_time_embed_dim") or 0)
    pooled = int(config.get("projection_class_embeddings_input_dim") or 0) - times
    if config.get("addition_embed_type") != "text_time" or pooled < 1:
        raise SfumatoError(f"{folder.at('unet')} takes no pooled text and sizes: it is no UNet of SDXL")
    two = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
    embeddings = text_embeddings(folder, two, device=device, width=width, pooled=pooled, masked=False)
    blank = bool(folder.options.get("force_zeros_for_empty_prompt", True))
    return PooledPrompts(embeddings, size=size, blank=blank)
