"""Sheets of a text-to-image model's pictures, to be looked at: nothing is picked, every seed is stated.

python -m bench.sheets FOLDER [--model emoji] [--only plain] [--seed 0] [--upscale 64]

plain     32 prompts, one picture each
scenes    coloured things, numbers and pairs that no training showed, one picture each
seeds     eight pictures of each of six prompts
doodles   six drawings of a few shapes, each at strengths .5, .6, .7 and .8
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

import sfumato as sf
from bench.pictures import prompts
from sfumato.models.cascade import Stages
from sfumato.models.files.registry import load_whole
from sfumato.pictures import grid, read_picture, save_picture
from sfumato.training.emoji.scenes import held_out_scenes

SHOWN = 128  # pixels of a picture on a sheet
SEEDS = ("a cat", "a rocket", "an owl", "a house", "a fish", "a flower")
NAMES = ("plain", "scenes", "seeds", "doodles")
STRENGTHS = (0.5, 0.6, 0.7, 0.8)
Draw = Callable[[ImageDraw.ImageDraw], None]


def _rocket(d: ImageDraw.ImageDraw) -> None:
    d.polygon([(128, 20), (90, 90), (90, 190), (166, 190), (166, 90)], fill="silver")
    d.polygon([(90, 150), (60, 210), (90, 190)], fill="red")
    d.polygon([(166, 150), (196, 210), (166, 190)], fill="red")
    d.ellipse([112, 90, 144, 122], fill="blue")
    d.polygon([(100, 190), (156, 190), (128, 240)], fill="orange")


def _cat(d: ImageDraw.ImageDraw) -> None:
    d.ellipse([60, 70, 196, 200], fill="orange")
    d.polygon([(66, 110), (70, 40), (115, 80)], fill="orange")
    d.polygon([(190, 110), (186, 40), (141, 80)], fill="orange")
    d.ellipse([95, 115, 110, 135], fill="black")
    d.ellipse([146, 115, 161, 135], fill="black")
    d.polygon([(120, 150), (136, 150), (128, 162)], fill="pink")


def _fish(d: ImageDraw.ImageDraw) -> None:
    d.ellipse([40, 80, 180, 180], fill="blue")
    d.polygon([(170, 130), (230, 80), (230, 180)], fill="blue")
    d.ellipse([70, 110, 86, 126], fill="white")


def _tree(d: ImageDraw.ImageDraw) -> None:
    d.rectangle([112, 150, 144, 240], fill="brown")
    d.ellipse([50, 20, 206, 170], fill="green")


def _house(d: ImageDraw.ImageDraw) -> None:
    d.rectangle([60, 120, 196, 230], fill="yellow")
    d.polygon([(40, 120), (128, 30), (216, 120)], fill="red")
    d.rectangle([112, 170, 144, 230], fill="brown")


def _apple(d: ImageDraw.ImageDraw) -> None:
    d.ellipse([50, 70, 206, 230], fill="red")
    d.line([(128, 75), (138, 30)], fill="brown", width=10)
    d.ellipse([138, 30, 190, 56], fill="green")


DOODLES: dict[str, Draw] = {
    "a rocket": _rocket,
    "a cat": _cat,
    "a fish": _fish,
    "a tree": _tree,
    "a house": _house,
    "an apple": _apple,
}


def doodle(draw: Draw, side: int) -> Tensor:
    """A drawing of a few shapes on white, (1, 3, side, side)."""
    image = Image.new("RGB", (256, 256), "white")
    draw(ImageDraw.Draw(image))
    return read_picture(image, size=(side, side))


Sheet = tuple[Sequence[str], Tensor, int]  # what is shown, the pictures, how many stand in a row


class Sheets:
    """The sheets of one model, each drawn when it is asked for."""

    def __init__(self, model: Stages, seed: int, upscale: int | None) -> None:
        self.model, self.seed, self.upscale = model, seed, upscale

    def plain(self) -> Sheet:
        return self._drawn(prompts(), columns=8)

    def scenes(self) -> Sheet:
        return self._drawn(held_out_scenes(), columns=10)

    def seeds(self) -> Sheet:
        return self._drawn(SEEDS, count=8, columns=8)

    def doodles(self) -> Sheet:
        rows = []
        for prompt, draw in DOODLES.items():
            given = doodle(draw, self.model.shape[1])
            rows.append(given)
            rows += [self._made(sf.translate(given, prompt, strength=strength)) for strength in STRENGTHS]
        return list(DOODLES), torch.cat([_fit(x) for x in rows]), 1 + len(STRENGTHS)

    def _drawn(self, wanted: Sequence[str], *, columns: int, count: int = 1) -> Sheet:
        return wanted, torch.cat([_fit(self._made(prompt, count)) for prompt in wanted]), columns

    def _made(self, what: str | sf.Edit, count: int = 1) -> Tensor:
        return sf.sample(self.model, what, seed=self.seed, count=count, upscale=self.upscale).x


def _fit(x: Tensor) -> Tensor:
    """Pictures at the size that a sheet shows."""
    mode = "area" if x.shape[-1] > SHOWN else "nearest"
    return torch.nn.functional.interpolate(x, size=(SHOWN, SHOWN), mode=mode)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--only", action="append", choices=NAMES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--upscale", type=int)
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    model = load_whole(args.model, dtype=getattr(torch, args.dtype))
    sheets = Sheets(model, args.seed, args.upscale)
    for name in args.only or NAMES:
        shown, pictures, columns = getattr(sheets, name)()
        save_picture(grid(pictures, columns), args.folder / f"{name}.png")
        (args.folder / f"{name}.txt").write_text("\n".join(shown) + "\n", encoding="utf-8")
        print(f"{name}: {len(pictures)} pictures, {columns} in a row", flush=True)


if __name__ == "__main__":
    main()
