"""What the algebra gives besides: three readings, AND and NOT, readings inside readings, wide canvases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sfumato.apps.report.chapters.illusions import distance, turning
from sfumato.apps.report.page import Block, Row
from sfumato.apps.report.said import say
from sfumato.apps.report.shots import Shot, source, take
from sfumato.techniques import anagram, compose, hybrid, panorama

if TYPE_CHECKING:
    from sfumato.apps.report.desk import Desk

MIDDLE = 2.0  # the wider blur of a hybrid of three, which leaves what is seen from afar


def beyond(desk: Desk) -> Iterator[Block]:
    """All of them."""
    yield from _three(desk)
    yield from _composed(desk)
    yield _nested(desk)
    yield _wide(desk)


def _three(desk: Desk) -> Iterator[Block]:
    three = desk.tour.three
    shot = Shot(
        what=say(hybrid, far=three.far, middle=three.middle, near=three.near),
        command=("hybrid", "--far", three.far, "--middle", three.middle, "--near", three.near),
        name="10-three",
        seed=_seed(desk, three.seed),
        alt=f"{three.far} from afar, {three.middle} in between, {three.near} from near",
    )
    ((picture,),) = take(desk, [shot])
    block = distance(picture, three.far, three.near, MIDDLE, source(desk, [shot]))
    title = f"Three bands: “{three.far}” from afar, “{three.middle}” in between, “{three.near}” from near"
    yield block.model_copy(update={"title": title})


def _composed(desk: Desk) -> Iterator[Block]:
    one, other = desk.tour.both
    both = Shot(
        what=say(compose, one, other),
        command=("compose", one, other),
        name="10-and",
        seed=desk.tour.seed,
        count=max(3, desk.count),
        alt=f"{one} and {other} at once",
    )
    (pictures,) = take(desk, [both])
    yield Row(
        title=f"AND: “{one}” and “{other}” at once", pictures=tuple(pictures), source=source(desk, [both])
    )
    without = desk.tour.without
    seed = _seed(desk, without.seed)
    shots = [
        Shot(
            what=say(compose, without.what),
            command=("compose", without.what),
            name="10-not-with",
            seed=seed,
            alt=without.what,
            caption=without.what,
        ),
        Shot(
            what=say(compose, without.what, without=[without.without]),
            command=("compose", without.what, "--without", without.without),
            name="10-not-without",
            seed=seed,
            alt=f"{without.what} without {without.without}",
            caption=f"without {without.without}",
        ),
    ]
    yield Row(
        title=f"NOT: “{without.what}” without “{without.without}”",
        note="The same seed, with and without.",
        pictures=tuple(shown for (shown,) in take(desk, shots)),
        source=source(desk, shots),
    )


def _nested(desk: Desk) -> Block:
    nested = desk.tour.nested
    far_near = say(hybrid, far=nested.upright, near=nested.near)
    shot = Shot(
        what=say(anagram, far_near.named("far_near"), nested.seen, view=nested.view),
        command=None,
        name="10-nested",
        seed=_seed(desk, nested.seed),
        alt=f"{nested.upright} from afar, {nested.near} from near, and turned {nested.seen}",
    )
    hybrid_said = f"“{nested.upright}” from afar and “{nested.near}” from near"
    title = f"An anagram of a hybrid: {hybrid_said}, or “{nested.seen}”"
    return turning(desk, shot, nested, title)


def _wide(desk: Desk) -> Block:
    wide = desk.tour.wide
    _, height, width = desk.model.shape
    shot = Shot(
        what=say(panorama, wide.prompt, size=(height, wide.times * width)),
        command=("panorama", wide.prompt, "--width", wide.times * width),
        name="10-wide",
        seed=_seed(desk, wide.seed),
        alt=f"{wide.prompt}, {wide.times} times as wide",
    )
    ((picture,),) = take(desk, [shot])
    return Row(
        title=f"Panorama: “{wide.prompt}” on a canvas {wide.times} times as wide as the network",
        pictures=(picture,),
        source=source(desk, [shot]),
    )


def _seed(desk: Desk, own: int | None) -> int:
    return desk.tour.seed if own is None else own
