"""What a view is, and the views that only move pixels."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from functools import lru_cache

import torch
from torch import Tensor

from sfumato.core.named import Named
from sfumato.errors import UsageError


class View(Named, ABC):
    """An orthogonal linear map V of pictures of any size and any number of channels.

    Contract with expressions: `inverse` is the transpose, so V^T V = V V^T = I; both take and give
    (B, C, H, W) float tensors and treat every picture and every channel alike. A size that the view cannot
    cut raises UsageError. Views are immutable and hashable: equal views make equal queries.
    """

    negates: bool = False  # whether values may change sign; a variance never does
    passes: int = 1  # about how many times it goes over the pixels of a picture (work.py)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """V x, (B, C, H, W)."""

    @abstractmethod
    def inverse(self, x: Tensor) -> Tensor:
        """V^T x, (B, C, H, W)."""

    def forward_variance(self, variance: Tensor) -> Tensor:
        """A variance carried along with V: pixels move, signs stay. (B, C, H, W)."""
        return self.forward(variance)

    def inverse_variance(self, variance: Tensor) -> Tensor:
        """A variance carried back with V^T: pixels move, signs stay. (B, C, H, W)."""
        return self.inverse(variance)


class Permutation(View):
    """A view that moves pixels: one gather through an index that is made once per size and device."""

    passes = 50  # of which most make the index

    @abstractmethod
    def index(self, height: int, width: int) -> Tensor:
        """Where each pixel of V x comes from: (H, W) int64 of flat positions in x."""

    def forward(self, x: Tensor) -> Tensor:
        there, _ = _indices(self, x.shape[-2], x.shape[-1], x.device)
        return _gather(x, there)

    def inverse(self, x: Tensor) -> Tensor:
        _, back = _indices(self, x.shape[-2], x.shape[-1], x.device)
        return _gather(x, back)


@lru_cache(maxsize=32)
def _indices(view: Permutation, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    # The index outlives this call: made as a plain CPU tensor, whatever mode or default device is on.
    with torch.inference_mode(False), torch.device("cpu"):
        there = view.index(height, width).flatten()  #      (H W,)
        return there.to(device), there.argsort().to(device)


def _gather(x: Tensor, index: Tensor) -> Tensor:
    return x.flatten(-2)[..., index].view(x.shape)


def square(view: View, height: int, width: int) -> int:
    """The side of a square picture; another shape raises UsageError."""
    if height != width:
        raise UsageError(f"the view {view.name} needs a square picture, not {width} x {height} pixels")
    return height


def cell_size(view: View, height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """Height and width of one of rows x columns cells; cells that do not divide the picture: UsageError."""
    if height % rows or width % columns:
        wrong, cells = (height, rows) if height % rows else (width, columns)
        below = wrong // cells * cells
        sizes = f"{below} or {below + cells}" if below else f"{cells}"
        raise UsageError(
            f"the view {view.name} cuts {columns} x {rows} cells, which do not divide "
            f"{width} x {height} pixels: use a multiple of {cells}, such as {sizes}, instead of {wrong}"
        )
    return height // rows, width // columns


def move_cells(source: Tensor, height: int, width: int) -> Tensor:
    """The (H, W) pixel index that moves whole cells; source, (rows, columns), holds flat cell positions.

    The sides are multiples of rows and columns; within a cell nothing moves.
    """
    rows, columns = source.shape
    tall, wide = height // rows, width // columns
    y, x = torch.arange(height).unsqueeze(1), torch.arange(width)  #        (H, 1), (W,)
    cell = source[y // tall, x // wide]  #                                  (H, W)
    from_y = cell // columns * tall + y % tall
    from_x = cell % columns * wide + x % wide
    return from_y * width + from_x


def shuffled(count: int, rng: random.Random) -> list[int]:
    """A random order of 0 .. count - 1. `random()` is the one draw that Python keeps the same for ever."""
    return sorted(range(count), key=[rng.random() for _ in range(count)].__getitem__)


def nearest(value: float) -> int:
    """Rounded to the nearest whole number, halves up."""
    return math.floor(value + 0.5)
