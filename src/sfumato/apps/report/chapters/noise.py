"""What noise does to a picture, and three ways to take it away."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sfumato.apps.report.page import Block, Code, Picture, Row, Table
from sfumato.apps.report.picture_sets import model_words
from sfumato.apps.report.snippets import call, literal, program, statement
from sfumato.apps.report.workspace import model_snippet, png_name
from sfumato.core.expression import unconditional
from sfumato.pictures import save_picture
from sfumato.study import blur_denoised, iteratively_denoised, noised, one_step_denoised, psnr

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.report.tour import CleanPicture
    from sfumato.apps.report.workspace import Workspace

BLUR = 2.0  # pixels of a picture 64 high
STEPS, EVERY = 20, 4  # of the iterative way, and how many of them lie between two that are shown
NAMES = ("noised", "blurred", "one step", "iterative")


def forward(work: Workspace) -> Iterator[Block]:
    """The forward process at each level."""
    if work.tour.given is None:
        return
    study = _Study(work, work.tour.given)
    noisy = [study.save(study.noised(t), f"noised-{t:g}", f"t = {t:g}") for t in work.tour.levels]
    code = study.code(study.loop(), [noised])
    pictures = (study.clean(), *noisy)
    yield Row(title="More and more noise", pictures=pictures, columns=len(pictures), code=code)


def blur(work: Workspace) -> Iterator[Block]:
    """Gaussian blur of the same noised pictures."""
    if work.tour.given is not None:
        study = _Study(work, work.tour.given)
        line = f"blur_denoised(model.schedule, x, t, sigma={BLUR:g})"
        yield study.pairs("Noised, and blurred", "blurred", study.blurred, line, blur_denoised)


def one_step(work: Workspace) -> Iterator[Block]:
    """The network's estimate of the clean picture in one step."""
    if work.tour.given is not None:
        study = _Study(work, work.tour.given)
        line = f"one_step_denoised(model, x, t, {study.what.text})"
        title = "Noised, and denoised in one step"
        yield study.pairs(title, "one step", study.in_one_step, line, one_step_denoised)


def iterative(work: Workspace) -> Iterator[Block]:
    """Iterative denoising, every few steps shown, and the error of all ways."""
    if work.tour.given is None:
        return
    study, levels, seed = _Study(work, work.tour.given), work.tour.levels, work.tour.seed
    last, rows = max(levels), []
    for i, t in enumerate(levels):
        x = study.noised(t)
        made, steps = iteratively_denoised(
            work.first, study.picture, t, study.what.value, steps=STEPS, seed=seed
        )
        results = (x, study.blurred(x, t), study.in_one_step(x, t), made)
        rows.append([psnr(result, study.picture) for result in results])
        if t == last:
            walk = [
                study.save(step.x.cpu(), f"step-{step.index:02d}", f"t = {step.t:.2f}")
                for step in steps[::EVERY]
            ]
            side_by_side = [study.save(y, name, name) for y, name in zip(results, NAMES, strict=True)]
        work.on_progress(i + 1, len(levels))
    end = side_by_side[-1].model_copy(update={"caption": "t = 0"})
    yield Row(
        title=f"From t = {last:g} in {STEPS} strided steps, every {EVERY}th shown",
        pictures=(*walk, end),
        columns=len(walk) + 1,
        code=_walk_code(study, last),
    )
    yield Row(
        title=f"At t = {last:g}, side by side",
        note="The Python above writes these pictures too.",
        pictures=(*side_by_side, study.clean()),
        columns=len(NAMES) + 1,
    )
    yield Table(
        title="The error of each way",
        note="Peak signal-to-noise ratio against the picture, in dB: higher is nearer. "
        "It rewards the mean of all pictures that fit, so a blurred answer may beat a sharp one.",
        head=("t", *NAMES),
        rows=tuple((f"{t:g}", *(f"{v:.1f}" for v in row)) for t, row in zip(levels, rows, strict=True)),
        best=tuple(row.index(max(row)) + 1 for row in rows),
        code=Code(commands=(study.command(),)),
    )


