"""Trains the shipped stage that makes emoji of 64 pixels four times as large.

    python -m tools.train_upscaler FOLDER [--base emoji] [--steps 6000]

It learns from crops of the icons drawn at 256 pixels. Its low-resolution pictures are plain reductions, and
reductions that the base model has mended: noised to t of 0.3 to 0.7 and denoised once. So it learns to undo
what the base model does to a picture. The error is the absolute one: its best answer is a median, which is an
edge where a mean is a blur, and a step or two are enough.

The training is kept beside FOLDER, in FOLDER.training; given again, the command goes on where it was stopped.
"""

import argparse
import hashlib
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from sfumato.cache import cache_folder
from sfumato.core.expression import reduced
from sfumato.core.frame import LowResolution, Prompt
from sfumato.core.prediction import add_noise
from sfumato.core.schedule import Flow
from sfumato.errors import SfumatoError
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.files.registry import load
from sfumato.models.files.saved import build_model, save_model
from sfumato.models.files.store import read_folder, write_folder
from sfumato.models.low_resolution import enlarged
from sfumato.models.networks.upscaling import UpscalingUNet
from sfumato.pictures import to_uint8
from sfumato.training.data import to_house_range
from sfumato.training.emoji import EmojiDataset, load_emoji
from sfumato.training.objective import beyond_range
from tools.resumable import Progress

SIDE, TIMES = 256, 4  # pixels of what it makes, and how often those of what it gets
CROP = 96  #         pixels on a side, of what it makes
BATCH, RATE, WARMUP = 32, 1.5e-3, 100
MENDED = (0.3, 0.7)  # the times to which the base model's pictures are noised
LOW_T = 0.2  #        to which the low-resolution picture is noised, at most
FROM_NOISE = 0.5  #   how often t is 1, where the first step is
KEPT = 500  #         so many steps lie between two keepings
HELD_OUT = 97  #      every so many-th picture is for measuring


def main() -> None:
    """Train, measure and write the model into FOLDER."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default="emoji", help="the model whose pictures are made larger")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = load_emoji(side=SIDE)
    mended = _mended(data, args.base)
    progress = Progress(
        path=args.folder.with_name(args.folder.name + ".training"),
        of=f"{data.fingerprint}, pictures of {args.base}, {args.steps} steps of {BATCH} at {RATE}",
    )
    network = train(data.pictures, mended, steps=args.steps, progress=progress)
    model = build_model(
        network.eval(),
        name="emoji-256",
        schedule=Flow(),
        prediction="x0",
        shape=(3, SIDE, SIDE),
        defaults=SamplingDefaults(steps=2, solver="ddim", clip=True),
        provenance={
            "data": f"{len(data)} emoji at {SIDE} pixels, fingerprint {data.fingerprint[:16]}",
            "training": f"python -m tools.train_upscaler, {args.steps} steps of {BATCH} crops of {CROP}",
            "measured": measured(network, data.pictures, mended),
        },
    )
    save_model(model, args.folder, dtype=torch.float16)
    progress.remove()


# ------------------------------------------------------------------------------- the low-resolution pictures


def small_ones(pictures: Tensor) -> Tensor:
    """uint8 (N, 3, SIDE, SIDE) to uint8 at a quarter of the side, each pixel the mean of sixteen."""
    size = (SIDE // TIMES, SIDE // TIMES)
    parts = [reduced(part.float(), size).round().to(torch.uint8) for part in torch.split(pictures, 256)]
    return torch.cat(parts)


def _mended(data: EmojiDataset, base: str) -> Tensor:
    """Reductions, noised and denoised once by the base model under their captions; uint8, from the cache."""
    model = load(base, dtype=torch.bfloat16)
    key = hashlib.sha256(f"{data.fingerprint} {model.sha256} {MENDED}".encode()).hexdigest()
    folder = cache_folder() / "datasets" / f"emoji-mended-{key[:12]}"
    try:
        return read_folder(folder)[1]["pictures"]
    except SfumatoError:  # never made, or damaged
        pass
    small, generator, parts = small_ones(data.pictures), torch.Generator().manual_seed(0), []
    for start in range(0, len(small), 64):
        rows = slice(start, start + 64)
        x0 = to_house_range(small[rows])
        t = MENDED[0] + (MENDED[1] - MENDED[0]) * torch.rand(len(x0), generator=generator)
        level = t[:, None, None, None]
        x = add_noise(x0, torch.randn(x0.shape, generator=generator), 1 - level, level)
        said = [
            Prompt(f"{data.concepts[int(concept)].label}, {data.styles[int(style)]} style")
            for concept, style in zip(data.concept[rows], data.style[rows], strict=True)
        ]
        parts.append(to_uint8(model.denoise(x, t, said).x0))
        if start % 1024 == 0:
            print(f"mended {start} of {len(small)}", flush=True)
    mended = torch.cat(parts)
    write_folder(folder, {"format": 1, "name": "mended emoji"}, {"pictures": mended})
    return mended


# ----------------------------------------------------------------------------------------------- the training


def train(pictures: Tensor, mended: Tensor, *, steps: int, progress: Progress) -> UpscalingUNet:
    """A network trained on uint8 pictures (N, 3, 256, 256) and their mended reductions (N, 3, 64, 64)."""
    torch.manual_seed(0)
    network = UpscalingUNet(side=SIDE)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, 0.5 * (1 + math.cos(math.pi * step / steps)))
    )
    generator = torch.Generator()
    first = progress.restore(network, optimizer, rate, generator)
    small = small_ones(pictures)
    rows_of = torch.tensor([row for row in range(len(pictures)) if row % HELD_OUT])
    start, shown = time.monotonic(), 0.0
    for step in range(first, steps):
        generator.manual_seed(step)
        rows = rows_of[torch.randint(len(rows_of), (BATCH,), generator=generator)]
        high, low = _crops(pictures[rows], small[rows], mended[rows], generator)
        loss = _loss(network, high, low, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        shown = loss.item() if step == first else 0.98 * shown + 0.02 * loss.item()
        if (step + 1) % 50 == 0:
            spent = time.monotonic() - start
            left = spent / (step + 1 - first) * (steps - step - 1)
            print(f"step {step + 1} of {steps}, loss {shown:.4f}, {spent:.0f} s, {left:.0f} left", flush=True)
        if (step + 1) % KEPT == 0:
            progress.keep(step + 1, network, optimizer, rate, generator)
    return network


def _crops(high: Tensor, small: Tensor, mended: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One crop of each picture (N, 3, CROP, CROP) in [-1, 1], and its enlarged low-resolution picture.

    Both are mirrored and turned alike, and their colours exchanged: a stage under a view sees them so.
    """
    side = CROP // TIMES
    plain = torch.rand(len(high), generator=generator) < 0.5
    place = torch.randint(small.shape[-1] - side + 1, (len(high), 2), generator=generator).tolist()
    made: list[Tensor] = []
    given: list[Tensor] = []
    for row, (top, left) in enumerate(place):
        whole = enlarged((small if plain[row] else mended)[row : row + 1].float(), high.shape[2:])[0]
        box = (slice(None), slice(TIMES * top, TIMES * top + CROP), slice(TIMES * left, TIMES * left + CROP))
        colours = torch.randperm(3, generator=generator)
        turns, mirrored = torch.randint(4, (2,), generator=generator).tolist()
        for part, to in ((high[row][box], made), (whole[box], given)):
            turned = torch.rot90(part[colours], turns, (1, 2))
            to.append(turned.flip(2) if mirrored % 2 else turned)
    return to_house_range(torch.stack(made)), torch.stack(given).div(127.5).sub(1)


