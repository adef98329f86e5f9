"""Grey and colour: what is seen without colour, and what colour adds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sfumato.core.filters.base import Filter
from sfumato.errors import UsageError


def _mean(x: Tensor, name: str) -> Tensor:
    if x.shape[-3] == 1:
        raise UsageError(f"{name} needs a picture in colour; this one has a single channel")
    return x.mean(-3, keepdim=True)


@dataclass(frozen=True)
class Grey(Filter):
    """The mean of the channels, in every channel (Geng et al. 2024, Factorized Diffusion, sec. 3.3)."""

    name = "grey"
    description = "the picture without its colours: the mean of the channels"

    def apply(self, x: Tensor) -> Tensor:
        return _mean(x, self.name).expand_as(x).clone()

    def complement(self) -> Filter:
        return Colour()


@dataclass(frozen=True)
class Colour(Filter):
    """What Grey leaves: the channels less their mean."""

    name = "colour"
    description = "the colours alone: the rest of grey"

    def apply(self, x: Tensor) -> Tensor:
        return x - _mean(x, self.name)

    def complement(self) -> Filter:
        return Grey()
