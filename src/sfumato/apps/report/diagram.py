"""A network as a U: its parts from left to right as they are called, sizes from top to bottom.

The drawing knows nothing of any network: models/anatomy.py sees what there is. Colours are the page's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from sfumato.models.networks.anatomy import Anatomy, Link, Part

WIDE, HIGH = 92, 60  # of a box
ACROSS, DOWN = 114, 104  # from one box to the next
EDGE = 14
ROUND = 9
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """Where a part stands: its top left corner."""

    part: Part
    x: float
    y: float

    @property
    def middle(self) -> float:
        """Half way across."""
        return self.x + WIDE / 2


def draw(network: Anatomy) -> str:
    """The SVG."""
    return _Drawing(network).svg()


def width_of(network: Anatomy) -> int:
    """The drawing's width in pixels at its own scale."""
    return int(_Drawing(network).width)


class _Drawing:
    def __init__(self, network: Anatomy) -> None:
        self.network = network
        stream = [part for part in network.parts if part.spatial]
        beside = [part for part in network.parts if not part.spatial]
        heights = sorted({part.shape[1] for part in stream} | {network.input[1]}, reverse=True)
        self.rows = {height: i for i, height in enumerate(heights)}
        columns = len(stream) + 2  # the picture that goes in, the one that comes out
        top = EDGE + 34
        self.boxes = {
            part.name: Box(part, EDGE + (i + 1) * ACROSS, top + DOWN * self.rows[part.shape[1]])
            for i, part in enumerate(stream)
        }
        self.floor = top + DOWN * (len(heights) - 1) + HIGH + 26
        self.boxes |= self._beside(beside)
        self.lanes = tuple(part.name for part in beside)
        self.width = EDGE * 2 + columns * ACROSS - (ACROSS - WIDE)
        self.height = self.floor + (HIGH + 50 if beside else 0) + EDGE
        self.top = top
        self.last = stream[-1]

    def _beside(self, parts: list[Part]) -> dict[str, Box]:
        """What tells the time and the class, under what it tells them to, side by side."""
        taken: list[float] = []
        boxes = {}
        for part in parts:
            targets = [
                self.boxes[link.target].x for link in self._from(part.name) if link.target in self.boxes
            ]
            x = min(targets, default=EDGE)
            while any(abs(x - other) < WIDE + 12 for other in taken):
                x -= WIDE + 12
            if x < 0:
                x = max(taken) + WIDE + 12
            taken.append(x)
            boxes[part.name] = Box(part, x, self.floor + 26)
        return boxes

    def _from(self, name: str) -> Iterator[Link]:
        return (link for link in self.network.links if link.source == name)

    def svg(self) -> str:
        """All of it."""
        w, h = self.width, self.height
        body = [*self._links(), *self._ends(), *map(self._box, self.boxes.values())]
        label = f"{self.network.kind}: {', '.join(part.name for part in self.network.parts)}"
        return (
            f'<svg class="network" viewBox="0 0 {w:g} {h:g}" role="img" aria-label="{escape(label)}">'
            f"{''.join(body)}</svg>"
        )

    # -- boxes

    def _box(self, box: Box) -> str:
        part = box.part
        shape = " × ".join(map(str, part.shape)) if part.spatial else f"{part.shape[0]}"
        kind = "part" if part.spatial else "part told"
        tip = f"{part.name}: {part.kind}, {part.parameters:,} parameters, gives {shape}"
        return (
            f'<g class="{kind}"><title>{escape(tip)}</title>'
            f'<rect x="{box.x:g}" y="{box.y:g}" width="{WIDE}" height="{HIGH}" rx="6"/>'
            f'<text class="name" x="{box.middle:g}" y="{box.y + 18:g}">{escape(_short(part.name))}</text>'
            f'<text class="kind" x="{box.middle:g}" y="{box.y + 34:g}">{escape(_short(part.kind))}</text>'
            f'<text class="shape" x="{box.middle:g}" y="{box.y + 50:g}">{escape(shape)}</text>'
            f"{self._asks(box)}</g>"
        )

    def _asks(self, box: Box) -> str:
        """What a part that gives vectors is itself told: the time or the label."""
        if box.part.spatial:
            return ""
        told = [link.source.strip("<>") for link in self.network.links if link.target == box.part.name]
        y = box.y + HIGH + 17
        return f'<text class="asks" x="{box.middle:g}" y="{y:g}">{escape(", ".join(told))}</text>'

    def _ends(self) -> Iterator[str]:
        """The picture that goes in and what comes out."""
        first, last = self.boxes[self._first()], self.boxes[self.last.name]
        size = " × ".join(map(str, self.network.input))
        out = " × ".join(map(str, self.network.output))
        y = first.y + HIGH / 2
        yield _end(EDGE, y, "x", size)
        yield _arrow(EDGE + WIDE - 14, y, first.x, y, "flow")
        y = last.y + HIGH / 2
        x = last.x + ACROSS
        yield _arrow(last.x + WIDE, y, x + 10, y, "flow")
        yield _end(x, y, "answer", out)

    def _first(self) -> str:
        return next(link.target for link in self.network.links if link.source == "<x>")

    # -- links

    def _links(self) -> Iterator[str]:
        above = 0
        entries: dict[str, int] = {}
        for link in self.network.links:
            if link.source not in self.boxes or link.target not in self.boxes:
                continue
            source, target = self.boxes[link.source], self.boxes[link.target]
            if not source.part.spatial:
                place = entries.setdefault(link.target, 0)
                entries[link.target] += 1
                yield self._told(source, target, link, place)
            elif self._next(source, target):
                yield _bent(source, target)
            elif source.y == target.y:
                above += 1
                yield self._above(source, target, link, above)
            else:
                yield self._across(source, target, link)

    def _next(self, source: Box, target: Box) -> bool:
        return 0 < target.x - source.x <= ACROSS + 1

    def _above(self, source: Box, target: Box, link: Link, rank: int) -> str:
        """A skip along one row: over the boxes."""
        y = source.y - 12 - 9 * rank
        path = _rounded(
            [(source.middle, source.y), (source.middle, y), (target.middle, y), (target.middle, target.y)]
        )
        return _skip(
            path, (target.middle, target.y), (_half(source.middle, target.middle), y - 5), link, up=False
        )

    def _across(self, source: Box, target: Box, link: Link) -> str:
        """A skip to a larger size: along the source's row, then up to the target."""
        y, x = source.y - 14, target.middle - 22
        foot = target.y + HIGH
        path = _rounded([(source.middle + 20, source.y), (source.middle + 20, y), (x, y), (x, foot)])
        return _skip(path, (x, foot), (_half(source.middle + 20, x), y - 5), link, up=True)

    def _told(self, source: Box, target: Box, link: Link, place: int) -> str:
        """A vector that changes what goes into the target."""
        x = target.middle + 4 + 15 * place
        lane = self.lanes.index(source.part.name)
        foot, y = target.y + HIGH, self.floor + 12 - 5 * lane
        start = min(max(x, source.x + 14), source.x + WIDE - 14)
        path = (
            _rounded([(start, source.y), (start, y), (x, y), (x, foot)])
            if abs(start - x) > 1
            else (f"M{x:g} {source.y:g}V{foot:g}")
        )
        sign = {"x": "×", "+": "+"}.get(link.joint, "")
        mark = f'<text class="joint told" x="{x + 4:g}" y="{foot + 17:g}">{sign}</text>' if sign else ""
        return f'<path class="tell" d="{path}"/>{_head(x, foot, "tell", up=True)}{mark}'