def _walk_code(study: _Study, t: float) -> Code:
    """The code of the iterative way from t, and of all ways at t."""
    what, seed, save = study.what.text, study.work.tour.seed, study.file
    lines = [
        f"x = noised(model.schedule, picture, {t:g}, seed={seed})",
        f'save_picture(x.clamp(-1, 1), "{save("noised")}")',
        f"blurred = blur_denoised(model.schedule, x, {t:g}, sigma={BLUR:g})",
        f'save_picture(blurred, "{save("blurred")}")',
        f'save_picture(one_step_denoised(model, x, {t:g}, {what}), "{save("one step")}")',
        f"x, steps = iteratively_denoised(model, picture, {t:g}, {what}, steps={STEPS}, seed={seed})",
        f"for step in steps[::{EVERY}]:",
        f'    save_picture(step.x.clamp(-1, 1), f"{save("step-{step.index:02d}")}")',
        f'save_picture(x, "{save("iterative")}")',
    ]
    return study.code(lines, [noised, blur_denoised, one_step_denoised, iteratively_denoised])


class _Study:
    """One picture, noised and denoised by one model."""

    def __init__(self, work: Workspace, given: CleanPicture) -> None:
        self.work, self.given = work, given
        self.source = work.input_picture(given, studied=True)
        self.picture: Tensor = self.source.value
        self.what = call(unconditional) if given.prompt is None else literal(given.prompt)

    def noised(self, t: float) -> Tensor:
        return noised(self.work.first.schedule, self.picture, t, seed=self.work.tour.seed)

    def blurred(self, x: Tensor, t: float) -> Tensor:
        return blur_denoised(self.work.first.schedule, x, t, sigma=BLUR)

    def in_one_step(self, x: Tensor, t: float) -> Tensor:
        return one_step_denoised(self.work.first, x, t, self.what.value)

    def pairs(
        self,
        title: str,
        name: str,
        denoised: Callable[[Tensor, float], Tensor],
        text: str,
        function: Callable[..., Any],
    ) -> Row:
        """The noised pictures above, what `denoised` makes of them below. text: the Python that says it."""
        above, below = [], []
        for i, t in enumerate(self.work.tour.levels):
            x = self.noised(t)
            above.append(self.save(x, f"noised-{t:g}", f"t = {t:g}"))
            below.append(self.save(denoised(x, t), f"{name}-{t:g}", name))
            self.work.on_progress(i + 1, len(self.work.tour.levels))
        saving = f'    save_picture(x, f"{self.file(name + "-{t:g}")}")'
        code = self.code([*self.loop(), f"    x = {text}", saving], [noised, function])
        return Row(title=title, pictures=(*above, *below), columns=len(above), code=code)

    # -- files and code

    def file(self, name: str) -> str:
        return f"{self.work.section}-{name.replace(' ', '-')}.png"

    def save(self, x: Tensor, name: str, caption: str) -> Picture:
        return self.work.save(x, self.file(name), f"the picture, {name}", caption)

    def clean(self) -> Picture:
        return self.work.picture(png_name(self.given.picture), "the picture", "the picture")

    def loop(self) -> list[str]:
        """The Python of a loop over the levels, in which the noised picture x is made and written."""
        return [
            f"for t in {literal(tuple(self.work.tour.levels)).text}:",
            f"    x = noised(model.schedule, picture, t, seed={self.work.tour.seed})",
            f'    save_picture(x.clamp(-1, 1), f"{self.file("noised-{t:g}")}")',
        ]

    def code(self, lines: Sequence[str], uses: Sequence[Callable[..., Any]]) -> Code:
        needs = (model_snippet(self.work.first), self.source, self.what)
        python = program([statement(lines, *needs, uses=[*uses, save_picture])])
        return Code(commands=(self.command(),), python=python)

    def command(self) -> str:
        """`sfumato denoise`, which makes all of this as one sheet."""
        tour, prompt = self.work.tour, self.given.prompt
        words = ["sfumato", "denoise", png_name(self.given.picture), *([] if prompt is None else [prompt])]
        words += [*model_words(self.work.first), *(word for t in tour.levels for word in ("--at", f"{t:g}"))]
        words += ["--steps", str(STEPS), "--blur", f"{BLUR:g}", "--seed", str(tour.seed)]
        return shlex.join([*words, "--out", "denoise.png"])
