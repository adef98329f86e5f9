"""Motion blur: what is seen when the picture moves, and what is seen at rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from sfumato.core.filters.base import Filter, scaled
from sfumato.core.named import finite
from sfumato.errors import UsageError

Taps = tuple[tuple[int, int, float], ...]  # (down, right, weight)

MAX_LENGTH = 64.0


@dataclass(frozen=True)
class Motion(Filter):
    """M: the mean along a line through each pixel (Factorized Diffusion, sec. 3.4).

    angle: degrees clockwise from the horizontal, in [0, 180); 45 goes from the upper left to the lower right.
    length: extent of the line in pixels at a height of 64, along the axis that it is closer to.
    What would reach beyond the picture stays where it is, so that M is symmetric and constants are kept.
    """

    name = "motion"
    description = "what is seen when the picture is moved along a line"

    angle: float = 45.0
    length: float = 7.0

    def __post_init__(self) -> None:
        for key in ("angle", "length"):
            object.__setattr__(self, key, finite(getattr(self, key), f"{key} of {self.name}"))
        if not 0 <= self.angle < 180:
            raise UsageError(f"angle of {self.name} lies in [0, 180) degrees, not {self.angle:g}")
        if not 2 <= self.length <= MAX_LENGTH:
            limits = f"[2, {MAX_LENGTH:g}] pixels at a height of 64"
            raise UsageError(f"length of {self.name} lies in {limits}, not {self.length:g}")

    def apply(self, x: Tensor) -> Tensor:
        return _moved(x, self.angle, self.length)

    def passes(self, height: int) -> int:
        return 1 + 4 * _reach(self.length, height)

    def complement(self) -> Filter:
        return Still(self.angle, self.length)


@dataclass(frozen=True)
class Still(Motion):
    """I - M: what Motion leaves, seen at rest."""

    name = "still"
    description = "what is seen at rest: the rest of motion"

    def apply(self, x: Tensor) -> Tensor:
        return x - _moved(x, self.angle, self.length)

    def complement(self) -> Filter:
        return Motion(self.angle, self.length)


def _reach(length: float, height: int) -> int:
    """How many pixels the line goes to each side of the middle."""
    return max(1, math.floor(scaled(length, height) / 2))


def _moved(x: Tensor, angle: float, length: float) -> Tensor:
    height, width = x.shape[-2:]
    reach = _reach(length, height)
    padded, present = pad(x, (reach,) * 4), pad(torch.ones_like(x[:1, :1]), (reach,) * 4)
    out, covered = torch.zeros_like(x), torch.zeros_like(x[:1, :1])
    for down, right, weight in _line(angle, reach):
        top, left = reach + down, reach + right
        window = (..., slice(top, top + height), slice(left, left + width))
        out += weight * padded[window]
        covered += weight * present[window]
    return out + (1 - covered) * x


@lru_cache(maxsize=32)
def _line(angle: float, reach: int) -> Taps:
    """The taps of a line of 2 reach + 1 pixels; between two pixels each has its share. Symmetric, sum 1."""
    right, down = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    steep = abs(down) > abs(right)
    slope = right / down if steep else down / right
    weight = 1 / (2 * reach + 1)
    taps = [(0, 0, weight)]
    for along in range(1, reach + 1):
        across = round(along * slope, 9)  # so that 45 degrees meets the pixels
        floor = math.floor(across)
        for side, share in ((floor, 1 - (across - floor)), (floor + 1, across - floor)):
            if share > 0:
                tap = (along, side) if steep else (side, along)
                taps += [(*tap, weight * share), (-tap[0], -tap[1], weight * share)]
    return tuple(taps)
