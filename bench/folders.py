"""Networks of published configurations with random weights, as folders that diffusers wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch.utils.flop_counter import FlopCounterMode

from sfumato.models.pretrained.embeddings import Embeddings, PromptEmbedding

PROMPT, OTHER = "an oil painting of an old man", "an oil painting of people around a campfire"
TOKENS = 77

# DeepFloyd IF, stage I: block_out_channels, layers_per_block, components of a token (4096 of T5-XXL)
DEEPFLOYD = {
    "toy": ((32, 64, 64, 64), 1, 64),
    "m": ((192, 384, 576, 768), 3, 4096),  #          372 M parameters
    "l": ((320, 640, 960, 1280), 3, 4096),  #         935 M
    "xl": ((704, 1408, 2112, 2816), 3, 4096),  #      4.3 B
}
HEAD = 64


@dataclass(frozen=True, kw_only=True)
class Network:
    """A folder, the encoded prompts if the network takes any, and the size of the network.

    operations: of the products and convolutions of one row; a multiplication and an addition are two.
    """

    folder: Path
    prompts: Path | None
    parameters: int
    operations: int


def cifar(folder: Path, *, toy: bool) -> Network:
    """The DDPM of Ho et al. 2020 for CIFAR-10, 35.7 M parameters; a toy of the same blocks."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=32,
        layers_per_block=1 if toy else 2,
        block_out_channels=(32, 32, 32, 32) if toy else (128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )
    diffusers.DDPMPipeline(unet=unet, scheduler=diffusers.DDPMScheduler()).save_pretrained(folder)
    return _network(folder, unet, None)


def deepfloyd(folder: Path, size: str, *, dtype: torch.dtype = torch.float32) -> Network:
    """Stage I of DeepFloyd IF, stored as dtype, without a text encoder, with encoded prompts of noise."""
    torch.manual_seed(0)
    channels, layers, width = DEEPFLOYD[size]
    unet = diffusers.UNet2DConditionModel(
        sample_size=64,
        layers_per_block=layers,
        block_out_channels=channels,
        down_block_types=("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=(*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"),
        in_channels=3,
        out_channels=6,
        cross_attention_dim=channels[-1],
        encoder_hid_dim=width,
        attention_head_dim=HEAD,
        addition_embed_type="text",
        addition_embed_type_num_heads=HEAD,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
    ).to(dtype)
    scheduler = diffusers.DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        variance_type="learned_range",
        thresholding=True,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=1.5,
    )
    nothing = dict.fromkeys(
        ("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "watermarker")
    )
    pipe = diffusers.IFPipeline(**nothing, unet=unet, scheduler=scheduler, requires_safety_checker=False)
    pipe.save_pretrained(folder)
    texts = ("", PROMPT, OTHER)
    prompts = noise_for(texts, width).export(folder / "prompts.safetensors", texts)
    return _network(folder, unet, prompts)


def _network(folder: Path, unet: Any, prompts: Path | None) -> Network:
    unet = unet.to("meta")  # without memory and computation
    x, t = torch.empty((1, 3, 32, 32), dtype=unet.dtype, device="meta"), torch.empty(1, device="meta")
    conditions = {}
    if prompts is not None:
        x = x.repeat(1, 1, 2, 2)
        conditions["encoder_hidden_states"] = x.new_empty((1, TOKENS, unet.config.encoder_hid_dim))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(x, t, **conditions)
    parameters, operations = unet.num_parameters(), int(counter.get_total_flops())
    return Network(folder=folder, prompts=prompts, parameters=parameters, operations=operations)


def noise_for(texts: tuple[str, ...], width: int) -> Embeddings:
    """Standard normal noise in place of encoded prompts, the same for the same text."""

    def encode(prompts: list[str]) -> PromptEmbedding:
        rows = [torch.Generator().manual_seed(texts.index(text)) for text in prompts]
        return PromptEmbedding(torch.stack([torch.randn((TOKENS, width), generator=row) for row in rows]))

    return Embeddings(lambda: encode, lambda: f"{width:064}", width=width)  # type: ignore[arg-type,return-value]
