"""The best settings of each technique with a model of emoji: steps, solver, guidance and its interval.

    python -m bench.presets [--technique translate] [--each 4] [--bf16]

One setting at a time is changed from the model's own. The sources of translation and inpainting are pictures
of the model itself, and none is left out. The columns after the settings:

    five     how often the prompt is among the classifier's first five (of an illusion: both prompts)
    first    how often it is the first
    kept     of a translation: correlation with the source after a blur; 0 is nothing kept, 1 is all
    seam     of an inpainting: the step across the mask's border, where 1 is that of the source at that place
    s        seconds a picture
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import sfumato as sf
from bench.illusions import PAIRS
from sfumato.core.filters import LowPass
from sfumato.evaluation.illusions import Look, looks, score
from sfumato.evaluation.reader import Reader
from sfumato.evaluation.readers import reader_of

BLUR = 4.0  # pixels, for what a translation keeps
GREY = 1 / 128  # a level of eight bits


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Settings of sampling; `own` is the technique's own number."""

    own: float | None = None
    steps: int = 20
    solver: str = "dpm++2m"
    guidance: float = 5.0
    between: tuple[float, float] = (0.0, 1.0)

    def ask(self, text: str) -> sf.Expression:
        """A prompt, guided as this says."""
        return sf.prompt(text).guided(self.guidance, between=self.between)

    def __str__(self) -> str:
        own = "-" if self.own is None else f"{self.own:g}"
        lo, hi = self.between
        return f"{own:>4}  {self.steps:2} {self.solver:8} {self.guidance:g} in {lo:g}..{hi:<4g}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Two prompts, and a picture (C, H, W) of the first."""

    one: str
    other: str
    source: Tensor


@dataclass(frozen=True, kw_only=True)
class Technique:
    """How a scene is drawn, its looks, and one more figure: pictures, source -> (N,)."""

    draw: Callable[[Setting, Scene], sf.Expression | sf.Edit]
    seen: Callable[[Scene], tuple[Look, ...]]
    numbers: tuple[float, ...] = ()
    beside: tuple[str, Callable[[Tensor, Tensor], Tensor]] | None = None

    def settings(self) -> Iterator[Setting]:
        """The model's own, then those that differ from it in one thing."""
        usual = Setting(own=self.numbers[0] if self.numbers else None)
        yield usual
        yield from (replace(usual, own=number) for number in self.numbers[1:])
        yield from (replace(usual, guidance=guidance) for guidance in (2.0, 3.0, 8.0))
        yield from (replace(usual, between=between) for between in ((0.0, 0.8), (0.3, 1.0)))
        yield from (replace(usual, steps=steps) for steps in (10, 40))
        yield replace(usual, solver="euler")
        yield replace(usual, solver="heun", steps=10)


def lower_half(side: int) -> Tensor:
    """A mask (1, 1, S, S)."""
    return (torch.arange(side) >= side // 2).float()[None, None, :, None].expand(1, 1, side, side)


def kept(made: Tensor, source: Tensor) -> Tensor:
    """Correlation of pictures with their source, both blurred."""
    one, other = (LowPass(BLUR).apply(x).flatten(1) for x in (made, source.expand_as(made)))
    return torch.cosine_similarity(one - one.mean(1, True), other - other.mean(1, True))


def seam(made: Tensor, source: Tensor) -> Tensor:
    """The step across the border of `lower_half`, relative to that of the source."""
    row = made.shape[2] // 2
    here, there = ((x[:, :, row] - x[:, :, row - 1]).abs().mean((1, 2)) for x in (made, source))
    return (here + GREY) / (there + GREY)


TECHNIQUES = {
    "generate": Technique(
        draw=lambda by, scene: by.ask(scene.one),
        seen=lambda scene: (Look(text=scene.one),),
    ),
    "anagram": Technique(
        draw=lambda by, scene: sf.anagram(by.ask(scene.one), by.ask(scene.other), view="flip"),
        seen=lambda scene: looks(sf.anagram(scene.one, scene.other, view="flip")),
    ),
    "hybrid": Technique(
        draw=lambda by, scene: sf.hybrid(far=by.ask(scene.one), near=by.ask(scene.other), sigma=by.own),
        seen=lambda scene: looks(sf.hybrid(far=scene.one, near=scene.other, sigma=4)),
        numbers=(4.0, 2.0, 3.0, 5.0),
    ),
    "translate": Technique(
        draw=lambda by, scene: sf.translate(scene.source, by.ask(scene.other), strength=by.own or 1.0),
        seen=lambda scene: (Look(text=scene.other),),
        numbers=(0.7, 0.5, 0.6, 0.8, 0.9),
        beside=("kept", kept),
    ),
    "inpaint": Technique(
        draw=lambda by, scene: sf.inpaint(
            scene.source, lower_half(scene.source.shape[-1]), by.ask(scene.one), repeats=int(by.own or 1)
        ),
        seen=lambda scene: (Look(text=scene.one),),
        numbers=(1, 2, 4),
        beside=("seam", seam),
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """A model, the reader of its pictures, the scenes, and how many pictures are drawn of each."""

    model: sf.Model
    reader: Reader
    scenes: list[Scene]
    each: int

    def row(self, technique: Technique, by: Setting) -> str:
        """Draws every scene and returns the line of figures."""
        ranks, beside = [], []
        start = time.perf_counter()
        for i, scene in enumerate(self.scenes):
            what, seed = technique.draw(by, scene), self.each * i
            made = sf.sample(self.model, what, seed=seed, count=self.each, steps=by.steps, solver=by.solver).x
            ranks.append(score(self.reader, made, technique.seen(scene)).rank.amax(1))
            if technique.beside is not None:
                beside.append(technique.beside[1](made, scene.source[None]))
        place = torch.cat(ranks)
        took = (time.perf_counter() - start) / len(place)
        five, first = ((place <= most).double().mean().item() for most in (5, 1))
        text = f"{by}  five {five:6.1%}  first {first:6.1%}  {took:.2f} s"
        return text if technique.beside is None else f"{text}  {technique.beside[0]} {_median(beside):.2f}"


def _median(parts: list[Tensor]) -> float:
    return float(torch.cat(parts).median())


def main() -> None:
    """Measure and print."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--technique", action="append", choices=list(TECHNIQUES))
    parser.add_argument("--each", type=int, default=4, help="pictures of a pair")
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    model = sf.load(args.model, dtype=torch.bfloat16 if args.bf16 else torch.float32)
    drawn = [sf.sample(model, one, seed=1000 + i).x[0] for i, (one, _) in enumerate(PAIRS)]
    scenes = [Scene(one=a, other=b, source=x) for (a, b), x in zip(PAIRS, drawn, strict=True)]
    bench = Bench(model=model, reader=reader_of(model), scenes=scenes, each=args.each)
    for name in args.technique or TECHNIQUES:
        print(f"{name}: own number, steps, solver, guidance in an interval of t")
        for by in TECHNIQUES[name].settings():
            print(f"  {bench.row(TECHNIQUES[name], by)}", flush=True)


if __name__ == "__main__":
    main()
