"""Pictures from pictures: image to image, and inpainting."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.page import Block
from sfumato.apps.report.picture_sets import PictureSet, make_row
from sfumato.apps.report.snippets import call
from sfumato.apps.report.workspace import png_name, slug
from sfumato.techniques import inpaint, translate

if TYPE_CHECKING:
    from sfumato.apps.report.tour import MaskedPicture, PromptedPicture
    from sfumato.apps.report.workspace import Workspace


def edits(work: Workspace) -> Iterator[Block]:
    """Image to image at several strengths, with another prompt, and inpainting."""
    for i, given in enumerate(work.tour.translate):
        yield _translated(work, given, f"{slug(png_name(given.picture)[:-4])}-{i}", given.about)
    if work.tour.other is not None:
        yield _translated(work, work.tour.other, "other", "with another prompt")
    for i, masked in enumerate(work.tour.inpaint):
        yield _inpainted(work, masked, f"inpaint-{i}")


def strength_of(start: int, steps: int) -> float:
    """The strength, to three digits, with which sampling starts at step `start` of `steps`."""
    return math.ceil(1000 * (steps - start) / steps) / 1000


def _translated(work: Workspace, given: PromptedPicture, name: str, about: str) -> Block:
    tour, prompt, file = work.tour, given.prompt, png_name(given.picture)
    sets = []
    for start in tour.starts:
        strength = strength_of(start, tour.of)
        sets.append(
            PictureSet(
                what=call(translate, work.input_picture(given), prompt, strength=strength),
                command=("translate", file, prompt, "--strength", strength),
                name=f"{name}-{start:02d}",
                seed=tour.seed,
                steps=tour.of,
                alt=f"{prompt}, started at step {start} of {tour.of}",
                caption=f"from step {start}, strength {strength:.2g}",
            )
        )
    note = f"{about[:1].upper()}{about[1:]}." if about else ""
    clean = work.picture(file, "the picture it starts from", "the picture")
    title = f"“{prompt}”, from a picture"
    return make_row(work, title, sets, note=note, after=[clean], columns=len(sets) + 1)


def _inpainted(work: Workspace, masked: MaskedPicture, name: str) -> Block:
    tour, picture, mask = work.tour, png_name(masked.picture), png_name(masked.mask)

    def inpainted(caption: str, alt: str, **settings: int) -> PictureSet:
        options = [word for key, value in settings.items() for word in (f"--{key}", value)]
        given = work.input_picture(masked), work.mask(masked), masked.prompt
        return PictureSet(
            what=call(inpaint, *given, **settings),
            command=("inpaint", picture, masked.prompt, "--mask", mask, *options),
            name=f"{name}-{slug(caption)}",
            seed=tour.seed,
            count=work.count,
            alt=f"{masked.prompt}, {alt}",
            caption=caption,
        )

    sets, note = [inpainted("plain", "inpainted")], ""
    if tour.repeats > 1:
        alt = "inpainted with RePaint's resampling"
        sets.append(inpainted("RePaint", alt, jump=tour.jump, repeats=tour.repeats))
        note = f"RePaint goes back up {tour.jump} steps, {tour.repeats} passes in all."
    inputs = [
        work.picture(picture, "the picture", "the picture"),
        work.picture(mask, "the mask, white where pixels are made", "the mask"),
    ]
    title, columns = f"“{masked.prompt}”, where the mask is white", 2 + len(sets) * work.count
    return make_row(work, title, sets, note=note, before=inputs, columns=columns)
