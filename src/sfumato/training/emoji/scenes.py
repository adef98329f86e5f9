"""Scenes: pictures composed of icons, with captions that are true of them.

Coloured anew ("a blue apple"), counted ("two apples"), in pairs ("a cat on a car"). A scene follows from the
data set and its own number. What `scenes_held_out.txt` asks for is never composed: it tells whether a model
puts words together or only recalls them.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sfumato.errors import SfumatoError
from sfumato.models.text.phrasing import FRAMES
from sfumato.training.emoji.captions import with_article
from sfumato.training.emoji.dataset import EmojiDataset

HELD_OUT = Path(__file__).parent / "scenes_held_out.txt"
COLOURS = {
    "red": (222, 46, 46),
    "orange": (250, 140, 25),
    "yellow": (252, 212, 51),
    "green": (77, 173, 77),
    "blue": (51, 120, 230),
    "purple": (148, 84, 204),
    "pink": (247, 140, 191),
    "brown": (140, 92, 56),
    "black": (41, 41, 46),
    "grey": (140, 145, 150),
    "white": (225, 232, 237),
}
COUNTS = ("two", "three")
_GROUPS = frozenset({"animals-nature", "food-drink", "travel-places", "activities", "objects"})
_COLOURED, _COUNTED = 0.4, 0.25  # shares of the scenes; the others are pairs
_FRAMED = 0.3
_TRIES = 200
_LEAST = 0.4  # of the ink that is coloured anew
_UNCOUNTED = frozenset(
    {"sheep", "fish", "shrimp", "deer", "squid", "bison", "moose"}
    | {"wood", "water", "rice", "ice", "fire", "fog"}
)
_SAID = {"automobile": "car", "evergreen tree": "tree", "deciduous tree": "tree", "sailboat": "boat"}
_PLURALS = (
    ("mouse$", "mice"),
    ("man$", "men"),
    ("leaf$", "leaves"),
    ("knife$", "knives"),
    ("wolf$", "wolves"),
    ("([^aeiou])y$", r"\1ies"),
    ("(ss|us|x|ch|sh|tomato|potato|mango)$", r"\1es"),
)

Floats = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture uint8 (S, S, 3), what it shows, and the style it is drawn in."""

    picture: NDArray[np.uint8]
    caption: str
    style: int


class Scenes:
    """The scenes of a data set."""

    def __init__(self, data: EmojiDataset) -> None:
        self._data = data
        self._held_out = frozenset(map(_key, held_out_scenes()))
        self._flat = frozenset(i for i, name in enumerate(data.styles) if name in ("line", "silhouette"))

    def of(self, number: int) -> Scene:
        """The scene of this number, the same in every training."""
        chance = random.Random(f"scene {number}")
        kind = chance.random()
        for _ in range(_TRIES):
            if kind < _COLOURED:
                scene = self._coloured(chance)
            elif kind < _COLOURED + _COUNTED:
                scene = self._counted(chance)
            else:
                scene = self._pair(chance)
            if scene is not None and not any(key <= _key(scene.caption) for key in self._held_out):
                break
        else:
            raise SfumatoError(f"no scene in {_TRIES} tries: the data set holds too few things")
        framed = chance.choice(FRAMES) if chance.random() < _FRAMED else "{}"
        return Scene(picture=scene.picture, caption=framed.format(scene.caption), style=scene.style)

    # -- the kinds

    def _coloured(self, chance: random.Random) -> Scene | None:
        thing, row = self._thing(chance, flat=False)
        colour = chance.choice(list(COLOURS))
        ink = recoloured(self._picture(row), COLOURS[colour])
        if ink is None:
            return None
        return self._scene(row, ink, with_article(f"{colour} {thing}"))

    def _counted(self, chance: random.Random) -> Scene | None:
        thing, row = self._thing(chance)
        many, count = plural(thing), chance.choice((2, 3))
        ink, size = self._picture(row), chance.uniform(0.4, 0.44)
        if count == 2:
            slope = chance.uniform(-0.2, 0.2)
            places = [(0.26, 0.5 - slope), (0.74, 0.5 + slope)]
        elif chance.random() < 0.5:
            places, size = [(0.19, 0.5), (0.5, 0.5), (0.81, 0.5)], chance.uniform(0.26, 0.28)
        else:
            up = chance.choice((0.26, 0.74))
            places = [(0.5, up), (0.26, 1 - up), (0.74, 1 - up)]
        sizes = [size * chance.uniform(0.95, 1.05) for _ in places]
        parts = [(_cropped(ink), *place, part) for place, part in zip(places, sizes, strict=True)]
        return self._scene(row, _composed(ink.shape[0], parts), f"{COUNTS[count - 2]} {many}")

    def _pair(self, chance: random.Random) -> Scene | None:
        (one, first), (other, second) = self._thing(chance), self._thing(chance)
        matching = [r for r in self._rows[other] if self._data.style[r] == self._data.style[first]]
        if one == other or not matching:
            return None
        second = chance.choice(matching)
        inks = [self._picture(first), self._picture(second)]
        names = [one, other]
        for i, row in enumerate((first, second)):
            if chance.random() < 0.3 and int(self._data.style[row]) not in self._flat:
                colour = chance.choice(list(COLOURS))
                painted = recoloured(inks[i], COLOURS[colour])
                if painted is not None:
                    inks[i], names[i] = painted, f"{colour} {names[i]}"
        words, places = chance.choice(_ARRANGEMENTS)(chance)
        parts = [(_cropped(ink), *place) for ink, place in zip(inks, places, strict=True)]
        caption = " ".join(_articled(words.format(*names).split()))
        return self._scene(first, _composed(inks[0].shape[0], parts), caption)

    # -- what they are made of

    def _scene(self, row: int, ink: Floats, caption: str) -> Scene:
        picture = ((1 - ink).clip(0, 1) * 255).round().astype(np.uint8)
        return Scene(picture=picture, caption=caption, style=int(self._data.style[row]))

    def _picture(self, row: int) -> Floats:
        """What a picture takes from white, (S, S, 3) in [0, 1]."""
        found: Floats = 1 - self._data.pictures[row].permute(1, 2, 0).numpy().astype(np.float32) / 255
        return found

    def _thing(self, chance: random.Random, *, flat: bool = True) -> tuple[str, int]:
        thing = chance.choice(self._things)
        rows = [r for r in self._rows[thing] if flat or int(self._data.style[r]) not in self._flat]
        return thing, chance.choice(rows or self._rows[thing])

    @cached_property
    def _things(self) -> list[str]:
        return sorted(self._rows)

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        """The pictures of each thing: of concepts of the same name but for a colour ("red apple")."""
        names = [_name(c.label) if c.group in _GROUPS else None for c in self._data.concepts]
        found: dict[str, list[int]] = {}
        for row, concept in enumerate(self._data.concept.tolist()):
            name = names[concept]
            if name is not None:
                found.setdefault(name, []).append(row)
        return found


