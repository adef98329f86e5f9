"""First-order solvers: DDPM's ancestral step, DDIM with eta, and Euler."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from sfumato.core.prediction import Estimate
from sfumato.core.schedule import Level
from sfumato.core.solvers.base import Solver, Stepping, StepState
from sfumato.errors import UsageError

Variance = Literal["fixed_small", "fixed_large", "learned"]
Direction = Literal["clipped", "raw"]

SMALLEST = 1e-20  # of a variance whose logarithm is taken


def forward_variance(now: Level, to: Level) -> float:
    """What the forward process adds between `to` and `now`: sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2.

    beta_t of Ho et al. 2020 on a table of consecutive entries.
    """
    a = now.alpha / to.alpha
    return max(0.0, now.sigma**2 - (a * to.sigma) ** 2)


@dataclass(frozen=True)
class DDPM(Solver):
    """A draw from q(x_s | x_t, x0) (Ho et al. 2020, eqs. 6 and 7), for any alpha and sigma.

        mean = alpha_s beta / sigma_t^2 x0 + (alpha_t / alpha_s) sigma_s^2 / sigma_t^2 x

    with beta the forward variance. variance: fixed_small, beta sigma_s^2 / sigma_t^2, exact for a known x0;
    fixed_large, beta; learned, between the two by logarithms (Nichol and Dhariwal 2021, eq. 15). The last
    step adds no noise.
    """

    key = "ddpm"
    _: KW_ONLY
    variance: Variance = "fixed_small"

    def __post_init__(self) -> None:
        if self.variance not in get_args(Variance):
            raise UsageError(f"no variance {self.variance!r}: choose one of {', '.join(get_args(Variance))}")

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def reads_variance(self) -> bool:
        return self.variance == "learned"

    def step(self, state: StepState) -> Stepping:
        x, now, to = state.x, state.now, state.to
        estimate = yield from state.denoise(x, now)
        beta, keep = forward_variance(now, to), (to.sigma / now.sigma) ** 2
        mean = (to.alpha * beta / now.sigma**2) * estimate.x0 + (now.alpha / to.alpha * keep) * x
        if to.sigma == 0:
            return mean
        return mean + self._deviation(beta, beta * keep, estimate) * state.draw()

    def _deviation(self, large: float, small: float, estimate: Estimate) -> float | Tensor:
        match self.variance:
            case "fixed_small":
                return math.sqrt(small)
            case "fixed_large":
                return math.sqrt(large)
        if estimate.variance is None:
            raise UsageError("this model has no learned variance: choose variance='fixed_small'")
        f = (estimate.variance + 1) / 2
        log_large, log_small = math.log(max(large, SMALLEST)), math.log(max(small, SMALLEST))
        return torch.exp(0.5 * (f * log_large + (1 - f) * log_small))


@dataclass(frozen=True)
class DDIM(Solver):
    """Song et al. 2021a, eqs. 12 and 16: alpha_s x0 + sqrt(sigma_s^2 - d^2) eps + d noise.

    d = eta times DDPM's small deviation: eta = 0 is deterministic, eta = 1 has DDPM's small variance.
    direction: which x0 gives eps where x0 was clipped. clipped, so that x, x0 and eps agree
    (diffusers' use_clipped_model_output=True); raw, the estimate before clipping, as diffusers has it by
    default.
    """

    key = "ddim"
    _: KW_ONLY
    eta: float = 0.0
    direction: Direction = "clipped"

    def __post_init__(self) -> None:
        if self.direction not in get_args(Direction):
            raise UsageError(
                f"no direction {self.direction!r}: choose one of {', '.join(get_args(Direction))}"
            )
        if isinstance(self.eta, str) or not 0 <= self.eta <= 1:
            raise UsageError(f"eta lies between 0 (deterministic) and 1 (DDPM), not {self.eta}")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(self, state: StepState) -> Stepping:
        x, now, to = state.x, state.now, state.to
        estimate = yield from state.denoise(x, now)
        variance = self.eta**2 * forward_variance(now, to) * (to.sigma / now.sigma) ** 2
        keep = math.sqrt(max(0.0, to.sigma**2 - variance)) / now.sigma
        mean = keep * x + (to.alpha - keep * now.alpha) * estimate.x0
        if self.direction == "raw" and estimate.unclipped is not None:
            mean = mean + keep * now.alpha * (estimate.x0 - estimate.unclipped)
        return mean + math.sqrt(variance) * state.draw() if self.stochastic and to.sigma > 0 else mean


@dataclass(frozen=True)
class Euler(DDIM):
    """Euler's method on dx/dr = eps in r = sigma / alpha (Karras et al. 2022, alg. 1 without its correction).

    In x / alpha and r, DDIM's deterministic step is Euler's: one implementation, with eta fixed at 0.
    """

    key = "euler"
    eta: float = field(default=0.0, init=False, repr=False)
    direction: Direction = field(default="clipped", init=False, repr=False)
