"""A network as a U: its parts from left to right in call order, large sizes above small ones.

models/networks/anatomy.py finds the parts; the drawing knows no particular network. The page holds
the colours in its style sheet.
"""

import itertools
from collections.abc import Iterator, Sequence
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
    """A part and its top left corner."""

    part: Part
    x: float
    y: float

    @property
    def middle(self) -> float:
        """The x of its middle."""
        return self.x + WIDE / 2


class Diagram:
    """The drawing of a network. width: in pixels at its own scale."""

    def __init__(self, network: Anatomy) -> None:
        self.network = network
        stream = [part for part in network.parts if part.spatial]
        beside = [part for part in network.parts if not part.spatial]
        heights = sorted({part.shape[1] for part in stream} | {network.input[1]}, reverse=True)
        rows = {height: i for i, height in enumerate(heights)}
        columns = len(stream) + 2  # the picture that goes in, the one that comes out
        top = EDGE + 34
        self.boxes = {
            part.name: Box(part, EDGE + (i + 1) * ACROSS, top + DOWN * rows[part.shape[1]])
            for i, part in enumerate(stream)
        }
        self.floor = top + DOWN * (len(heights) - 1) + HIGH + 26
        self.boxes |= self._vectors(beside)
        self.lanes = tuple(part.name for part in beside)
        self.width = EDGE * 2 + columns * ACROSS - (ACROSS - WIDE)
        self.height = self.floor + (HIGH + 50 if beside else 0) + EDGE
        self.last = stream[-1]

    def _vectors(self, parts: list[Part]) -> dict[str, Box]:
        """The parts that give vectors (time, class), side by side under the parts that take them."""
        taken: list[float] = []
        boxes = {}
        for part in parts:
            targets = [link.target for link in self.network.links if link.source == part.name]
            x = min((self.boxes[name].x for name in targets if name in self.boxes), default=EDGE)
            while any(abs(x - other) < WIDE + 12 for other in taken):
                x -= WIDE + 12
            if x < 0:
                x = max(taken) + WIDE + 12
            taken.append(x)
            boxes[part.name] = Box(part, x, self.floor + 26)
        return boxes

    def svg(self) -> str:
        """The whole drawing."""
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
        kind = "part" if part.spatial else "part vector"
        inputs = ""
        if not part.spatial:  # it gives a vector: the time or the label stands below
            names = [link.source.strip("<>") for link in self.network.links if link.target == part.name]
            y, text = box.y + HIGH + 17, escape(", ".join(names))
            inputs = f'<text class="inputs" x="{box.middle:g}" y="{y:g}">{text}</text>'
        tip = f"{part.name}: {part.kind}, {part.parameters:,} parameters, gives {shape}"
        return (
            f'<g class="{kind}"><title>{escape(tip)}</title>'
            f'<rect x="{box.x:g}" y="{box.y:g}" width="{WIDE}" height="{HIGH}" rx="6"/>'
            f'<text class="name" x="{box.middle:g}" y="{box.y + 18:g}">{escape(_short(part.name))}</text>'
            f'<text class="kind" x="{box.middle:g}" y="{box.y + 34:g}">{escape(_short(part.kind))}</text>'
            f'<text class="shape" x="{box.middle:g}" y="{box.y + 50:g}">{escape(shape)}</text>'
            f"{inputs}</g>"
        )

    def _ends(self) -> Iterator[str]:
        """The picture that goes in and what comes out."""
        first = self.boxes[next(link.target for link in self.network.links if link.source == "<x>")]
        last = self.boxes[self.last.name]
        y = first.y + HIGH / 2
        yield _end(EDGE, y, "x", self.network.input)
        yield _flow(EDGE + WIDE - 14, y, first.x, y)
        y, x = last.y + HIGH / 2, last.x + ACROSS
        yield _flow(last.x + WIDE, y, x + 10, y)
        yield _end(x, y, "answer", self.network.output)

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
                yield self._vector(source, target, link, place)
            elif 0 < target.x - source.x <= ACROSS + 1:
                yield _flow(source.x + WIDE, source.y + HIGH / 2, target.x, target.y + HIGH / 2)
            elif source.y == target.y:  # a skip along one row, above the boxes
                above += 1
                x, y = source.middle, source.y
                yield _skip([(x, y), (x, y - 12 - 9 * above)], (target.middle, target.y), link)
            else:  # to a larger size: along the source's row, then up to the target
                x, y = source.middle + 20, source.y
                yield _skip([(x, y), (x, y - 14)], (target.middle - 22, target.y + HIGH), link)

    def _vector(self, source: Box, target: Box, link: Link, place: int) -> str:
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
        mark = f'<text class="joint vector" x="{x + 4:g}" y="{foot + 17:g}">{sign}</text>' if sign else ""
        return f'<path class="vector" d="{path}"/>{_head(x, foot, "vector", up=True)}{mark}'


def _end(x: float, y: float, name: str, shape: Sequence[int]) -> str:
    size = " × ".join(map(str, shape))
    return (
        f'<text class="end" x="{x + WIDE / 2:g}" y="{y - 2:g}">{escape(name)}</text>'
        f'<text class="shape" x="{x + WIDE / 2:g}" y="{y + 14:g}">{escape(size)}</text>'
    )


def _flow(x0: float, y0: float, x1: float, y1: float) -> str:
    """The arrow from one box to the next."""
    half = (x0 + x1) / 2
    bend = f"L{x1 - 5:g} {y1:g}" if y0 == y1 else f"C{half:g} {y0:g} {half:g} {y1:g} {x1 - 5:g} {y1:g}"
    line = f'<path class="flow" d="M{x0:g} {y0:g}{bend}"/>'
    return f'{line}<path class="tip flow" d="M{x1:g} {y1:g}l-7 -3.6v7.2z"/>'


def _skip(leaving: list[Point], tip: Point, link: Link) -> str:
    """A skip: two points where it leaves its source, along the row of the second, to its tip."""
    x, y = leaving[-1]
    path = _rounded([*leaving, (tip[0], y), tip])
    word = {"cat": "concatenated", "+": "added"}.get(link.joint, "")
    text = f'<text class="joint" x="{(x + tip[0]) / 2:g}" y="{y - 5:g}">{word}</text>' if word else ""
    return f'<path class="skip" d="{path}"/>{_head(*tip, "skip", up=tip[1] < y)}{text}'


def _head(x: float, y: float, kind: str, *, up: bool) -> str:
    return f'<path class="tip {kind}" d="M{x:g} {y:g}l-3.6 {7 if up else -7}h7.2z"/>'


def _rounded(points: list[Point]) -> str:
    """A path of straight lines with round corners."""
    (x0, y0), *rest = points
    out = [f"M{x0:g} {y0:g}"]
    before = (x0, y0)
    for corner, after in itertools.pairwise(rest):
        a, b = _short_of(corner, before), _short_of(corner, after)
        out.append(f"L{a[0]:g} {a[1]:g}Q{corner[0]:g} {corner[1]:g} {b[0]:g} {b[1]:g}")
        before = corner
    return "".join([*out, f"L{rest[-1][0]:g} {rest[-1][1]:g}"])


def _short_of(corner: Point, other: Point) -> Point:
    """The point ROUND pixels before a corner, at most half way to the other end."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = max(abs(dx), abs(dy)) or 1
    step = min(ROUND, length / 2) / length
    return corner[0] + dx * step, corner[1] + dy * step


def _short(kind: str) -> str:
    return kind if len(kind) <= 14 else f"{kind[:13]}…"
