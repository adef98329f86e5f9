"""Our sampler and diffusers' pipelines in turn, on one network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from torch import Tensor

import sfumato as sf
from bench.folders import PROMPT, Network
from bench.timing import Work, in_turn, peak_memory
from sfumato.models.pretrained.embeddings import Embeddings

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()

SEED, GUIDANCE = 0, 7.0


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way to make the pictures.

    ours: by sfumato; else by diffusers' own pipeline. dtype: of the network. fast: the fastest layout,
    channels-last; ours always has it. compile: torch.compile.
    """

    ours: bool
    dtype: torch.dtype
    fast: bool = True
    compile: bool = False


INSTALLED = "diffusers as installed"
SAME = "diffusers, same dtype and layout"
COMPILED = "diffusers, compiled too"
OURS = "sfumato"
OURS_COMPILED = "sfumato, compiled"
OURS_EXACT = "sfumato in float32"


def sides(dtype: torch.dtype, *, compile: bool) -> dict[str, Side]:
    """The sides to compare; dtype is the one that the device is fast in."""
    found = {
        INSTALLED: Side(ours=False, dtype=torch.float32, fast=False),
        SAME: Side(ours=False, dtype=dtype),
        OURS: Side(ours=True, dtype=dtype),
        OURS_EXACT: Side(ours=True, dtype=torch.float32),
    }
    if compile:
        found[COMPILED] = Side(ours=False, dtype=dtype, compile=True)
        found[OURS_COMPILED] = Side(ours=True, dtype=dtype, compile=True)
    return found


def work_of(side: Side, network: Network, steps: int, device: str) -> Work:
    """A picture of the network by one side, batch 1; with prompts under guidance."""
    return _our_work(side, network, steps, device) if side.ours else _their_work(side, network, steps, device)


def _our_work(side: Side, network: Network, steps: int, device: str) -> Work:
    prompts = [] if network.prompts is None else [network.prompts]
    choice = "on" if side.compile else "off"
    model = sf.load(str(network.folder), device=device, dtype=side.dtype, embeddings=prompts, compile=choice)
    what = sf.prompt(PROMPT) if prompts else sf.unconditional()
    guidance = GUIDANCE if prompts else None
    return lambda: sf.sample(model, what, seed=SEED, steps=steps, guidance=guidance).x


def _their_work(side: Side, network: Network, steps: int, device: str) -> Work:
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(network.folder, torch_dtype=side.dtype)
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    if side.fast:
        pipe.unet.to(memory_format=torch.channels_last)
    if side.compile:
        pipe.unet = torch.compile(pipe.unet)
    settings: dict[str, Any] = {"num_inference_steps": steps, "output_type": "pt"}
    if network.prompts is not None:
        embeddings = Embeddings(None, str, width=_width(pipe))
        embeddings.read(network.prompts)
        prompt, empty = (
            embeddings.rows([text], torch.device(device)).hidden.to(side.dtype) for text in (PROMPT, "")
        )
        settings |= {
            "prompt_embeds": prompt,
            "negative_prompt_embeds": empty,
            "guidance_scale": GUIDANCE,
            "clean_caption": False,
        }

    def work() -> Tensor:
        images: Tensor = pipe(generator=torch.Generator("cpu").manual_seed(SEED), **settings).images
        return images

    return work


def _width(pipe: Any) -> int:
    width: int = pipe.unet.config.encoder_hid_dim
    return width


def times(
    network: Network, *, steps: int, repeats: int, device: str, dtype: torch.dtype, compile: bool
) -> dict[str, float]:
    """Seconds of a run by every side, taken in turn."""
    compared = sides(dtype, compile=compile)
    works = {name: work_of(side, network, steps, device) for name, side in compared.items()}
    return in_turn(works, repeats, torch.device(device))


def memory(network: Network, *, device: str, dtype: torch.dtype) -> dict[str, float]:
    """The peak memory in MB of a process that loads the network and makes a picture, by side."""
    return {
        name: peak_memory(work_of, side, network, 2, device)
        for name, side in sides(dtype, compile=False).items()
    }