def held_out_scenes() -> tuple[str, ...]:
    """What no scene shows: fifty coloured things, then forty counted ones and pairs."""
    return tuple(HELD_OUT.read_text(encoding="utf-8").split("\n")[:-1])


def plural(thing: str) -> str:
    """ "apple" -> "apples"."""
    for ending, instead in _PLURALS:
        if re.search(ending, thing):
            return re.sub(ending, instead, thing)
    return thing + "s"


def is_counted(thing: str) -> bool:
    """Whether it is one thing of which there may be two: neither a plural nor a stuff."""
    last = thing.rsplit(maxsplit=1)[-1]
    plurals = (last.endswith("s") and not last.endswith(("ss", "us"))) or last.endswith(("men", "mice"))
    return not plurals and last not in _UNCOUNTED


def recoloured(ink: Floats, colour: tuple[int, int, int]) -> Floats | None:
    """The largest part of one hue in another colour, its shades kept; None where no part is large enough.

    ink: (S, S, 3) in [0, 1], what the picture takes from white
    """
    rgb = 1 - ink
    light = rgb @ np.array([0.3, 0.59, 0.11], dtype=np.float32)  # (S, S)
    chroma = rgb.max(2) - rgb.min(2)
    drawn = light < 0.97
    vivid = drawn & (chroma > 0.15)
    grey = drawn & (chroma <= 0.15) & (light > 0.2) & (light < 0.9)
    if vivid.sum() >= grey.sum():
        red, green, blue = np.moveaxis(rgb, 2, 0)
        hue = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)  # (S, S), radians
        counts, edges = np.histogram(hue[vivid], bins=36, range=(-np.pi, np.pi))
        around = counts + np.roll(counts, 1) + np.roll(counts, -1)
        middle = edges[int(around.argmax())] + np.pi / 36
        away = np.abs((hue - middle + np.pi) % (2 * np.pi) - np.pi)
        weight = (3.0 - away / 0.25).clip(0, 1) * (chroma / 0.1).clip(0, 1)
    else:
        weight = grey.astype(np.float32)
    part = weight > 0.5
    if not drawn.any() or part.sum() < _LEAST * drawn.sum():
        return None
    goal = np.array(colour, dtype=np.float32) / 255
    level = float(goal @ np.array([0.3, 0.59, 0.11]))
    shade = (level * light / max(float(np.median(light[part])), 0.05)).clip(0, 1)[..., None]  # (S, S, 1)
    darker, paler = goal * shade / level, goal + (1 - goal) * ((shade - level) / (1 - level)).clip(0, 1)
    painted = np.where(shade < level, darker, paler)
    mixed: Floats = ink * (1 - weight[..., None]) + (1 - painted) * weight[..., None]
    return mixed.astype(np.float32)


# -- arrangements: words with two gaps, before which an article belongs, and the middle and the size of each
#    thing, in sides of the picture

_Place = tuple[float, float, float]


def _beside(chance: random.Random) -> tuple[str, tuple[_Place, _Place]]:
    words = chance.choice(("{} and {}", "{} and {}", "{} next to {}", "{} beside {}"))
    return words, _mirrored(chance, _wide(chance))


