"""What a network is asked: conditions, frames, queries.

Contract with the engine: a query is about B pictures, (B, C, H, W) float32, at one time t in [0, 1]; it is
answered by an Estimate of x0 of the same shape. Equal keys within one step are equal questions. A run may
have a low-resolution picture beside the state: views turn it alike.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from sfumato.core.prediction import Estimate
from sfumato.core.schedule import Level
from sfumato.core.views import Identity, View
from sfumato.errors import UsageError


@dataclass(frozen=True)
class Prompt:
    """Free text."""

    text: str


@dataclass(frozen=True)
class Label:
    """A class by its index."""

    index: int


@dataclass(frozen=True)
class Unconditional:
    """No condition: what guidance pushes away from."""


Condition = Prompt | Label | Unconditional

Key = tuple[Hashable, ...]


@dataclass(frozen=True)
class Box:
    """A window of pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, x: Tensor) -> Tensor:
        """The window of a picture, (..., height, width)."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """What an upscaling network is shown beside x: the low-resolution pictures, enlarged and noised.

    Ho et al. 2022, Cascaded Diffusion Models, sec. 4.2: conditioning augmentation.
    """

    picture: Tensor  #  (B, C', H, W) float32, of x's height and width
    t: float | Tensor  # the time in its own schedule up to which it is noised; (N,) of the rows of a forward


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """What a leaf looks at: the noisy pictures, seen through the views and crops above the leaf.

    `chain` names what was done to the sampler's state on the way here. Two frames of one step with equal
    chains hold equal pictures, which is how equal questions are recognised without comparing pixels.
    """

    x: Tensor  #                                    (B, C, H, W) float32
    now: Level  #                                   the level of x
    to: Level | None = None  #                      the level that the step goes to
    native: tuple[int, int] | None = None  #        (H, W) that the network was trained at
    beside: Beside | None = None  #                  for networks that upscale
    chain: tuple[Hashable, ...] = ()
    memory: dict[Hashable, Any] = field(default_factory=dict)  # of the run, for stateful guidance
    _seen: dict[Hashable, Frame] = field(default_factory=dict)  # so that the second pass is free

    def through(self, view: View) -> Frame:
        """The frame seen through a view."""
        if isinstance(view, Identity):
            return self
        if view not in self._seen:
            beside = self.beside and replace(self.beside, picture=view.forward(self.beside.picture))
            self._seen[view] = replace(
                self, x=view.forward(self.x), beside=beside, chain=(*self.chain, view), _seen={}
            )
        return self._seen[view]

    def window(self, box: Box) -> Frame:
        """The frame cut to a box of its pixels."""
        if self.beside is not None:
            raise UsageError("crops do not go with upscaling: upscale a picture of the network's own size")
        if box not in self._seen:
            self._seen[box] = replace(self, x=box.cut(self.x), chain=(*self.chain, box), _seen={})
        return self._seen[box]


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """One question to one network about B pictures; equal keys within a step are equal questions."""

    key: Key
    network: str | None  #      None: the model that the run was started with
    condition: Condition
    x: Tensor  #                (B, C, H, W)
    t: float
    beside: Beside | None = None


Answers = Mapping[Key, Estimate]
