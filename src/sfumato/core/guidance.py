"""Guidance: pushing an estimate away from another. Linear, but for the nodes that say otherwise.

    x0 = u + s (c - u)                       Ho & Salimans 2022, eq. 6; s = 1 means off

u is c with every question changed: no condition, a negative one, or a weaker network's answer (Karras et al.
2024, Guiding a Diffusion Model with a Bad Version of Itself). Outside its interval s is 1 and u is never
asked (Kynkaanniemi et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from sfumato.core.expression import Ask, Expression, Unary
from sfumato.core.frame import Answers, Condition, Frame, Query, Unconditional
from sfumato.core.prediction import Estimate
from sfumato.core.schedule import Level
from sfumato.errors import UsageError

# A scale that depends on the noise level: (level of x, level that the step goes to) -> s.
Scale = Callable[[Level, Level | None], float]


@dataclass(frozen=True)
class Curve:
    """A scale drawn through points (t, s), straight between them and level beyond."""

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


@dataclass(frozen=True)
class CFGPlusPlus:
    """CFG++ (Chung et al. 2024) said as ordinary guidance under DDIM: s = w r / (r - r'), r = sigma / alpha.

    The new noise direction is then the unconditional one while x0 is guided with weight w in [0, 1].
    """

    weight: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise UsageError(f"the weight of CFG++ is a number from 0 up, usually below 1, not {self.weight}")

    def __call__(self, now: Level, to: Level | None) -> float:
        if to is None or to.sigma == 0 or now.alpha == 0:
            return self.weight
        return self.weight * now.ratio / (now.ratio - to.ratio)


@dataclass(frozen=True, kw_only=True)
class Projected:
    """Adaptive projected guidance, in x0 space (Sadat et al. 2024, algorithm 1): nonlinear, by its name.

    The part of c - u that is parallel to c is scaled by `parallel` (the paper's eta; 0 drops what
    oversaturates), its norm is held under `radius`, and `momentum` (negative in
    the paper) averages it over steps.
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


def _norm(x: Tensor) -> Tensor:
    return x.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


@dataclass(frozen=True)
class Guided(Unary):
    """u + s (c - u), with c the child and u the child asked otherwise.

    scale: a number, or a function of the noise levels (Curve, CFGPlusPlus); 1 is off.
    negative: the condition of u; None asks without condition, or with the child's own when `guide` is given.
    guide: the name of the network that answers u (autoguidance).
    between: the times (lo, hi) within which guidance acts; outside, u costs nothing.
    projection: adaptive projected guidance instead of the plain difference.
    """

    scale: float | Scale
    negative: Condition | None = None
    guide: str | None = None
    between: tuple[float, float] = (0.0, 1.0)
    projection: Projected | None = None

    def __post_init__(self) -> None:
        if not callable(self.scale):
            if isinstance(self.scale, bool) or not math.isfinite(self.scale):
                raise UsageError(f"the guidance scale must be a finite number, not {self.scale}")
            object.__setattr__(self, "scale", float(self.scale))
        lo, hi = self.between
        if not 0 <= lo <= hi <= 1:
            raise UsageError(f"guidance acts between two times 0 <= lo <= hi <= 1, not {self.between}")
        object.__setattr__(self, "between", (float(lo), float(hi)))

    @property
    def name(self) -> str:
        scale = f"{self.scale:g}" if isinstance(self.scale, float) else repr(self.scale)
        return f"guided({scale})"

    @cached_property
    def against(self) -> Expression:
        """The expression u."""

        def otherwise(leaf: Ask) -> Expression:
            own = leaf.condition if self.guide else Unconditional()
            return Ask(self.negative or own, self.guide or leaf.network)

        return self.child.map_leaves(otherwise)

    def scale_at(self, frame: Frame) -> float:
        """s at this frame's noise level."""
        lo, hi = self.between
        if not lo <= frame.now.t <= hi:
            return 1.0
        if not callable(self.scale):
            return self.scale
        scale = self.scale(frame.now, frame.to)
        if not math.isfinite(scale):
            raise UsageError(f"{self.name}: the scale at t = {frame.now.t:g} is {scale}")
        return scale

    def queries(self, frame: Frame) -> Iterator[Query]:
        scale = self.scale_at(frame)
        if scale != 0 or self.projection:
            yield from self.child.queries(frame)
        if scale != 1:
            yield from self.against.queries(frame)

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        scale = self.scale_at(frame)
        if scale == 1:
            return self.child.combine(frame, answers)
        u = self.against.combine(frame, answers)
        if scale == 0 and not self.projection:
            return u
        c = self.child.combine(frame, answers)
        if self.projection is None:
            x0 = u.x0 + scale * (c.x0 - u.x0)
        else:
            place = (self, frame.chain)
            t, last, running = frame.memory.get(place, (None, None, None))
            if t != frame.now.t:  # asked again at the same level, the mean does not move on
                last = running
            push, running = self.projection.push(c.x0, u.x0, last)
            frame.memory[place] = (frame.now.t, last, running)
            x0 = c.x0 + (scale - 1) * push
        return Estimate(x0=x0, variance=c.variance)  # the variance comes from the conditional rows


@dataclass(frozen=True)
class Clipped(Unary):
    """Nonlinear: x0 clipped to [-1, 1], or dynamic thresholding (Saharia et al. 2022, Imagen, sec. 2.3).

    With a quantile p, s is that quantile of |x0| of each picture, held in [1, limit]; x0 is clipped to
    [-s, s] and divided by s.
    """

    limit: float = 1.0
    quantile: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit >= 1):
            raise UsageError(f"the clipping limit must be 1 or more, not {self.limit}")
        if self.quantile is not None and not 0 < self.quantile <= 1:
            raise UsageError(f"the quantile of dynamic thresholding lies in (0, 1], not {self.quantile}")

    @property
    def name(self) -> str:
        return "clipped" if self.quantile is None else f"clipped(quantile={self.quantile:g})"

    def queries(self, frame: Frame) -> Iterator[Query]:
        yield from self.child.queries(frame)

    def combine(self, frame: Frame, answers: Answers) -> Estimate:
        estimate = self.child.combine(frame, answers)
        if self.quantile is None:
            x0 = estimate.x0.clamp(-self.limit, self.limit)
            return replace(estimate, x0=x0, unclipped=estimate.x0)
        sizes = estimate.x0.flatten(1).abs()  #                                       (B, C H W)
        s = sizes.quantile(self.quantile, dim=1).clamp(1, self.limit).view(-1, 1, 1, 1)
        return replace(estimate, x0=estimate.x0.clamp(-s, s) / s, unclipped=estimate.x0)


def asked(e: Expression) -> Iterator[Condition]:
    """Every condition that an expression may ask the run's own model about, what guidance asks included."""
    for node in e.walk():
        against = node.against.walk() if isinstance(node, Guided) and node.scale != 1 else ()
        for leaf in (node, *against):
            if isinstance(leaf, Ask) and leaf.network is None:
                yield leaf.condition
