"""What noise does to a picture, and three ways to take it away."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.desk import model_words, png_name
from sfumato.apps.report.page import Block, Row, Shown, Source, Table
from sfumato.apps.report.said import as_said, script
from sfumato.core.expression import prompt
from sfumato.study import blur_denoised, iteratively_denoised, noised, one_step_denoised, psnr

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.report.desk import Desk

BLUR = 2.0  # pixels of a picture 64 high
STEPS, EVERY = 20, 4  # of the iterative way, and how many of them lie between two that are shown
WAYS = ("noised", "blurred", "one step", "iterative")


def forward(desk: Desk) -> Iterator[Block]:
    """The forward process at each level."""
    shown = [_clean(desk)]
    for t in desk.tour.levels:
        shown.append(desk.keep(_noised(desk, t), f"1-noised-{t:g}.png", f"noised to t = {t:g}", f"t = {t:g}"))
    body = [
        f"for t in {_levels(desk)}:",
        f"    x = noised(model.schedule, picture, t, seed={desk.tour.seed})",
        '    save_picture(x.clamp(-1, 1), f"1-noised-{t:g}.png")',
    ]
    yield Row(
        title="More and more noise",
        pictures=tuple(shown),
        columns=len(shown),
        source=_source(desk, ("noised",), body),
    )


def blur(desk: Desk) -> Iterator[Block]:
    """Gaussian blur of the same noised pictures."""
    shown = []
    for t in desk.tour.levels:
        x = blur_denoised(desk.model.schedule, _noised(desk, t), t, sigma=BLUR)
        shown.append(_pair(desk, t, x, "2-blurred", "blurred"))
    body = [
        f"for t in {_levels(desk)}:",
        f"    x = noised(model.schedule, picture, t, seed={desk.tour.seed})",
        f"    x = blur_denoised(model.schedule, x, t, sigma={BLUR:g})",
        '    save_picture(x, f"2-blurred-{t:g}.png")',
    ]
    yield Row(
        title="Noised, and blurred",
        pictures=_rows(shown),
        columns=len(shown),
        source=_source(desk, ("noised", "blur_denoised"), body),
    )


def one_step(desk: Desk) -> Iterator[Block]:
    """The network's estimate from one look."""
    shown = []
    for i, t in enumerate(desk.tour.levels):
        x = one_step_denoised(desk.model, _noised(desk, t), t, prompt(desk.tour.given.prompt))
        shown.append(_pair(desk, t, x, "3-one-step", "in one step"))
        desk.show(i + 1, len(desk.tour.levels))
    body = [
        f"for t in {_levels(desk)}:",
        f"    x = noised(model.schedule, picture, t, seed={desk.tour.seed})",
        f"    x = one_step_denoised(model, x, t, {as_said(desk.tour.given.prompt).text})",
        '    save_picture(x, f"3-one-step-{t:g}.png")',
    ]
    yield Row(
        title="Noised, and cleaned in one step",
        pictures=_rows(shown),
        columns=len(shown),
        source=_source(desk, ("noised", "one_step_denoised"), body),
    )