def _half(a: float, b: float) -> float:
    return (a + b) / 2


def _end(x: float, y: float, name: str, size: str) -> str:
    return (
        f'<text class="end" x="{x + WIDE / 2:g}" y="{y - 2:g}">{escape(name)}</text>'
        f'<text class="shape" x="{x + WIDE / 2:g}" y="{y + 14:g}">{escape(size)}</text>'
    )


def _bent(source: Box, target: Box) -> str:
    """The stream, from one box to the next."""
    x0, y0 = source.x + WIDE, source.y + HIGH / 2
    x1, y1 = target.x, target.y + HIGH / 2
    if y0 == y1:
        return _arrow(x0, y0, x1, y1, "flow")
    half = (x0 + x1) / 2
    d = f"M{x0:g} {y0:g}C{half:g} {y0:g} {half:g} {y1:g} {x1 - 5:g} {y1:g}"
    return f'<path class="flow" d="{d}"/><path class="tip flow" d="M{x1:g} {y1:g}l-7 -3.6v7.2z"/>'


def _arrow(x0: float, y0: float, x1: float, y1: float, kind: str) -> str:
    return (
        f'<path class="{kind}" d="M{x0:g} {y0:g}L{x1 - 5:g} {y1:g}"/>'
        f'<path class="tip {kind}" d="M{x1:g} {y1:g}l-7 -3.6v7.2z"/>'
    )


def _skip(path: str, tip: Point, label: Point, link: Link, *, up: bool) -> str:
    word = {"cat": "concatenated", "+": "added"}.get(link.joint, "")
    text = f'<text class="joint" x="{label[0]:g}" y="{label[1]:g}">{word}</text>' if word else ""
    return f'<path class="skip" d="{path}"/>{_head(*tip, "skip", up=up)}{text}'


def _head(x: float, y: float, kind: str, *, up: bool) -> str:
    return f'<path class="tip {kind}" d="M{x:g} {y:g}l-3.6 {7 if up else -7}h7.2z"/>'


def _rounded(points: list[Point]) -> str:
    """A path of straight pieces with round corners."""
    (x0, y0), *rest = points
    out = [f"M{x0:g} {y0:g}"]
    before = (x0, y0)
    for corner, after in itertools.pairwise(rest):
        a, b = _short_of(corner, before), _short_of(corner, after)
        out.append(f"L{a[0]:g} {a[1]:g}Q{corner[0]:g} {corner[1]:g} {b[0]:g} {b[1]:g}")
        before = corner
    return "".join([*out, f"L{rest[-1][0]:g} {rest[-1][1]:g}"])


def _short_of(corner: Point, other: Point) -> Point:
    """The point ROUND before a corner, at most half way."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = max(abs(dx), abs(dy)) or 1
    step = min(ROUND, length / 2) / length
    return corner[0] + dx * step, corner[1] + dy * step


def _short(kind: str) -> str:
    return kind if len(kind) <= 14 else f"{kind[:13]}…"
