"""Views that move or turn cells: patches, pixels, hinged squares, the inner circle."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.core.named import finite, whole
from sfumato.core.views.base import Permutation, cell_size, move_cells, shuffled, square
from sfumato.errors import UsageError

PIXEL_GRID = 64


@dataclass(frozen=True, kw_only=True)
class PatchPermute(Permutation):
    """patches x patches equal cells in a random order that follows from the seed, the same at every size."""

    name = "patch_permute"
    description = "square patches in a random order"

    patches: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        whole(self.patches, "patches of the view patch_permute", 2)
        whole(self.seed, "seed of the view patch_permute", 0)

    def index(self, height: int, width: int) -> Tensor:
        cell_size(self, height, width, self.patches, self.patches)
        return _random_cells(self.patches, self.patches, self.seed, height, width)


@dataclass(frozen=True, kw_only=True)
class PixelPermute(Permutation):
    """The pixels of a picture of 64 x 64 in a random order that follows from the seed.

    A larger picture is cut into a grid of 64 x 64 cells, which move as those pixels do, so that its sides are
    multiples of 64; a side below 64 is cut into its pixels.
    """

    name = "pixel_permute"
    description = "pixels in a random order: noise, until it is put back"

    seed: int = 0

    def __post_init__(self) -> None:
        whole(self.seed, "seed of the view pixel_permute", 0)

    def index(self, height: int, width: int) -> Tensor:
        rows, columns = min(height, PIXEL_GRID), min(width, PIXEL_GRID)
        cell_size(self, height, width, rows, columns)
        return _random_cells(rows, columns, self.seed, height, width)


def _random_cells(rows: int, columns: int, seed: int, height: int, width: int) -> Tensor:
    order = shuffled(rows * columns, random.Random(seed))
    return move_cells(torch.tensor(order).view(rows, columns), height, width)


@dataclass(frozen=True, kw_only=True)
class SquareHinge(Permutation):
    """squares x squares squares, hinged at their corners and swung open and shut again.

    Neighbours swing in opposite senses; at the end every square is back in its place, a quarter turn on:
    clockwise where row + column is even, counter-clockwise where it is odd.
    """

    name = "square_hinge"
    description = "hinged squares swung by a quarter turn, neighbours in opposite senses"

    squares: int = 4

    def __post_init__(self) -> None:
        whole(self.squares, "squares of the view square_hinge", 2)

    def index(self, height: int, width: int) -> Tensor:
        side = square(self, height, width)
        n, (m, _) = self.squares, cell_size(self, height, width, self.squares, self.squares)
        cells = torch.arange(side * side).view(n, m, n, m).transpose(1, 2)  #          (n, n, m, m)
        cells = cells.clone()
        for i in range(n):
            for j in range(n):
                cells[i, j] = cells[i, j].rot90(-1 if (i + j) % 2 == 0 else 1)
        return cells.transpose(1, 2).reshape(side, side)


@dataclass(frozen=True, kw_only=True)
class InnerCircle(Permutation):
    """The disc in the middle turned by quarter turns clockwise; the rest stays.

    radius is a fraction of the inscribed circle's, in (0, 1]; turns is 1, 2 or 3. Half a turn fits any
    picture, the others a square one. The circle is drawn at the picture's own resolution: at 64 and at 256
    it differs only along the circle.
    """

    name = "inner_circle"
    description = "the disc in the middle turned, the rest still"

    radius: float = 0.75
    turns: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", finite(self.radius, "radius of the view inner_circle"))
        if not 0 < self.radius <= 1:
            raise UsageError(f"radius of the view inner_circle lies in (0, 1], not {self.radius:g}")
        if whole(self.turns, "turns of the view inner_circle", 1) > 3:
            raise UsageError(f"turns of the view inner_circle is 1, 2 or 3 quarter turns, not {self.turns}")

    def index(self, height: int, width: int) -> Tensor:
        if self.turns != 2:
            square(self, height, width)
        # Twice the offset of each pixel's centre from the middle: whole numbers, so the disc is symmetric.
        y = 2 * torch.arange(height).unsqueeze(1) + 1 - height  #       (H, 1)
        x = 2 * torch.arange(width) + 1 - width  #                      (W,)
        inside = y**2 + x**2 <= (self.radius * min(height, width)) ** 2
        still = torch.arange(height * width).view(height, width)
        return torch.where(inside, still.rot90(-self.turns), still)