def _loss(network: UpscalingUNet, x0: Tensor, low: Tensor, generator: torch.Generator) -> Tensor:
    """The mean absolute error of x0; beyond a pixel at an end of the range there is none."""
    n = len(x0)
    t = 0.05 + 0.95 * torch.rand(n, generator=generator)
    t = torch.where(torch.rand(n, generator=generator) < FROM_NOISE, 1.0, t)
    low_t = LOW_T * torch.rand(n, generator=generator) ** 2
    level, low_level = t[:, None, None, None], low_t[:, None, None, None]
    x = add_noise(x0, torch.randn(x0.shape, generator=generator), 1 - level, level)
    noised = add_noise(low, torch.randn(x0.shape, generator=generator), 1 - low_level, low_level)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(x, t, LowResolution(picture=noised, t=low_t)).float()
    error = answer - x0
    return torch.where(beyond_range(x0, error), 0.0, error).abs().mean()


@torch.inference_mode()
def measured(network: UpscalingUNet, pictures: Tensor, mended: Tensor) -> dict[str, float]:
    """Mean absolute error, in grey levels, of held-out pictures in one step, and of plain enlarging."""
    high = to_house_range(pictures[::HELD_OUT])
    found = {}
    for name, low in (("reduced", small_ones(pictures[::HELD_OUT])), ("mended", mended[::HELD_OUT])):
        given = enlarged(to_house_range(low), high.shape[2:])
        noise = torch.randn(high.shape, generator=torch.Generator().manual_seed(0))
        parts = [
            network(x, torch.ones(len(x)), LowResolution(picture=low, t=0.0)).clamp(-1, 1)
            for x, low in zip(noise.split(8), given.split(8), strict=True)
        ]
        found[name] = round(127.5 * (torch.cat(parts) - high).abs().mean().item(), 3)
        found[f"{name}, enlarged only"] = round(127.5 * (given - high).abs().mean().item(), 3)
    return found


if __name__ == "__main__":
    main()