def _left(chance: random.Random) -> tuple[str, tuple[_Place, _Place]]:
    return chance.choice(("{} to the left of {}", "{} left of {}")), _wide(chance)


def _right(chance: random.Random) -> tuple[str, tuple[_Place, _Place]]:
    one, other = _wide(chance)
    return chance.choice(("{} to the right of {}", "{} right of {}")), (other, one)


def _above(chance: random.Random) -> tuple[str, tuple[_Place, _Place]]:
    high, low = _tall(chance)
    return chance.choice(("{} on {}", "{} on {}", "{} above {}", "{} on top of {}")), (high, low)


def _below(chance: random.Random) -> tuple[str, tuple[_Place, _Place]]:
    high, low = _tall(chance)
    return chance.choice(("{} under {}", "{} below {}")), (low, high)


def _large(chance: random.Random) -> tuple[str, tuple[_Place, _Place]]:
    large, small = (0.36, 0.5, chance.uniform(0.62, 0.66)), (0.84, chance.uniform(0.3, 0.75), 0.26)
    if chance.random() < 0.5:
        return "large {} and small {}", _mirrored(chance, (large, small))
    return "small {} and large {}", _mirrored(chance, (small, large))


_ARRANGEMENTS = (_beside, _beside, _left, _right, _above, _above, _below, _large)


def _wide(chance: random.Random) -> tuple[_Place, _Place]:
    slope = chance.uniform(-0.12, 0.12)
    one, other = chance.uniform(0.42, 0.48), chance.uniform(0.42, 0.48)
    return (0.26, 0.5 - slope, one), (0.74, 0.5 + slope, other)


def _tall(chance: random.Random) -> tuple[_Place, _Place]:
    aside = chance.uniform(-0.06, 0.06)
    return (0.5 + aside, 0.27, chance.uniform(0.4, 0.46)), (0.5, 0.73, chance.uniform(0.46, 0.52))


def _mirrored(chance: random.Random, places: tuple[_Place, _Place]) -> tuple[_Place, _Place]:
    if chance.random() < 0.5:
        return places
    (x, y, size), (u, v, other) = places
    return (1 - x, y, size), (1 - u, v, other)


def _cropped(ink: Floats) -> Image.Image:
    rows, columns = (np.nonzero(ink.max((axis, 2)) > 0.03)[0] for axis in (1, 0))
    part = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Image.fromarray((part * 255).round().astype(np.uint8))


def _composed(side: int, parts: Sequence[tuple[Image.Image, float, float, float]]) -> Floats:
    """Parts, each with its middle and its longer side in sides of the picture, on white: (S, S, 3) of ink.

    Where two meet, the light of both is multiplied.
    """
    paper = np.ones((side, side, 3), dtype=np.float32)
    for part, x, y, size in parts:
        scale = size * side / max(part.size)
        width, height = (max(1, round(length * scale)) for length in part.size)
        small = np.asarray(part.resize((width, height), Image.Resampling.BOX), dtype=np.float32) / 255
        top, left = (round(at * side - length / 2) for at, length in ((y, height), (x, width)))
        top, left = max(0, min(top, side - height)), max(0, min(left, side - width))
        paper[top : top + height, left : left + width] *= 1 - small
    return 1 - paper


def _name(label: str) -> str | None:
    """What a concept is called in a scene: one or two plain words, without a colour; else None."""
    words = _SAID.get(label, label).split()
    if words[0] in COLOURS and len(words) > 1:
        words = words[1:]
    if len(words) > 2 or not all(re.fullmatch("[a-z]+", word) for word in words):
        return None
    if set(words) & {*COLOURS, "face", "flag"} or not is_counted(label):
        return None
    return " ".join(words)


def _articled(words: Sequence[str]) -> Iterator[str]:
    """A caption of two things, an article before each."""
    start = True
    for i, word in enumerate(words):
        yield with_article(word) if start else word
        start = word in _JOINING and words[i + 1] not in ("the", "top")


def _key(caption: str) -> frozenset[str]:
    """The words that tell a scene from others, in any order and relation."""
    return frozenset(re.findall("[a-z]+", caption)) - _SMALL


_JOINING = frozenset({"and", "on", "above", "under", "below", "beside", "to", "of"})
_SMALL = frozenset(
    {"a", "an", "and", "the", "to", "of", "on", "left", "right", "next", "beside", "under", "below"}
    | {"above", "top", "large", "small"}
)


def composed(data: EmojiDataset, count: int) -> tuple[Tensor, list[str], Tensor]:
    """`count` scenes: pictures uint8 (count, 3, S, S), their captions, and their styles (count,)."""
    scenes = list(_numbered(data, count))
    pictures = torch.from_numpy(np.stack([scene.picture for scene in scenes])).permute(0, 3, 1, 2)
    styles = torch.tensor([scene.style for scene in scenes])
    return pictures.contiguous(), [scene.caption for scene in scenes], styles


def _numbered(data: EmojiDataset, count: int) -> Iterator[Scene]:
    found = Scenes(data)
    return (found.of(number) for number in range(count))
