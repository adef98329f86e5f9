"""The pictures and masks of the tours that ship, drawn by this file: nobody else's picture is in the package.

    python -m sfumato.apps.report.drawings FOLDER

draws them again. Everything is drawn four times too large and made smaller, on a square of SIDE pixels.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIDE, FINE = 256, 4  # pixels of a side; how much larger it is drawn
Point = tuple[float, float]  # in hundredths of the side, from the top left
Colour = str | tuple[int, int, int]

INK, PAPER = "#26221f", "white"


class Sheet:
    """A square to draw on; a hand that is not quite steady, the same at every call."""

    def __init__(self, paper: Colour = PAPER, seed: int = 0) -> None:
        self.image = Image.new("RGB", (SIDE * FINE, SIDE * FINE), paper)
        self.draw = ImageDraw.Draw(self.image)
        self.hand = random.Random(seed)

    def at(self, point: Point) -> Point:
        """Hundredths to pixels."""
        return point[0] * SIDE * FINE / 100, point[1] * SIDE * FINE / 100

    def disc(self, centre: Point, rx: float, ry: float, fill: Colour) -> None:
        """A filled ellipse."""
        (x, y), (a, b) = self.at(centre), self.at((rx, ry))
        self.draw.ellipse((x - a, y - b, x + a, y + b), fill=fill)

    def shape(self, points: Sequence[Point], fill: Colour, *, smooth: bool = True) -> None:
        """A filled outline; smooth joins its corners by curves."""
        outline = curve([*points, points[0]], closed=True) if smooth else points
        self.draw.polygon([self.at(p) for p in outline], fill=fill)

    def stroke(
        self,
        points: Sequence[Point],
        width: float = 2.6,
        fill: Colour = INK,
        *,
        wobble: float = 0.35,
        closed: bool = False,
    ) -> None:
        """A line by hand: a curve through the points that trembles a little and presses unevenly."""
        phase = self.hand.uniform(0, 6)
        drift_x = drift_y = 0.0
        for i, (x, y) in enumerate(curve(points, closed=closed)):
            drift_x = 0.97 * drift_x + self.hand.gauss(0, wobble / 8)
            drift_y = 0.97 * drift_y + self.hand.gauss(0, wobble / 8)
            press = width * (1 + 0.16 * math.sin(0.045 * i + phase)) / 2
            self.disc((x + drift_x, y + drift_y), press, press, fill)

    def line(self, *points: Point, width: float = 2.6, fill: Colour = INK, wobble: float = 0.35) -> None:
        """Straight pieces by hand, drawn one by one."""
        for start, end in itertools.pairwise(points):
            self.stroke([start, middle(start, end), end], width, fill, wobble=wobble)

    def done(self) -> Image.Image:
        """The picture at its size."""
        return self.image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def middle(a: Point, b: Point) -> Point:
    """Half way."""
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def curve(points: Sequence[Point], *, closed: bool = False, pieces: int = 60) -> list[Point]:
    """A Catmull-Rom spline through the points."""
    path = [points[-2], *points, points[1]] if closed else [points[0], *points, points[-1]]
    out = []
    for p0, p1, p2, p3 in zip(path, path[1:], path[2:], path[3:], strict=False):
        for k in range(pieces):
            t = k / pieces
            out.append(
                (
                    spline(p0[0], p1[0], p2[0], p3[0], t),
                    spline(p0[1], p1[1], p2[1], p3[1], t),
                )
            )
    return [*out, path[-2]]


def spline(a: float, b: float, c: float, d: float, t: float) -> float:
    """One coordinate of a Catmull-Rom piece between b and c."""
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


# ------------------------------------------------------------------------------------- flat coloured pictures


def mushroom() -> Image.Image:
    """The picture that is given: a red mushroom with white dots."""
    s = Sheet()
    s.shape([(41, 52), (59, 52), (61, 72), (66, 87), (50, 91), (34, 87), (39, 72)], "#f1e3c8")
    s.shape([(52, 53), (59, 52), (61, 72), (66, 87), (54, 90), (56, 70)], "#dcc6a0")
    s.shape(
        [(8, 52), (14, 29), (33, 13), (50, 10), (67, 13), (86, 29), (92, 52), (72, 60), (28, 60)], "#d8342c"
    )
    s.shape([(62, 13), (86, 29), (92, 52), (72, 60), (56, 61), (78, 44)], "#b3231f")
    s.shape([(24, 57), (50, 54), (76, 57), (68, 63), (50, 64), (32, 63)], "#e9d5b0")
    for centre, r in (
        ((33, 27), 7),
        ((54, 21), 5.5),
        ((71, 34), 6.5),
        ((49, 41), 7),
        ((22, 45), 5),
        ((78, 50), 4),
    ):
        s.disc(centre, r, r * 0.86, "#fff6ea")
    return s.done()


def umbrella() -> Image.Image:
    """The second picture: a striped umbrella, open. It stands in for one found on the web."""
    s = Sheet()
    s.stroke([(50, 14), (50, 50), (50, 82), (46, 90), (38, 90), (36, 83)], 4, "#6b4630", wobble=0)
    ribs = [8, 25, 42, 58, 75, 92]
    colours = ["#2f78b7", "#f2c84b", "#2f78b7", "#f2c84b", "#2f78b7"]
    for left, right, colour in zip(ribs, ribs[1:], colours, strict=False):
        over = [(50 + (x - 50) * 0.62, 27 - 4 * (1 - abs(x - 50) / 50)) for x in (left, right)]
        edge = [(right, 55), ((left + right) / 2, 49), (left, 55)]
        s.shape([(50, 13), over[1], *edge, over[0]], colour, smooth=False)
        s.disc(((left + right) / 2, 55), (right - left) / 2, 5.4, PAPER)
    s.stroke([(50, 53), (50, 82), (46, 90), (38, 90), (36, 83)], 4, "#6b4630", wobble=0)
    s.disc((50, 12), 2, 3.4, "#6b4630")
    return s.done()


def face() -> Image.Image:
    """A yellow face that smiles."""
    s = Sheet()
    s.disc((50, 50), 42, 42, "#e8ab2b")
    s.disc((50, 49), 41, 41, "#fdd24a")
    for x in (36, 64):
        s.disc((x, 42), 5, 7.5, "#5a3a16")
    s.stroke([(27, 60), (37, 71), (50, 75), (63, 71), (73, 60)], 4.4, "#5a3a16", wobble=0)
    return s.done()


# --------------------------------------------------------------------------------------------- drawn by hand


def cat() -> Image.Image:
    """A cat's head in ink and two crayons."""
    s = Sheet("#fffdf8", seed=3)
    s.shape([(23, 40), (22, 16), (38, 27), (50, 25), (62, 27), (78, 16), (78, 40), (80, 62), (64, 80),
             (50, 83), (36, 80), (20, 62)], "#f2b36b")  # fmt: skip
    s.shape([(26, 33), (26, 22), (33, 29)], "#e88f8a", smooth=False)
    s.shape([(74, 33), (74, 22), (67, 29)], "#e88f8a", smooth=False)
    s.line((22, 42), (21, 14), (39, 27))
    s.line((61, 27), (79, 14), (78, 42))
    s.stroke([(39, 27), (50, 24), (61, 27)])
    s.stroke([(22, 42), (19, 60), (33, 79), (50, 84), (67, 79), (81, 60), (78, 42)])
    for x in (38, 62):
        s.disc((x, 48), 4.2, 6, INK)
        s.disc((x + 1.3, 46), 1.2, 1.6, "white")
    s.shape([(46, 58), (54, 58), (50, 63)], "#d66a6a", smooth=False)
    s.stroke([(50, 63), (49, 69), (43, 71), (39, 68)])
    s.stroke([(50, 63), (51, 69), (57, 71), (61, 68)])
    for y, tip in ((58, 54), (63, 63), (68, 72)):
        s.stroke([(31, y), (20, y - 1), (8, tip)], 1.7)
        s.stroke([(69, y), (80, y - 1), (92, tip)], 1.7)
    return s.done()


