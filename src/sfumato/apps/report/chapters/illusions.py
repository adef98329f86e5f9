"""Pictures with two readings: visual anagrams and hybrids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.desk import slug
from sfumato.apps.report.page import Block, Distance, Shown, Source, Turn, Turns
from sfumato.apps.report.said import Said, as_said, say
from sfumato.apps.report.shots import Shot, names, source, take
from sfumato.core.views import make_view
from sfumato.pictures import read_picture, save_picture
from sfumato.techniques import anagram, hybrid

if TYPE_CHECKING:
    from sfumato.apps.report.desk import Desk
    from sfumato.apps.report.tour import Anagram


def anagrams(desk: Desk) -> Iterator[Block]:
    """Every anagram of the tour, both ways and turning."""
    for i, asked in enumerate(desk.tour.anagrams):
        view = slug(asked.view)
        shot = Shot(
            what=say(anagram, asked.upright, asked.seen, view=asked.view),
            command=("anagram", asked.upright, asked.seen, "--view", asked.view),
            name=f"8-{i}-{slug(asked.upright, 12)}-{slug(asked.seen, 12)}-{view}",
            seed=desk.tour.seed if asked.seed is None else asked.seed,
            count=desk.count,
            alt=f"an anagram: {asked.upright}, and through {asked.view} {asked.seen}",
        )
        yield turning(desk, shot, asked, f"“{asked.upright}” and “{asked.seen}”")


def turning(desk: Desk, shot: Shot, asked: Anagram, title: str) -> Turns:
    """The pictures of an anagram with what is seen through its view."""
    view = make_view(asked.view)
    (pictures,) = take(desk, [shot])
    turns, also = [], []
    for upright, file in zip(pictures, names(shot), strict=True):
        seen = f"{file.removesuffix('.png')}-seen.png"
        also += _seen(file, asked.view, seen)
        x = view.forward(read_picture(desk.folder / file))
        other = desk.keep(
            x, seen, f"the same picture through {asked.view}", asked.seen, about=f"{file} through {view}"
        )
        turns.append(
            Turn(
                title=title,
                view=view.name,
                upright=upright.model_copy(update={"caption": asked.upright}),
                seen=other,
            )
        )
    return Turns(
        title=title,
        note=f"Through {asked.view}: {view.description}.",
        turns=tuple(turns),
        source=source(desk, [shot], also=also),
    )


def _seen(file: str, view: str, seen: str) -> list[Said]:
    """The statement that writes what is seen through the view."""
    read = f"make_view({as_said(view).text}).forward(sf.read_picture({as_said(file).text}))"
    text = f"turned = {read}\nsave_picture(turned, {as_said(seen).text})"
    imports = {
        f"from sfumato.core.views import {make_view.__name__}",
        f"from sfumato.pictures import {save_picture.__name__}",
    }
    return [Said(None, text, imports=frozenset(imports))]


def hybrids(desk: Desk) -> Iterator[Block]:
    """Every hybrid of the tour, large, small, blurred and at any distance."""
    for i, asked in enumerate(desk.tour.hybrids):
        shot = Shot(
            what=say(hybrid, far=asked.far, near=asked.near, sigma=asked.sigma),
            command=("hybrid", "--far", asked.far, "--near", asked.near, "--sigma", asked.sigma),
            name=f"9-{i}-{slug(asked.far, 12)}-{slug(asked.near, 12)}",
            seed=desk.tour.seed if asked.seed is None else asked.seed,
            count=desk.count,
            alt=f"a hybrid: {asked.far} from afar, {asked.near} from near",
        )
        (pictures,) = take(desk, [shot])
        made = source(desk, [shot])
        for k, picture in enumerate(pictures):
            yield distance(picture, asked.far, asked.near, asked.sigma, made if k == 0 else None)


def distance(picture: Shown, far: str, near: str, sigma: float, made: Source | None) -> Distance:
    """A hybrid with its slider; sigma in pixels of a picture 64 high. made: its Source, once."""
    return Distance(
        title=f"“{far}” from afar, “{near}” from near",
        far=far,
        near=near,
        picture=picture,
        blur=sigma * picture.height / 64,
        source=made or Source(),
    )
