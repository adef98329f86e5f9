"""The scales of guidance that depend on the noise level, and projected guidance.

A scale is a number or a function of two levels: that of x, and the one that the step goes to.
"""

from __future__ import annotations

import math
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor

from sfumato.core.schedule import Level
from sfumato.core.writing import Json, Reader, Writer
from sfumato.errors import UsageError

# (level of x, level that the step goes to, None at the end of a step) -> s
ScaleFunction = Callable[[Level, Level | None], float]
Scale = float | ScaleFunction


class WrittenScale(ABC):
    """A scale that writes itself into a recipe, as {key: value}."""

    key: ClassVar[str]
    known: ClassVar[dict[str, type[WrittenScale]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.known[cls.key] = cls

    @abstractmethod
    def __call__(self, now: Level, to: Level | None) -> float:
        """The scale at a level."""

    @abstractmethod
    def value(self) -> Any:
        """What stands in the recipe under `key`."""

    @classmethod
    @abstractmethod
    def read(cls, value: Any) -> WrittenScale:
        """The scale that `value` wrote."""


@dataclass(frozen=True)
class Curve(WrittenScale):
    """A scale drawn through points (t, s), straight between them and level beyond."""

    key = "curve"
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        points = tuple(sorted((float(t), float(s)) for t, s in self.points))
        if not points or not all(math.isfinite(v) for point in points for v in point):
            raise UsageError(f"a guidance curve is a list of finite (t, scale) points, not {self.points}")
        object.__setattr__(self, "points", points)

    def __call__(self, now: Level, to: Level | None) -> float:  # noqa: ARG002
        before = [p for p in self.points if p[0] <= now.t] or [self.points[0]]
        after = [p for p in self.points if p[0] >= now.t] or [self.points[-1]]
        (t0, s0), (t1, s1) = before[-1], after[0]
        return s0 if t1 == t0 else s0 + (s1 - s0) * (now.t - t0) / (t1 - t0)

    def value(self) -> Any:
        return [list(point) for point in self.points]

    @classmethod
    def read(cls, value: Any) -> Curve:
        return cls(tuple((float(t), float(s)) for t, s in value))


@dataclass(frozen=True)
class CFGPlusPlus(WrittenScale):
    """CFG++ (Chung et al. 2024) as ordinary guidance under DDIM: s = w r / (r - r'), r = sigma / alpha.

    The new noise direction is then the unconditional one while x0 is guided with weight w in [0, 1].
    """

    key = "cfg++"
    weight: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise UsageError(f"the weight of CFG++ is a number from 0 up, usually below 1, not {self.weight}")

    def __call__(self, now: Level, to: Level | None) -> float:
        if to is None or to.sigma == 0 or now.alpha == 0:
            return self.weight
        return self.weight * now.ratio / (now.ratio - to.ratio)

    def value(self) -> Any:
        return self.weight

    @classmethod
    def read(cls, value: Any) -> CFGPlusPlus:
        return cls(float(value))


def write_scale(scale: Scale, writer: Writer) -> Any:
    """A scale as JSON-able data; a function of the user's own becomes an input."""
    if isinstance(scale, WrittenScale):
        return {scale.key: scale.value()}
    return {"custom": writer.own(scale, "guidance")} if callable(scale) else scale


def read_scale(value: Any, reader: Reader) -> Scale:
    """The scale that `write_scale` wrote."""
    if not isinstance(value, dict):
        return float(value)
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key in WrittenScale.known:
            return WrittenScale.known[key].read(inner)
        if key == "custom":
            return cast(ScaleFunction, reader.own(inner, Callable))  # type: ignore[arg-type]
    kinds = ", ".join(WrittenScale.known)
    raise UsageError(f"a guidance scale is a number or one of {kinds}, not {reprlib.repr(value)}")


@dataclass(frozen=True, kw_only=True)
class Projected:
    """Adaptive projected guidance, in x0 space (Sadat et al. 2024, algorithm 1): nonlinear, by its name.

    The part of c - u that is parallel to c is scaled by `parallel` (the paper's eta; 0 drops what
    oversaturates), its norm is held under `radius`, and `momentum` (negative in the paper) averages it over
    steps.
    """

    parallel: float = 0.0
    radius: float | None = None
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.parallel) and math.isfinite(self.momentum) and abs(self.momentum) < 1):
            raise UsageError("projected guidance: parallel must be finite, momentum between -1 and 1")
        if self.radius is not None and not (math.isfinite(self.radius) and self.radius > 0):
            raise UsageError(f"projected guidance: the radius is a positive number, not {self.radius}")

    def push(self, c: Tensor, u: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
        """The direction to add (s - 1) times to c, and the running mean for the next step, (B, C, H, W)."""
        running = c - u if last is None else c - u + self.momentum * last
        push = running
        if self.radius is not None:
            push = push * (self.radius / _norm(push).clamp(min=1e-12)).clamp(max=1)
        unit = c / _norm(c).clamp(min=1e-12)
        along = (push * unit).sum(dim=(1, 2, 3), keepdim=True) * unit
        return push - along + self.parallel * along, running

    def write(self) -> Json:
        """The settings as JSON-able data: the keyword arguments."""
        return {"parallel": self.parallel, "radius": self.radius, "momentum": self.momentum}


def _norm(x: Tensor) -> Tensor:
    return x.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
