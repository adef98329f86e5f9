"""How many illusions of a model work: 20 pairs, of each the best of 16 pictures, read by the classifier.

    python -m bench.illusions [--model emoji] [--pairs 20] [--among 16] [--guidance 7] [--sheet FOLDER]

A pair works when the probability of each reading is at least one half, by the calibrated classifier. The
looks of an anagram are both views, those of a hybrid the picture from afar and as it is; what is near must
not be seen from afar. The pairs were chosen before any was drawn, and none was left out since. Places among
all concepts are printed beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

import sfumato as sf
from sfumato.evaluation.illusions import pick_best
from sfumato.evaluation.readers import reader_of

PAIRS = (
    ("rocket", "skull"),
    ("panda", "sunflower"),
    ("old man", "camping"),
    ("dog", "mushroom"),
    ("cat face", "owl"),
    ("pizza", "turtle"),
    ("penguin", "pear"),
    ("frog", "cactus"),
    ("jack-o-lantern", "robot"),
    ("elephant", "teapot"),
    ("snowman", "light bulb"),
    ("rabbit face", "tulip"),
    ("fish", "leaf fluttering in wind"),
    ("house", "castle"),
    ("ghost", "jellyfish"),
    ("pig face", "strawberry"),
    ("lion", "sun"),
    ("bear", "cookie"),
    ("octopus", "balloon"),
    ("bird", "banana"),
)


def _hybrid(sigma: float, one: str, other: str) -> sf.Expression:
    return sf.hybrid(far=one, near=other, sigma=sigma)


KINDS: dict[str, Callable[[str, str], sf.Expression]] = {
    "anagram, flip": lambda one, other: sf.anagram(one, other, view="flip"),
    "anagram, rotate_180": lambda one, other: sf.anagram(one, other, view="rotate_180"),
    "anagram, rotate_cw": lambda one, other: sf.anagram(one, other, view="rotate_cw"),
} | {f"hybrid, sigma {sigma}": partial(_hybrid, sigma) for sigma in (2, 3, 4, 5)}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--pairs", type=int, default=len(PAIRS))
    parser.add_argument("--among", type=int, default=16)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--sheet", type=Path, help="a folder for the best pictures, one sheet a kind")
    args = parser.parse_args()
    model = sf.load(args.model, dtype=torch.bfloat16 if args.bf16 else torch.float32)
    reader = reader_of(model)
    for kind in args.kind or KINDS:
        worked, first, alignment, concealment, best = 0, 0, [], [], []
        start = time.perf_counter()
        for i, (one, other) in enumerate(PAIRS[: args.pairs]):
            expression = KINDS[kind](one, other)
            made = sf.sample(
                model,
                expression,
                seed=args.seed + args.among * i,
                count=args.among,
                steps=args.steps,
                guidance=args.guidance,
            )
            (row,), scores = pick_best(reader, made.x, expression)
            places = scores.rank[row].tolist()
            worked += bool(scores.works[row])
            first += max(places) == 1
            alignment.append(float(scores.alignment[row]))
            concealment.append(float(scores.concealment[row]))
            best.append(made.x[row])
            readings = ", ".join(f"{p:.2f}" for p in scores.probability[row].tolist())
            print(f"  {one} / {other}: {readings}, places {places}", flush=True)
        pairs = len(alignment)
        print(
            f"{kind}: {worked} of {pairs} pairs work, {first} are first in both; "
            f"best of {args.among}: mean alignment {sum(alignment) / pairs:.3f}, "
            f"concealment {sum(concealment) / pairs:.3f}; {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        if args.sheet is not None:
            from sfumato.pictures import grid, save_picture

            args.sheet.mkdir(parents=True, exist_ok=True)
            name = kind.replace(", ", "-").replace(" ", "-")
            save_picture(grid(torch.stack(best), 5, enlarge=2), args.sheet / f"{name}.png")


if __name__ == "__main__":
    main()
