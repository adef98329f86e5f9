"""Views that a user brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field

import torch
from torch import Tensor

from sfumato.core.hashed import digest
from sfumato.core.views.base import Permutation, View, cell_size, move_cells
from sfumato.errors import UsageError


@dataclass(frozen=True)
class PixelMap(Permutation):
    """A permutation given as an index, (h, w) whole numbers: flat pixel p of V x is flat pixel index[p] of x.

    A picture whose sides are multiples of h and w is moved in h x w cells. Equal by content.
    """

    name = "pixel_map"
    description = "a permutation of pixels from an index"

    source: InitVar[Tensor]
    cells: Tensor = field(init=False, compare=False, repr=False)
    sha256: str = field(init=False)

    def __post_init__(self, source: Tensor) -> None:
        whole = not (source.is_floating_point() or source.is_complex() or source.dtype == torch.bool)
        if source.dim() != 2 or not whole or not source.numel():
            raise UsageError(
                f"a pixel map is a tensor (h, w) of whole numbers, not {source.dtype} {tuple(source.shape)}"
            )
        cells = source.detach().to("cpu", torch.int64).clone()
        used = cells.flatten().sort().values
        if not torch.equal(used, torch.arange(cells.numel(), device="cpu")):
            raise UsageError(
                f"a pixel map names each of 0 .. {cells.numel() - 1} exactly once; "
                f"this one has {len(set(used.tolist()))} different values from {used[0]} to {used[-1]}"
            )
        object.__setattr__(self, "cells", cells)
        # Rows and columns apart, since the digest is of float32 values.
        object.__setattr__(
            self, "sha256", digest(torch.stack([cells // cells.shape[1], cells % cells.shape[1]]))
        )

    def __str__(self) -> str:
        return f"{self.name}:sha256={self.sha256}"

    def index(self, height: int, width: int) -> Tensor:
        cell_size(self, height, width, *self.cells.shape)
        return move_cells(self.cells, height, width)


@dataclass(frozen=True)
class LinearView(View):
    """A linear map given as two functions of (B, C, H, W); check_orthogonal says whether it is a view.

    backward is the transpose, which for an orthogonal map is the inverse. Equal when the functions are the
    same. A learned variance passes through a map that only moves pixels and changes signs; one that mixes
    pixels raises UsageError there.
    """

    description = "a linear map from two functions"
    negates = True  # as far as is known

    ahead: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor], Tensor]
    name: str

    def __str__(self) -> str:
        return self.name

    def forward(self, x: Tensor) -> Tensor:
        return self.ahead(x)

    def inverse(self, x: Tensor) -> Tensor:
        return self.backward(x)

    def forward_variance(self, variance: Tensor) -> Tensor:
        return self._unsigned(self.ahead, variance)

    def inverse_variance(self, variance: Tensor) -> Tensor:
        return self._unsigned(self.backward, variance)

    def _unsigned(self, carry: Callable[[Tensor], Tensor], variance: Tensor) -> Tensor:
        """P v for a map S P of signs S and a permutation P: then V 1 = S 1 and V (v v) = S (P v) (P v)."""
        moved, signs = carry(variance), carry(torch.ones_like(variance))
        if not torch.allclose(carry(variance**2) * signs, moved**2, atol=1e-4):
            raise UsageError(
                f"the view {self.name} mixes pixels, so that a learned variance cannot pass through it: "
                "use a view that only moves pixels and changes signs, or a model without a learned variance"
            )
        return moved * signs
