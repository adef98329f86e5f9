"""Views of the picture as a whole: turned, mirrored, negated, sheared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.core.named import finite
from sfumato.core.views.base import Permutation, View, nearest, square
from sfumato.errors import UsageError

MAX_AMOUNT = 1000.0  # of a shear, in heights


class _Involution(View):
    """A view that is its own inverse."""

    def inverse(self, x: Tensor) -> Tensor:
        return self.forward(x)


@dataclass(frozen=True)
class Identity(_Involution):
    """The picture as it is."""

    name = "identity"
    description = "the picture as it is"

    def forward(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Flip(_Involution):
    """Upside down: the rows in reverse order."""

    name = "flip"
    description = "upside down, as in a lake"

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-2)


@dataclass(frozen=True)
class Mirror(_Involution):
    """Left and right exchanged: the columns in reverse order."""

    name = "mirror"
    description = "left and right exchanged"

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1)


class _Turned(View):
    """Quarter turns of a square picture; positive is counter-clockwise, as torch.rot90 counts."""

    quarters: int

    def forward(self, x: Tensor) -> Tensor:
        square(self, x.shape[-2], x.shape[-1])
        return x.rot90(self.quarters, (-2, -1))

    def inverse(self, x: Tensor) -> Tensor:
        square(self, x.shape[-2], x.shape[-1])
        return x.rot90(-self.quarters, (-2, -1))


@dataclass(frozen=True)
class RotateClockwise(_Turned):
    """A quarter turn clockwise, of a square picture."""

    name = "rotate_cw"
    description = "a quarter turn clockwise"
    quarters = -1


@dataclass(frozen=True)
class RotateCounterclockwise(_Turned):
    """A quarter turn counter-clockwise, of a square picture."""

    name = "rotate_ccw"
    description = "a quarter turn counter-clockwise"
    quarters = 1


@dataclass(frozen=True)
class Rotate180(_Involution):
    """Half a turn, of any picture."""

    name = "rotate_180"
    description = "half a turn"

    def forward(self, x: Tensor) -> Tensor:
        return x.rot90(2, (-2, -1))


@dataclass(frozen=True)
class Negate(_Involution):
    """Dark and light exchanged: the values negated. A variance passes unchanged."""

    name = "negate"
    description = "dark and light exchanged, as a negative"
    negates = True

    def forward(self, x: Tensor) -> Tensor:
        return -x

    def forward_variance(self, variance: Tensor) -> Tensor:
        return variance

    def inverse_variance(self, variance: Tensor) -> Tensor:
        return variance


@dataclass(frozen=True, kw_only=True)
class Skew(Permutation):
    """A cyclic shear: column j of W moves down by amount * H * j / W pixels, to the nearest.

    amount is a fraction of the height; the last column moves by nearly all of it, a negative one goes up.
    The line is drawn at the picture's own resolution: at 256 it is finer than at 64, not another.
    """

    name = "skew"
    description = "each column shifted down, farther to the right; what leaves comes in again at the top"

    amount: float = 1.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "amount", finite(self.amount, "amount of the view skew"))
        if abs(self.amount) > MAX_AMOUNT:
            raise UsageError(f"amount of the view skew lies within {MAX_AMOUNT:g}, not {self.amount:g}")

    def index(self, height: int, width: int) -> Tensor:
        shifts = torch.tensor([nearest(self.amount * height * j / width) for j in range(width)])  #    (W,)
        rows = (torch.arange(height).unsqueeze(1) - shifts) % height  #                                (H, W)
        return rows * width + torch.arange(width)
