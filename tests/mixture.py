"""The exact denoiser of a Gaussian mixture, for any schedule: what solvers and samplers are measured against.

    x0 ~ sum_k w_k N(mu_k, s_k^2 I),    x = alpha x0 + sigma eps

Then x given k is N(alpha mu_k, (alpha^2 s_k^2 + sigma^2) I), and E[x0 | x] is a mean of K linear estimates,
weighted by how likely each component is (Bayes' rule). No network, no approximation, any float dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from sfumato.core.prediction import Estimate
from sfumato.core.schedule import Level, Schedule
from sfumato.core.solvers import PreviousStep, Solver, StepState


@dataclass(frozen=True, eq=False)
class Mixture:
    """means (K, C, H, W); scales (K,), the standard deviations s_k >= 0; weights (K,), which sum to 1."""

    means: Tensor
    scales: Tensor
    weights: Tensor

    def x0(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[x0 | x], (B, C, H, W) in x's dtype."""
        means, s, w = self.means.to(x.dtype), self.scales.to(x.dtype), self.weights.to(x.dtype)
        total = (alpha * s) ** 2 + sigma**2  #                                            (K,)
        off = x[:, None] - alpha * means  #                                               (B, K, C, H, W)
        size = off.flatten(2).square().sum(2)  #                                          (B, K)
        pixels = x[0].numel()
        share = torch.softmax(w.log() - size / (2 * total) - pixels / 2 * total.log(), 1)  # (B, K)
        gain = (alpha * s**2 / total)[None, :, None, None, None]
        return (share[..., None, None, None] * (means + gain * off)).sum(1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws of x0, (count, C, H, W) float64."""
        k = torch.multinomial(self.weights.double(), count, replacement=True, generator=generator)
        noise = torch.randn(count, *self.means.shape[1:], generator=generator, dtype=torch.float64)
        return self.means.double()[k] + self.scales.double()[k][:, None, None, None] * noise

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) of x0, flattened; float64."""
        means, w = self.means.double().flatten(1), self.weights.double()  #               (K, D), (K,)
        mean = (w[:, None] * means).sum(0)
        off = means - mean
        within = (w * self.scales.double() ** 2).sum() * torch.eye(means.shape[1], dtype=torch.float64)
        return mean, within + (w[:, None, None] * off[:, :, None] * off[:, None, :]).sum(0)


def two_modes() -> Mixture:
    """Two round modes of different weight and width in the plane, as pictures of (1, 1, 2)."""
    return Mixture(
        means=torch.tensor([[0.8, -0.3], [-0.6, 0.5]]).view(2, 1, 1, 2),
        scales=torch.tensor([0.3, 0.5]),
        weights=torch.tensor([0.35, 0.65]),
    )


def one_mode() -> Mixture:
    """A single Gaussian, whose probability-flow ODE has the closed form `gaussian_flow`."""
    return Mixture(
        means=torch.tensor([0.4, -0.7]).view(1, 1, 1, 2),
        scales=torch.tensor([0.5]),
        weights=torch.tensor([1.0]),
    )


def gaussian_flow(gaussian: Mixture, x: Tensor, now: Level, to: Level) -> Tensor:
    """The exact flow of one Gaussian: (x - alpha mu) / sqrt(alpha^2 s^2 + sigma^2) is constant."""
    mu, s = gaussian.means[0].to(x.dtype), gaussian.scales[0].item()

    def width(level: Level) -> float:
        return math.hypot(level.alpha * s, level.sigma)

    return to.alpha * mu + (width(to) / width(now)) * (x - now.alpha * mu)


def exact_flow(mixture: Mixture, x: Tensor, now: Level, to: Level, steps: int = 1000) -> Tensor:
    """The probability-flow ODE by the classical Runge-Kutta method, which shares no code with the solvers.

    In y = x / alpha and u = log(sigma / alpha) the ODE is dy/du = y - x0, whatever the schedule. Needs both
    ratios finite and above 0.
    """

    def slope(y: Tensor, u: float) -> Tensor:
        return y - mixture.x0(y, 1.0, math.exp(u))

    y, start, end = x / now.alpha, math.log(now.ratio), math.log(to.ratio)
    h = (end - start) / steps
    for i in range(steps):
        u = start + i * h
        k1 = slope(y, u)
        k2 = slope(y + h / 2 * k1, u + h / 2)
        k3 = slope(y + h / 2 * k2, u + h / 2)
        k4 = slope(y + h * k3, u + h)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return to.alpha * y


def levels_between(schedule: Schedule, high: float, low: float, steps: int) -> list[Level]:
    """steps + 1 levels, evenly spaced in log(sigma / alpha) from `high` to `low`."""
    a, b = math.log(high), math.log(low)
    ratios = [math.exp(a + (b - a) * i / steps) for i in range(steps + 1)]
    return [schedule.level(schedule.time_at_ratio(ratio)) for ratio in ratios]


Asks = Callable[[Tensor, Level], Tensor | Estimate]  # what is known of x0 at a level


def walk(
    solver: Solver,
    ask: Asks,
    x: Tensor,
    levels: Sequence[Level],
    *,
    draw: Callable[[], Tensor] | None = None,
    history: list[PreviousStep] | None = None,
) -> list[Tensor]:
    """The states along downward levels, the first included. A draw where none was given is an error."""

    def denoise(x: Tensor, level: Level) -> Generator[Any, Any, Estimate]:
        answer = yield (x, level)
        return answer if isinstance(answer, Estimate) else Estimate(x0=answer)

    def refuse() -> Tensor:
        raise AssertionError("a deterministic solver drew noise")

    past, states = [] if history is None else history, [x]
    for now, to in pairwise(levels):
        stepping = solver.step(StepState(states[-1], now, to, denoise, draw or refuse, past))
        asked = next(stepping)
        while True:
            try:
                asked = stepping.send(ask(*asked))
            except StopIteration as stop:
                states.append(stop.value)
                break
    return states


def exact(mixture: Mixture) -> Asks:
    """A mixture's denoiser as `walk` asks it."""
    return lambda x, level: mixture.x0(x, level.alpha, level.sigma)