def house() -> Image.Image:
    """A house with smoke, as a child draws it."""
    s = Sheet("#fffdf8", seed=5)
    for x in range(24, 62, 4):  # crayon
        s.stroke([(x, 50), (x + 1, 66), (x - 1, 84)], 3.4, "#f0d9a8", wobble=0.9)
    for k in range(9):
        y = 25 + 3 * k
        half = 1.0 * k * 2.7 + 2
        s.stroke([(43 - half, y), (43, y + 1), (43 + half, y)], 3.2, "#c8553d", wobble=0.8)
    s.line((20, 49), (43, 22), (67, 49), (20, 49))
    s.line((24, 49), (24, 86), (62, 86), (62, 49))
    s.line((38, 86), (38, 66), (49, 66), (49, 86))
    s.disc((46.4, 77), 1, 1, INK)
    s.line((28, 56), (28, 64), (35, 64), (35, 56), (28, 56), width=2)
    s.line((52, 56), (52, 64), (59, 64), (59, 56), (52, 56), width=2)
    s.line((55, 34), (55, 24), (60, 24), (60, 40))
    s.stroke([(58, 21), (62, 16), (57, 12), (63, 8), (70, 9)], 1.9)
    s.stroke([(8, 87), (30, 86.4), (60, 87), (93, 86)], 2.4, "#4e8a4a")
    return s.done()


