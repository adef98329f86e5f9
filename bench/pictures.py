"""How clean and how varied the pictures of a text-to-image model are, beside those of real icons.

    python -m bench.pictures [--model emoji] [--upscale 64] [--seeds 3] [--dtype bfloat16] [--real]

    white       share of the ground that is exactly white; the ground is where all channels of a pixel and of
                those around it, two pixels of 64 far, are above 0.5
    Laplacian   its mean absolute value on the ground, in grey levels: specks and dirt
    variety     root mean square distance of the pictures of a prompt from one another, in grey levels
    label       share of pictures whose prompt is the judge's first word

The prompts were chosen before anything was drawn: every fortieth concept that has four styles or more.
"""

from __future__ import annotations

import argparse
import time
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

import sfumato as sf
from sfumato.evaluation.emoji import load_emoji_judge
from sfumato.models.files.registry import load_whole
from sfumato.pictures import to_uint8
from sfumato.training.emoji import load_emoji

PROMPTS = 32
GROUND, AROUND = 0.5, 2  # of the least channel; pixels at a side of 64


def ground(pictures: Tensor) -> tuple[float, float]:
    """Share of the ground that is exactly white, and its mean absolute Laplacian in grey levels."""
    grey = to_uint8(pictures).float()  # as a file has it, 0 .. 255
    reach = AROUND * pictures.shape[-1] // 64
    darkest = -F.max_pool2d(-pictures.amin(1, keepdim=True), 2 * reach + 1, stride=1, padding=reach)
    on = darkest > GROUND  # (N, 1, H, W)
    white = (grey == 255).all(1, keepdim=True)
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    bent = F.conv2d(F.pad(grey.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate"), kernel).abs()
    return white[on].double().mean().item(), bent[on].double().mean().item()


def variety(pictures: Tensor) -> float:
    """Root mean square distance of pictures (N, C, H, W) from one another, in grey levels."""
    squares = [(a - b).square().mean() for a, b in combinations(pictures, 2)]
    return 127.5 * torch.stack(squares).mean().sqrt().item()


def prompts() -> list[str]:
    """What is drawn: labels of concepts that nobody chose."""
    data = load_emoji()
    styles = torch.zeros(len(data.concepts), len(data.styles)).index_put_(
        (data.concept, data.style), torch.ones(len(data)), accumulate=True
    )
    known = ((styles > 0).sum(1) >= 4).nonzero()[:, 0].tolist()
    return [data.concepts[row].label for row in known[:: len(known) // PROMPTS][:PROMPTS]]


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--upscale", type=int, help="the height up to which pictures are made larger")
    parser.add_argument("--seeds", type=int, default=3, help="pictures of a prompt, at least 2")
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--until", type=float)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--real", action="store_true", help="measure the icons instead")
    args = parser.parse_args()
    judge = load_emoji_judge()
    if args.real:
        for side in (64, 256):
            data = load_emoji(side=side)
            coloured = data.pictures[(data.style < 4).nonzero()[::11, 0]]
            white, bent = ground(coloured.float() / 127.5 - 1)
            print(f"icons at {side}: white {white:.1%}, Laplacian {bent:.2f}", flush=True)
        return
    model = load_whole(args.model, dtype=getattr(torch, args.dtype))
    how = {"upscale": args.upscale, "steps": args.steps, "until": args.until, "guidance": args.guidance}
    start, right, made, apart = time.process_time(), [], [], []
    for prompt in prompts()[: args.prompts]:
        drawn = sf.sample(model, prompt, seed=0, count=args.seeds, **how).x
        meant = judge.meaning(prompt)
        right += [int(row) in meant for row in judge.log_probabilities(drawn).argmax(1)]
        made.append(drawn)
        apart.append(variety(drawn))
    seconds = (time.process_time() - start) / len(right)
    white, bent = ground(torch.cat(made))
    print(
        f"{args.model} at {made[0].shape[-1]}, {len(right)} pictures: label {sum(right) / len(right):.1%}, "
        f"white {white:.1%}, Laplacian {bent:.2f}, variety {sum(apart) / len(apart):.1f}; "
        f"{seconds:.2f} CPU s a picture"
    )


if __name__ == "__main__":
    main()
