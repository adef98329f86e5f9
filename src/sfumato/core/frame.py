"""What goes to a network: conditions, frames, queries.

Contract with the engine: a query is about B pictures, (B, C, H, W) float32, at one time t in [0, 1]; its
answer is an Estimate of x0 of the same shape. Queries of one step with equal keys are equal: the engine
answers one of them. A network that upscales also takes a low-resolution picture, which the views turn alike.
"""

from __future__ import annotations

import reprlib
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
    """Free text; where there are styles, in one of them, which a picture's seed chooses."""

    text: str
    styles: tuple[str, ...] = ()

    def write(self) -> dict[str, Any]:
        return {"prompt": self.text} | ({"styles": list(self.styles)} if self.styles else {})

    def of(self, seed: int) -> Prompt:
        """The prompt of the picture that has this seed; neighbours have different styles."""
        return Prompt(f"{self.text}, {self.styles[seed % len(self.styles)]} style") if self.styles else self


@dataclass(frozen=True)
class Label:
    """A class by its index."""

    index: int

    def write(self) -> dict[str, Any]:
        return {"label": self.index}


@dataclass(frozen=True)
class Unconditional:
    """No condition: what guidance pushes away from."""

    def write(self) -> dict[str, Any]:
        return {"unconditional": True}


Condition = Prompt | Label | Unconditional


def read_condition(data: Mapping[str, Any]) -> Condition:
    """The condition that `write` wrote; UsageError for anything else."""
    match data:
        case {"prompt": str(text), "styles": [*styles]} if all(isinstance(s, str) for s in styles):
            return Prompt(text, tuple(styles))
        case {"prompt": str(text)} if "styles" not in data:
            return Prompt(text)
        case {"label": int(index)}:
            return Label(index)
        case {"unconditional": True}:
            return Unconditional()
    raise UsageError(f"a condition is a prompt, a label or unconditional, not {reprlib.repr(data)}")


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
class LowResolution:
    """What an upscaling network takes beside x: the low-resolution pictures, enlarged and noised.

    Ho et al. 2022, Cascaded Diffusion Models, sec. 4.2: conditioning augmentation.
    """

    picture: Tensor  #        (B, C', H, W) float32, of x's height and width
    t: float | Tensor  #      the time, in its own schedule, up to which it is noised; (B,) one of each row

    def rows(self, rows: slice) -> LowResolution:
        """Some of the rows."""
        return LowResolution(
            picture=self.picture[rows], t=self.t[rows] if isinstance(self.t, Tensor) else self.t
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """What a leaf sees: the noisy pictures, seen through the views and crops above the leaf.

    `chain` names what was done to the sampler's state on the way here. Two frames of one step with equal
    chains hold equal pictures: so equal queries are found without comparing pixels.
    """

    x: Tensor  #                                    (B, C, H, W) float32
    now: Level  #                                   the level of x
    to: Level | None = None  #                      the level that the step goes to
    native: tuple[int, int] | None = None  #        (H, W) that the network was trained at
    low_resolution: LowResolution | None = None  #  for networks that upscale
    seeds: tuple[int, ...] = ()  #                  of the B pictures; a run without them chooses no styles
    chain: tuple[Hashable, ...] = ()
    memory: dict[Hashable, Any] = field(default_factory=dict)  # of the run, for stateful guidance
    _seen: dict[Hashable, Frame] = field(default_factory=dict)  # so that the second pass is free

    def through(self, view: View) -> Frame:
        """The frame seen through a view."""
        if isinstance(view, Identity):
            return self
        if view not in self._seen:
            low = self.low_resolution
            self._seen[view] = replace(
                self,
                x=view.forward(self.x),
                low_resolution=low and replace(low, picture=view.forward(low.picture)),
                chain=(*self.chain, view),
                _seen={},
            )
        return self._seen[view]

    def window(self, box: Box) -> Frame:
        """The frame cut to a box of its pixels."""
        if self.low_resolution is not None:
            raise UsageError("crops do not go with upscaling: upscale a picture of the network's own size")
        if box not in self._seen:
            self._seen[box] = replace(self, x=box.cut(self.x), chain=(*self.chain, box), _seen={})
        return self._seen[box]


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """What one network is to estimate for B pictures; equal keys within a step are equal queries."""

    key: Key
    network: str | None  #      None: the model that the run was started with
    condition: Condition
    x: Tensor  #                (B, C, H, W)
    t: float
    low_resolution: LowResolution | None = None
    seeds: tuple[int, ...] = ()

    @property
    def conditions(self) -> list[Condition]:
        """The condition of each of the B rows."""
        if isinstance(self.condition, Prompt) and self.seeds:
            return [self.condition.of(seed) for seed in self.seeds]
        return [self.condition] * len(self.x)


Answers = Mapping[Key, Estimate]