def iterative(desk: Desk) -> Iterator[Block]:
    """Iterative denoising, every few steps shown, and the error of all ways."""
    tour = desk.tour
    prompt = tour.given.prompt
    clean: Tensor = desk.picture(tour.given).value
    last = max(tour.levels)
    rows, out = [], []
    for i, t in enumerate(tour.levels):
        x = _noised(desk, t)
        made, seen = iteratively_denoised(desk.model, x, t, prompt, steps=STEPS, seed=tour.seed)
        if t == last:
            for step in seen[::EVERY]:
                caption = f"t = {step.t:.2f}"
                file = f"4-step-{step.index:02d}.png"
                out.append(desk.keep(step.x.cpu(), file, f"the state at {caption}", caption))
            out.append(desk.keep(made, "4-iterative.png", "the picture at t = 0", "t = 0"))
        ways = (
            x,
            blur_denoised(desk.model.schedule, x, t, sigma=BLUR),
            one_step_denoised(desk.model, x, t, prompt),
            made,
        )
        rows.append([psnr(way, clean) for way in ways])
        desk.show(i + 1, len(tour.levels))
    body = [
        f"x = noised(model.schedule, picture, {last:g}, seed={tour.seed})",
        f"x, seen = iteratively_denoised(model, x, {last:g}, {as_said(prompt).text}, "
        f"steps={STEPS}, seed={tour.seed})",
        f"for step in seen[::{EVERY}]:",
        '    save_picture(step.x.clamp(-1, 1), f"4-step-{step.index:02d}.png")',
        'save_picture(x, "4-iterative.png")',
    ]
    yield Row(
        title=f"From t = {last:g} in {STEPS} strided steps, every {EVERY}th shown",
        pictures=tuple(out),
        columns=len(out),
        source=_source(desk, ("noised", "iteratively_denoised"), body),
    )
    yield Row(
        title=f"At t = {last:g}, side by side",
        note="As they were made above and in the three sections before.",
        pictures=_beside(desk, last),
        columns=5,
    )
    yield Table(
        title="How near each way comes",
        note="Peak signal-to-noise ratio against the picture, in dB: higher is nearer. "
        "It rewards the mean of all pictures that fit, so a blurred answer may beat a sharp one.",
        head=("t", *WAYS),
        rows=tuple((f"{t:g}", *(f"{v:.1f}" for v in row)) for t, row in zip(tour.levels, rows, strict=True)),
        best=tuple(row.index(max(row)) + 1 for row in rows),
        source=Source(commands=(_command(desk),)),
    )


def _beside(desk: Desk, t: float) -> tuple[Shown, ...]:
    """The four ways at one level; the first three were written by the sections before, or are here again."""
    x = _noised(desk, t)
    prompt = desk.tour.given.prompt
    ways = {
        f"1-noised-{t:g}.png": x,
        f"2-blurred-{t:g}.png": blur_denoised(desk.model.schedule, x, t, sigma=BLUR),
        f"3-one-step-{t:g}.png": one_step_denoised(desk.model, x, t, prompt),
    }
    before = [desk.keep(y, file, way, way) for (file, y), way in zip(ways.items(), WAYS, strict=False)]
    return (*before, desk.shown("4-iterative.png", "iterative", "iterative"), _clean(desk))


def _pair(desk: Desk, t: float, x: Tensor, name: str, way: str) -> list[Shown]:
    """A noised picture and what a way makes of it."""
    noisy = desk.keep(_noised(desk, t), f"1-noised-{t:g}.png", f"noised to t = {t:g}", f"t = {t:g}")
    return [noisy, desk.keep(x, f"{name}-{t:g}.png", f"t = {t:g}, {way}", way)]


def _rows(pairs: list[list[Shown]]) -> tuple[Shown, ...]:
    """The first of all pairs, then the second of all."""
    return tuple(one for row in zip(*pairs, strict=True) for one in row)


def _noised(desk: Desk, t: float) -> Tensor:
    return noised(desk.model.schedule, desk.picture(desk.tour.given).value, t, seed=desk.tour.seed)


def _clean(desk: Desk) -> Shown:
    return desk.shown(_file(desk), "the picture", "the picture")


def _file(desk: Desk) -> str:
    return png_name(desk.tour.given.picture)


def _levels(desk: Desk) -> str:
    return as_said(tuple(desk.tour.levels)).text


def _command(desk: Desk) -> str:
    tour = desk.tour
    words = ["sfumato", "denoise", _file(desk), tour.given.prompt, *model_words(desk.model)]
    for t in tour.levels:
        words += ["--at", f"{t:g}"]
    words += ["--steps", str(STEPS), "--blur", f"{BLUR:g}", "--seed", str(tour.seed), "--out", "denoise.png"]
    return shlex.join(words)


def _source(desk: Desk, studies: tuple[str, ...], body: list[str]) -> Source:
    imports = {
        *desk.network().imports,
        "from sfumato.pictures import save_picture",
        f"from sfumato.study import {', '.join(sorted(studies))}",
    }
    head = [*desk.network().before, *desk.picture(desk.tour.given).before]
    return Source(commands=(_command(desk),), python=script(frozenset(imports), [*head, *body]))
