"""Low, high and band pass by a Gaussian: what is seen from afar, from near and between.

The boundary is reflected at the edge of the last pixel (d c b a | a b c d | d c b a). So G is a symmetric
matrix whose rows sum to 1: constants and the mean are kept, and cos(w (n + 1/2)), w = pi k / N, is an
eigenvector with the eigenvalue of the kernel at w, nearly exp(-sigma^2 w^2 / 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from sfumato.core.filters.base import Filter, scaled
from sfumato.core.named import finite
from sfumato.errors import UsageError

REACH = 16  # the kernel's half width at 64, so 33 taps: 8 sigma of the usual sigma = 2
MAX_SIGMA = 64.0


def _sigma(value: object, what: str) -> float:
    sigma = finite(value, what)
    if not 0 < sigma <= MAX_SIGMA:
        raise UsageError(f"{what} must lie in (0, {MAX_SIGMA:g}], pixels at a height of 64, not {sigma:g}")
    return sigma


@dataclass(frozen=True)
class LowPass(Filter):
    """G: a Gaussian blur; sigma in pixels at a height of 64, at most 64.

    The kernel spans 33 pixels at 64, and 4 sigma to each side where that is more; it grows with the picture.
    """

    name = "low_pass"
    description = "what is seen from afar: a Gaussian blur"

    sigma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", _sigma(self.sigma, f"sigma of {self.name}"))

    def apply(self, x: Tensor) -> Tensor:
        return _blurred(x, self.sigma)

    def passes(self, height: int) -> int:
        return _matrix_passes(height)

    def complement(self) -> Filter:
        return HighPass(self.sigma)


@dataclass(frozen=True)
class HighPass(LowPass):
    """I - G: what LowPass(sigma) leaves."""

    name = "high_pass"
    description = "what is seen from near: the rest of low_pass"

    def apply(self, x: Tensor) -> Tensor:
        return x - _blurred(x, self.sigma)

    def complement(self) -> Filter:
        return LowPass(self.sigma)


@dataclass(frozen=True)
class Band(Filter):
    """G_low - G_high for two widths low < high: LowPass(high) + Band(low, high) + HighPass(low) = I."""

    name = "band"
    description = "what is seen between: low_pass of the smaller sigma less that of the larger"

    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", _sigma(self.low, "low of band"))
        object.__setattr__(self, "high", _sigma(self.high, "high of band"))
        if self.low >= self.high:
            raise UsageError(f"band needs sigmas low < high, not {self.low:g} and {self.high:g}")

    def apply(self, x: Tensor) -> Tensor:
        return _blurred(x, self.low) - _blurred(x, self.high)

    def passes(self, height: int) -> int:
        return 2 * _matrix_passes(height)


def bands(sigmas: Sequence[float]) -> tuple[Filter, ...]:
    """n + 1 filters that sum to the identity, from n different sigmas: low, any in between, high."""
    widths = sorted((_sigma(sigma, "each sigma of bands") for sigma in sigmas), reverse=True)
    if not widths or len(set(widths)) < len(widths):
        raise UsageError(f"bands need at least one sigma and no two the same, not {tuple(sigmas)}")
    between = [Band(narrow, wide) for wide, narrow in pairwise(widths)]
    return (LowPass(widths[0]), *between, HighPass(widths[-1]))


def _matrix_passes(height: int) -> int:
    """The passes that two products with matrices of this side take: 40 products cost about one pass."""
    return 1 + 2 * height // 40


def _blurred(x: Tensor, sigma: float) -> Tensor:
    height, width = x.shape[-2:]
    rows = _matrix(sigma, height, height, x.device, x.dtype)  #         (H, H)
    columns = _matrix(sigma, height, width, x.device, x.dtype)  #       (W, W)
    return rows @ (x @ columns)  #                                      both are symmetric


@lru_cache(maxsize=32)
def _matrix(sigma: float, height: int, side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """G along a side of a picture of this height, (side, side): the kernel folded at the edges."""
    # The matrix outlives this call: made as a plain CPU tensor, whatever mode or default device is on.
    with torch.inference_mode(False), torch.device("cpu"):
        reach = max(1, round(scaled(max(REACH, math.ceil(4 * sigma)), height)))
        offsets = torch.arange(-reach, reach + 1)  #                                      (K,)
        kernel = torch.exp(-((offsets.double() * (64 / height) / sigma) ** 2) / 2)
        kernel /= kernel.sum()
        there = (torch.arange(side).unsqueeze(1) + offsets) % (2 * side)  #               (side, K)
        there = torch.minimum(there, 2 * side - 1 - there)
        matrix = torch.zeros(side, side, dtype=torch.float64)
        matrix.scatter_add_(1, there, kernel.expand(side, -1))
        return matrix.to(device, dtype)