# ------------------------------------------------------------------------------ digits, and what is like them


def numeral(points: Sequence[Sequence[Point]], seed: int, width: float = 9.5) -> Image.Image:
    """White strokes on black, softened as a scanner would."""
    s = Sheet("black", seed)
    for stroke in points:
        s.stroke(stroke, width, "white", wobble=0.8)
    return s.done().filter(ImageFilter.GaussianBlur(2)).convert("L")


def seven() -> Image.Image:
    """A seven."""
    return numeral([[(27, 27), (50, 25), (72, 26), (60, 48), (49, 66), (43, 82)]], seed=1)


def three() -> Image.Image:
    """A three."""
    down = [(31, 29), (47, 19), (64, 27), (60, 42), (46, 48), (63, 53), (69, 68), (54, 81), (32, 75)]
    return numeral([down], seed=2)


def zigzag() -> Image.Image:
    """No digit: a zigzag."""
    return numeral([[(28, 24), (70, 34)], [(70, 34), (32, 54)], [(32, 54), (70, 78)]], seed=3)


def loop() -> Image.Image:
    """No digit: a loop with a tail."""
    return numeral([[(68, 78), (54, 52), (36, 30), (52, 18), (65, 33), (48, 55), (30, 76)]], seed=4)


# ----------------------------------------------------------------------------------------------------- masks


def mask(paint: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
    """White where pixels are made anew."""
    image = Image.new("L", (SIDE, SIDE), 0)
    paint(ImageDraw.Draw(image))
    return image


def _box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    return left * SIDE / 100, top * SIDE / 100, right * SIDE / 100, bottom * SIDE / 100


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "mushroom": mushroom,
    "umbrella": umbrella,
    "face": face,
    "cat-by-hand": cat,
    "house-by-hand": house,
    "seven": seven,
    "three": three,
    "zigzag": zigzag,
    "loop": loop,
    "mask-above": lambda: mask(lambda d: d.rectangle(_box(0, 0, 100, 62), fill=255)),
    "mask-eyes": lambda: mask(lambda d: d.rounded_rectangle(_box(14, 28, 86, 58), SIDE // 10, fill=255)),
    "mask-right": lambda: mask(lambda d: d.rectangle(_box(66, 0, 100, 100), fill=255)),
    "mask-below": lambda: mask(lambda d: d.rectangle(_box(0, 50, 100, 100), fill=255)),
    "mask-disc": lambda: mask(lambda d: d.ellipse(_box(28, 28, 72, 72), fill=255)),
}


def draw_all(folder: Path) -> None:
    """Every picture and mask, as PNG."""
    for name, draw in PICTURES.items():
        image = draw()
        if image.mode == "RGB":
            image = image.quantize(128, dither=Image.Dither.NONE)
        image.save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))
