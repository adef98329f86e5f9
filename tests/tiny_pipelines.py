"""Tiny pipelines of diffusers' true classes, with random weights, saved to disk as their authors save them.

Compare them over ten steps or so: a random network is chaotic when it is iterated, and a rounding error of
one step (4e-7) has grown to 0.1 after fifty, whoever iterates.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.deepfloyd_if.safety_checker import IFSafetyChecker
from diffusers.pipelines.deepfloyd_if.watermark import IFWatermarker
from torch import nn

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WIDTH, POOLED = 32, 24  # of the text encoders


def unet2d(folder: Path, *, classes: int | None = None, **scheduler: Any) -> Path:
    """An unconditional (or class-conditional) UNet2DModel under a DDPMScheduler."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        num_class_embeds=classes,
    )
    pipe = diffusers.DDPMPipeline(unet=unet, scheduler=diffusers.DDPMScheduler(**scheduler))
    pipe.save_pretrained(folder)
    return folder


# -------------------------------------------------------------------------------------------- DeepFloyd IF


@cache
def t5() -> tuple[Any, Any]:
    """A tiny T5 encoder, and a tokenizer of single letters that is made on the spot."""
    torch.manual_seed(1)
    config = transformers.T5Config(
        vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=37, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocabulary += [(letter, -3.0) for letter in LETTERS]
    tokenizer = transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0)
    return transformers.T5EncoderModel(config), tokenizer


def if_scheduler(**changes: Any) -> Any:
    """The scheduler of stage I as DeepFloyd published it."""
    settings = {
        "beta_schedule": "squaredcos_cap_v2",
        "variance_type": "learned_range",
        "thresholding": True,
        "dynamic_thresholding_ratio": 0.95,
        "sample_max_value": 1.5,
        "clip_sample": True,
    }
    return diffusers.DDPMScheduler(**(settings | changes))


def if_unet(size: int, *, upscales: bool) -> nn.Module:
    """A stage's UNet: as in diffusers' own tests, with text added to the time embedding."""
    torch.manual_seed(size)
    return diffusers.UNet2DConditionModel(
        sample_size=size,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        in_channels=6 if upscales else 3,
        out_channels=6,
        cross_attention_dim=WIDTH,
        encoder_hid_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
        class_embed_type="timestep" if upscales else None,
    )


def if_filters(*, objects: bool) -> dict[str, Any]:
    """The safety checker, which objects to all pictures or to none, and a watermark of two colours."""
    torch.manual_seed(4)
    vision = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        vision_config=vision | {"image_size": 28, "patch_size": 14, "projection_dim": 8}
    )
    checker = IFSafetyChecker(config)
    checker.p_head.bias.data.fill_(9.0 if objects else -9.0)
    checker.w_head.bias.data.fill_(-9.0)
    mark = IFWatermarker()
    mark.watermark_image[:, :31] = torch.tensor([255, 0, 0, 200.0])
    mark.watermark_image[:, 31:] = torch.tensor([0, 255, 0, 255.0])
    extractor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    return {"safety_checker": checker, "feature_extractor": extractor, "watermarker": mark}


def deepfloyd(
    folder: Path, *, size: int = 16, upscales: bool = False, filters: dict[str, Any] | None = None
) -> Path:
    """Stage I, or a stage that upscales."""
    encoder, tokenizer = t5()
    parts = {"tokenizer": tokenizer, "text_encoder": encoder, "unet": if_unet(size, upscales=upscales)}
    parts |= filters or {"safety_checker": None, "feature_extractor": None, "watermarker": None}
    if upscales:
        noising = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
        pipe = diffusers.IFSuperResolutionPipeline(
            **parts,
            scheduler=if_scheduler(sample_max_value=1.0),
            image_noising_scheduler=noising,
            requires_safety_checker=False,
        )
    else:
        pipe = diffusers.IFPipeline(**parts, scheduler=if_scheduler(), requires_safety_checker=False)
    pipe.save_pretrained(folder)
    return folder


# ---------------------------------------------------------------------------------------- Stable Diffusion


@cache
def clip(kind: str = "CLIPTextModel") -> tuple[Any, Any]:
    """A tiny CLIP text encoder, and a tokenizer of letters."""
    torch.manual_seed(2 + len(kind))
    symbols = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(
        vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[], model_max_length=20
    )
    config = transformers.CLIPTextConfig(
        vocab_size=len(symbols),
        hidden_size=WIDTH,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=20,
        bos_token_id=len(symbols) - 2,
        eos_token_id=len(symbols) - 1,
        pad_token_id=len(symbols) - 1,
        projection_dim=POOLED,
    )
    return getattr(transformers, kind)(config), tokenizer


def latent_parts(size: int, *, upscales: bool = False, xl: bool = False) -> dict[str, Any]:
    """UNet, VAE and text encoder of a latent model, whose VAE halves the sides of a picture."""
    encoder, tokenizer = clip()
    torch.manual_seed(3)
    sizes = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8} if xl else {}
    unet = diffusers.UNet2DConditionModel(
        sample_size=size,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        in_channels=7 if upscales else 4,
        num_class_embeds=1000 if upscales else None,
        cross_attention_dim=2 * WIDTH if xl else WIDTH,
        projection_class_embeddings_input_dim=6 * 8 + POOLED if xl else None,
        **sizes,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.08333 if upscales else 0.18215,
    )
    parts = {"unet": unet, "vae": vae, "text_encoder": encoder, "tokenizer": tokenizer}
    return parts | {"safety_checker": None, "feature_extractor": None}


def stable_diffusion(folder: Path, *, prediction: str = "epsilon") -> Path:
    """A latent model of 8 x 8 latents, 16 x 16 pictures."""
    scheduler = diffusers.PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
        prediction_type=prediction,
    )
    parts = latent_parts(8)
    pipe = diffusers.StableDiffusionPipeline(**parts, scheduler=scheduler, requires_safety_checker=False)
    pipe.save_pretrained(folder)
    return folder


def stable_diffusion_xl(folder: Path, *, blank: bool = True) -> Path:
    """A latent model with two text encoders, told sizes; blank: no negative prompt is zeros."""
    parts = latent_parts(8, xl=True)
    del parts["safety_checker"]
    second, tokenizer = clip("CLIPTextModelWithProjection")
    pipe = diffusers.StableDiffusionXLPipeline(
        **parts,
        text_encoder_2=second,
        tokenizer_2=tokenizer,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading"
        ),
        force_zeros_for_empty_prompt=blank,
        add_watermarker=False,
    )
    pipe.save_pretrained(folder)
    return folder


def latent_upscaler(folder: Path) -> Path:
    """An upscaler of the class of Stable Diffusion's x4; it enlarges by 2."""
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    noising = diffusers.DDPMScheduler(beta_schedule="scaled_linear", beta_end=0.02)
    parts = latent_parts(8, upscales=True)
    pipe = diffusers.StableDiffusionUpscalePipeline(**parts, scheduler=scheduler, low_res_scheduler=noising)
    pipe.save_pretrained(folder)
    return folder
