"""Pictures from pictures: image to image, and inpainting."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.desk import png_name, slug
from sfumato.apps.report.page import Block, Row
from sfumato.apps.report.said import say
from sfumato.apps.report.shots import Shot, source, take
from sfumato.techniques import inpaint, translate

if TYPE_CHECKING:
    from sfumato.apps.report.desk import Desk
    from sfumato.apps.report.tour import Given, Spot


def edits(desk: Desk) -> Iterator[Block]:
    """Image to image at several strengths, with another prompt, and inpainting."""
    for i, given in enumerate(desk.tour.translate):
        yield _translated(desk, given, f"7-{slug(png_name(given.picture)[:-4])}-{i}", given.about)
    yield _translated(desk, desk.tour.other, "7-other", "with another prompt")
    for i, spot in enumerate(desk.tour.inpaint):
        yield _inpainted(desk, spot, f"7-inpaint-{i}")


def strength_of(start: int, steps: int) -> float:
    """The strength, to three digits, with which sampling starts at step `start` of so many."""
    return math.ceil(1000 * (steps - start) / steps) / 1000


def _translated(desk: Desk, given: Given, name: str, about: str) -> Row:
    tour = desk.tour
    shots = []
    for start in tour.starts:
        strength = strength_of(start, tour.of)
        shots.append(
            Shot(
                what=say(translate, desk.picture(given), given.prompt, strength=strength),
                command=("translate", png_name(given.picture), given.prompt, "--strength", strength),
                name=f"{name}-{start:02d}",
                seed=tour.seed,
                steps=tour.of,
                alt=f"{given.prompt}, started at step {start} of {tour.of}",
                caption=f"from step {start}",
            )
        )
    pictures = [shown for (shown,) in take(desk, shots)]
    clean = desk.shown(png_name(given.picture), "the picture it starts from", "the picture")
    return Row(
        title=f"“{given.prompt}”, from a picture",
        note=f"{about[:1].upper()}{about[1:]}." if about else "",
        pictures=(*pictures, clean),
        columns=len(pictures) + 1,
        source=source(desk, shots),
    )


def _inpainted(desk: Desk, spot: Spot, name: str) -> Row:
    tour = desk.tour
    picture, mask = png_name(spot.picture), png_name(spot.mask)
    words = ("inpaint", picture, spot.prompt, "--mask", mask)
    plain = Shot(
        what=say(inpaint, desk.picture(spot), desk.mask(spot), spot.prompt),
        command=words,
        name=f"{name}-plain",
        seed=tour.seed,
        count=desk.count,
        alt=f"{spot.prompt}, inpainted",
        caption="plain",
    )
    again = Shot(
        what=say(
            inpaint,
            desk.picture(spot),
            desk.mask(spot),
            spot.prompt,
            jump=tour.jump,
            repeats=tour.repeats,
        ),
        command=(*words, "--jump", tour.jump, "--repeats", tour.repeats),
        name=f"{name}-repaint",
        seed=tour.seed,
        count=desk.count,
        alt=f"{spot.prompt}, inpainted with RePaint's resampling",
        caption="RePaint",
    )
    made = [shown for pictures in take(desk, [plain, again]) for shown in pictures]
    return Row(
        title=f"“{spot.prompt}”, where the mask is white",
        note=f"RePaint goes back up {tour.jump} steps, {tour.repeats} passes in all.",
        pictures=(
            desk.shown(picture, "the picture", "the picture"),
            desk.shown(mask, "the mask, white where pixels are made", "the mask"),
            *made,
        ),
        columns=2 + len(made),
        source=source(desk, [plain, again]),
    )
