"""What else the algebra gives: three readings, AND and NOT, readings inside readings, wide canvases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.chapters.illusions import make_distances, make_turns
from sfumato.apps.report.page import Block
from sfumato.apps.report.picture_sets import PictureSet, make_row
from sfumato.apps.report.snippets import call
from sfumato.techniques import anagram, compose, hybrid, panorama

if TYPE_CHECKING:
    from sfumato.apps.report.tour import Negation, Nested, ThreeBands, Wide
    from sfumato.apps.report.workspace import Workspace

MIDDLE = 2.0  # the wider blur of a hybrid of three, which leaves what is seen from afar


def beyond(work: Workspace) -> Iterator[Block]:
    """All of them."""
    tour = work.tour
    if tour.three is not None:
        yield from _three(work, tour.three)
    if tour.both is not None:
        yield _both(work, *tour.both)
    if tour.without is not None:
        yield _without(work, tour.without)
    if tour.nested is not None:
        yield _nested(work, tour.nested)
    if tour.wide is not None:
        yield _wide(work, tour.wide)


def _three(work: Workspace, three: ThreeBands) -> Iterator[Block]:
    far, middle, near = three.far, three.middle, three.near
    one = PictureSet(
        what=call(hybrid, far=far, middle=middle, near=near),
        command=("hybrid", "--far", far, "--middle", middle, "--near", near),
        name="three",
        seed=work.tour.seed_of(three),
        alt=f"{far} from afar, {middle} in between, {near} from near",
    )
    title = f"Three bands: “{far}” from afar, “{middle}” in between, “{near}” from near"
    return make_distances(work, one, title, far=far, near=near, sigma=MIDDLE)


def _both(work: Workspace, one: str, other: str) -> Block:
    both = PictureSet(
        what=call(compose, one, other),
        command=("compose", one, other),
        name="and",
        seed=work.tour.seed,
        count=max(3, work.count),
        alt=f"{one} and {other} at once",
    )
    return make_row(work, f"AND: “{one}” and “{other}” at once", [both])


def _without(work: Workspace, negation: Negation) -> Block:
    what, without, seed = negation.what, negation.without, work.tour.seed_of(negation)
    sets = [
        PictureSet(
            what=call(compose, what),
            command=("compose", what),
            name="not-with",
            seed=seed,
            alt=what,
            caption=what,
        ),
        PictureSet(
            what=call(compose, what, without=[without]),
            command=("compose", what, "--without", without),
            name="not-without",
            seed=seed,
            alt=f"{what} without {without}",
            caption=f"without {without}",
        ),
    ]
    title, note = f"NOT: “{what}” without “{without}”", "The same seed, with and without."
    return make_row(work, title, sets, note=note)


def _nested(work: Workspace, nested: Nested) -> Block:
    upright, near, seen = nested.upright, nested.near, nested.seen
    far_near = call(hybrid, far=upright, near=near)
    one = PictureSet(
        what=call(anagram, far_near.named("far_near"), seen, view=nested.view),
        command=None,
        name="nested",
        seed=work.tour.seed_of(nested),
        alt=f"{upright} from afar, {near} from near, and turned {seen}",
    )
    title = f"An anagram of a hybrid: “{upright}” from afar and “{near}” from near, or “{seen}”"
    return make_turns(work, one, nested, title)


def _wide(work: Workspace, wide: Wide) -> Block:
    prompt, times, (_, height, width) = wide.prompt, wide.times, work.first.shape
    one = PictureSet(
        what=call(panorama, prompt, size=(height, times * width)),
        command=("panorama", prompt, "--width", times * work.model.shape[2]),
        name="wide",
        seed=work.tour.seed_of(wide),
        alt=f"{prompt}, {times} times as wide",
    )
    title = f"Panorama: “{prompt}” on a canvas {times} times as wide as the network"
    return make_row(work, title, [one])
