"""What a filter is, and what it leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from sfumato.core.named import Named


class Filter(Named, ABC):
    """A linear map F of pictures of any size to pictures of the same size.

    Contract with expressions: `apply` takes and gives (B, C, H, W) float tensors and treats every picture
    alike; F + F.complement() = I to float error. Lengths are in pixels at a height of 64 and grow with the
    picture. Filters are immutable and hashable, equal by value.
    """

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """F x, (B, C, H, W)."""

    def passes(self, height: int) -> int:  # noqa: ARG002
        """About how many times it goes over the pixels of a picture of this height (work.py)."""
        return 1

    def complement(self) -> Filter:
        """I - F: what this filter leaves."""
        return Complement(self)


@dataclass(frozen=True)
class Complement(Filter):
    """I - F where the rest has no name of its own; written with a tilde, as in ~band:low=1,high=2."""

    name = "complement"
    description = "what a filter leaves"

    of: Filter

    def __str__(self) -> str:
        return f"~{self.of}"

    def apply(self, x: Tensor) -> Tensor:
        return x - self.of.apply(x)

    def passes(self, height: int) -> int:
        return 1 + self.of.passes(height)

    def complement(self) -> Filter:
        return self.of


def scaled(length: float, height: int) -> float:
    """A length in pixels at a height of 64, in pixels at this height."""
    return length * height / 64
