"""Pictures with two readings: visual anagrams and hybrids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.page import Block, Code, Distance, Turn, Turns
from sfumato.apps.report.picture_sets import PictureSet, code_of, make_sets
from sfumato.apps.report.snippets import call, literal, statement
from sfumato.apps.report.workspace import slug
from sfumato.core.views import make_view
from sfumato.pictures import read_picture, save_picture
from sfumato.techniques import anagram, hybrid

if TYPE_CHECKING:
    from sfumato.apps.report.tour import Anagram
    from sfumato.apps.report.workspace import Workspace


def anagrams(work: Workspace) -> Iterator[Block]:
    """Every anagram of the tour, both ways and turning."""
    for i, two in enumerate(work.tour.anagrams):
        one = PictureSet(
            what=call(anagram, two.upright, two.seen, view=two.view),
            command=("anagram", two.upright, two.seen, "--view", two.view),
            name=f"{i}-{slug(two.upright, 12)}-{slug(two.seen, 12)}-{slug(two.view)}",
            seed=work.tour.seed_of(two),
            count=work.count,
            best_of=work.best_of,
            alt=f"an anagram: {two.upright}, and through {two.view} {two.seen}",
        )
        yield make_turns(work, one, two, f"“{two.upright}” and “{two.seen}”")


def make_turns(work: Workspace, picture_set: PictureSet, two: Anagram, title: str) -> Turns:
    """The pictures of an anagram with what is seen through its view."""
    view = make_view(two.view)
    made = make_sets(work, [picture_set])
    turns, also = [], []
    for upright in made[0].pictures:
        seen = f"{upright.file.removesuffix('.png')}-seen.png"
        names = [literal(name).text for name in (two.view, upright.file, seen)]
        lines = [
            "turned = make_view({}).forward(sf.read_picture({}))".format(*names),
            f"save_picture(turned, {names[2]})",
        ]
        also.append(statement(lines, uses=(make_view, save_picture)))
        x = view.forward(read_picture(work.folder / upright.file))
        about = f"{upright.file} through {view}"
        other = work.save(x, seen, f"the same picture through {two.view}", two.seen, about=about)
        captioned = upright.model_copy(update={"caption": two.upright})
        turns.append(Turn(view=view.name, upright=captioned, seen=other))
    return Turns(
        title=title,
        note=f"Through {two.view}: {view.description}.{best_note(picture_set)}",
        turns=tuple(turns),
        code=code_of(work, made, also=also),
    )


def best_note(picture_set: PictureSet) -> str:
    """How the pictures were chosen, where they were."""
    if picture_set.best_of is None:
        return ""
    return f" The best {picture_set.count} of {picture_set.best_of}, as the package's classifier reads them."


def hybrids(work: Workspace) -> Iterator[Block]:
    """Every hybrid of the tour, large, small, blurred and at any distance."""
    for i, two in enumerate(work.tour.hybrids):
        one = PictureSet(
            what=call(hybrid, far=two.far, near=two.near, sigma=two.sigma),
            command=("hybrid", "--far", two.far, "--near", two.near, "--sigma", two.sigma),
            name=f"{i}-{slug(two.far, 12)}-{slug(two.near, 12)}",
            seed=work.tour.seed_of(two),
            count=work.count,
            best_of=work.best_of,
            alt=f"a hybrid: {two.far} from afar, {two.near} from near",
        )
        title = f"“{two.far}” from afar, “{two.near}” from near"
        yield from make_distances(work, one, title, far=two.far, near=two.near, sigma=two.sigma)


def make_distances(
    work: Workspace, picture_set: PictureSet, title: str, *, far: str, near: str, sigma: float
) -> Iterator[Distance]:
    """The pictures of a hybrid, each with its slider; sigma in pixels of a picture 64 high."""
    made = make_sets(work, [picture_set])
    for i, picture in enumerate(made[0].pictures):
        yield Distance(
            title=title,
            note="" if i else best_note(picture_set).strip(),
            far=far,
            near=near,
            picture=picture,
            blur=sigma * picture.height / 64,
            code=Code() if i else code_of(work, made),
        )
