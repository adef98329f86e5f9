"""Masks: one part of the picture, and the rest."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sfumato.core.filters.base import Filter
from sfumato.core.hashed import HashedTensor
from sfumato.errors import UsageError


@dataclass(frozen=True)
class Mask(Filter):
    """The part of a picture inside a mask, (1, 1, h, w) or (h, w) in [0, 1]; 1 is inside. Equal by content.

    On a picture of another size and the same shape it is resized by areas: a larger picture repeats its
    pixels, a smaller one takes their mean. `~mask` is the rest, the same mask with `outside` set.
    """

    name = "mask"
    description = "one part of the picture"

    values: InitVar[Tensor]
    outside: bool = False
    held: HashedTensor = field(init=False)

    def __post_init__(self, values: Tensor) -> None:
        if values.dim() < 2 or values.shape[:-2].numel() != 1 or not values.numel():
            raise UsageError(f"a mask has the shape (1, 1, H, W) or (H, W), not {tuple(values.shape)}")
        numbers = values.detach().to(torch.float32)
        if not bool(((numbers >= 0) & (numbers <= 1)).all()):
            low, high = numbers.min().item(), numbers.max().item()
            raise UsageError(f"the values of a mask lie in [0, 1], not from {low:g} to {high:g}")
        object.__setattr__(self, "held", HashedTensor(numbers.reshape(1, 1, *values.shape[-2:])))

    def __str__(self) -> str:
        return f"{'~' if self.outside else ''}mask:sha256={self.sha256}"

    @property
    def tensor(self) -> Tensor:
        """The mask as it was given, (1, 1, h, w) float32, whether or not `outside` is set."""
        return self.held.tensor

    @property
    def sha256(self) -> str:
        """The hash of the mask as it was given."""
        return self.held.sha256

    def weights(self, height: int, width: int) -> Tensor:
        """How much of each pixel this filter lets through, (1, 1, H, W) float32 in [0, 1]."""
        h, w = self.tensor.shape[-2:]
        if h * width != w * height:
            raise UsageError(f"a mask of {w} x {h} pixels does not fit a picture of {width} x {height}")
        same = (h, w) == (height, width)
        inside = self.tensor if same else interpolate(self.tensor, (height, width), mode="area")
        return 1 - inside if self.outside else inside

    def apply(self, x: Tensor) -> Tensor:
        return x * self.weights(x.shape[-2], x.shape[-1]).to(x)

    def complement(self) -> Mask:
        return Mask(self.tensor, outside=not self.outside)

    def __invert__(self) -> Mask:
        return self.complement()
