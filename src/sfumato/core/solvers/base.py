"""What every solver shares: its shape, its history, and the upward step that none of them takes.

A solver turns x_t into x_s, from one noise level to a lower one. It has no loop and no state of its own, and
asks for estimates of x0 by yielding: so one loop runs all solvers, and an engine answers many runs at once.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from sfumato.core.noise import DrawNoise
from sfumato.core.prediction import Estimate
from sfumato.core.schedule import Level
from sfumato.errors import UsageError

# `estimate = yield from denoise(x, level)`
Denoise = Callable[[Tensor, Level], Generator[Any, Any, Estimate]]
Stepping = Generator[Any, Any, Tensor]  # yields what `denoise` yields, returns the state at `to`


@dataclass(frozen=True, eq=False)
class PreviousStep:
    """One earlier step: the level, the state x there and its x0, each (B, C, H, W)."""

    level: Level
    x: Tensor
    x0: Tensor


# The seam. x: (B, C, H, W) of any float dtype, which the answer keeps; now.sigma > to.sigma >= 0, and
# now.alpha may be 0. `draw` is called exactly once when the solver is stochastic and to.sigma > 0, else
# never. `history` is the solver's own list, oldest first; the loop empties it after an upward step.
@dataclass(frozen=True, eq=False)
class StepState:
    """What a downward step begins from."""

    x: Tensor  #             (B, C, H, W) at level `now`
    now: Level
    to: Level
    denoise: Denoise
    draw: DrawNoise
    history: list[PreviousStep] = field(default_factory=list)


class Solver(ABC):
    """One downward step. Subclasses are frozen dataclasses: their fields are their options.

    key: the name of the solver in a recipe; none for a solver of the user's own, which no recipe makes again
    evaluations: at most how many estimates a step asks for
    """

    key: ClassVar[str | None] = None
    evaluations: ClassVar[int] = 1

    @property
    def stochastic(self) -> bool:
        """Whether a step draws noise."""
        return False

    @property
    def reads_variance(self) -> bool:
        """Whether a step looks at a learned variance."""
        return False

    @abstractmethod
    def step(self, state: StepState) -> Stepping:
        """The state at level `state.to`, (B, C, H, W)."""

    def options(self) -> dict[str, float | str]:
        """The options as a recipe holds them, by their names."""
        return {option.name: getattr(self, option.name) for option in dataclasses.fields(self) if option.init}  # type: ignore[arg-type]


def toward_x0(x: Tensor, x0: Tensor, now: Level, to: Level) -> Tensor:
    """The exact step while x0 stands still: alpha_s x0 + sigma_s eps (DDIM, Song et al. 2021a, eq. 12).

    Every deterministic solver is this plus a correction for how x0 moves. Needs no division by alpha; at
    to.sigma = 0 it is alpha_s x0.
    """
    keep = to.sigma / now.sigma
    return keep * x + (to.alpha - keep * now.alpha) * x0


def log_ratio_step(now: Level, to: Level) -> float:
    """h > 0, the step in lambda = log(alpha / sigma); inf out of alpha = 0 or into sigma = 0."""
    return (to.logsnr - now.logsnr) / 2


def renoise(x: Tensor, now: Level, to: Level, noise: Tensor) -> Tensor:
    """The upward step, which adds noise back: x_s = a x + sqrt(sigma_s^2 - a^2 sigma_t^2) noise.

    a = alpha_s / alpha_t: the forward process from a state of level `now` to one of the noisier level `to`
    (Lugmayr et al. 2022, alg. 1). A level that is not noisier raises UsageError.
    """
    if not to.ratio > now.ratio:
        raise UsageError(f"noise is added toward more noise, not from time {now.t:g} to {to.t:g}")
    a = to.alpha / now.alpha
    return a * x + math.sqrt(max(0.0, to.sigma**2 - (a * now.sigma) ** 2)) * noise
