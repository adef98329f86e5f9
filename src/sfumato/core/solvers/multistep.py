"""Exponential multistep solvers in lambda = log(alpha / sigma), one estimate per step: DPM-Solver++, UniPC.

With x0 as a function of lambda, the probability-flow ODE has the exact solution

    x_s = sigma_s / sigma_t x_t + sigma_s int_{lambda_t}^{lambda_s} e^lambda x0(lambda) dlambda

(Lu et al. 2022b, eq. 8). The solvers differ in the polynomial through present and past x0 that they
integrate; with a constant it is `toward_x0`. A step into sigma = 0 is infinitely long and takes the constant;
so does a step out of alpha = 0, which is never remembered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import Tensor

from sfumato.core.schedule import Level
from sfumato.core.solvers.base import PreviousStep, Solver, Stepping, StepState, log_ratio_step, toward_x0
from sfumato.errors import UsageError


@dataclass(frozen=True)
class _Multistep(Solver):
    """Remembers the last `order` steps."""

    _: KW_ONLY
    order: Literal[2, 3] = 2

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise UsageError(f"the order of a multistep solver is 2 or 3, not {self.order!r}")
        object.__setattr__(self, "order", int(self.order))  # a recipe's numbers are floats

    def _remember(self, history: list[PreviousStep], now: Level, x: Tensor, x0: Tensor) -> None:
        if now.alpha > 0:
            history.append(PreviousStep(now, x, x0))
            del history[: -self.order]


@dataclass(frozen=True)
class DPMSolverPP(_Multistep):
    """DPM-Solver++ (2M), midpoint (Lu et al. 2022b, alg. 2), and (3M).

    The first steps have the order that the history allows. (2M) equals diffusers' DPMSolverMultistepScheduler
    ("dpmsolver++", "midpoint", final sigma zero). (3M) integrates the polynomial of degree 2 through the last
    three estimates exactly; the published code and diffusers weigh its second difference by half of that,
    which is of order 2 only (docs/log.md).
    """

    @property
    def key(self) -> str:  # type: ignore[override]
        return f"dpm++{self.order}m"

    def options(self) -> dict[str, float | str]:
        return {}

    def step(self, state: StepState) -> Stepping:
        x, now, to = state.x, state.now, state.to
        history = state.history
        x0 = (yield from state.denoise(x, now)).x0
        self._remember(history, now, x, x0)
        straight = toward_x0(x, x0, now, to)
        if to.sigma == 0 or len(history) < 2:
            return straight
        h = log_ratio_step(now, to)
        if len(history) == 2:
            return straight + self._second(history, h, to)
        return straight + self._third(history, h, to)

    def _second(self, history: list[PreviousStep], h: float, to: Level) -> Tensor:
        before, here = history[-2:]
        r = log_ratio_step(before.level, here.level) / h
        return (-0.5 * to.alpha * math.expm1(-h) / r) * (here.x0 - before.x0)

    def _third(self, history: list[PreviousStep], h: float, to: Level) -> Tensor:
        first, before, here = history[-3:]
        r0 = log_ratio_step(before.level, here.level) / h
        r1 = log_ratio_step(first.level, before.level) / h
        slope, slope_before = (here.x0 - before.x0) / r0, (before.x0 - first.x0) / r1
        bend = (slope - slope_before) / (r0 + r1)
        phi_2 = math.expm1(-h) / h + 1
        phi_3 = (math.expm1(-h) + h) / h**2 - 0.5
        return to.alpha * (phi_2 * (slope + r0 * bend) - 2 * phi_3 * bend)


@dataclass(frozen=True)
class UniPC(_Multistep):
    """UniPC-2 or -3 with B(h) = e^h - 1, data prediction (Zhao et al. 2023).

    The estimate of a step also corrects the state that the step before predicted: the corrector
    raises the order by one and costs no estimate. Equal to diffusers' UniPCMultistepScheduler ("bh2", final
    sigma zero), but for the last step but one of an order-3 run, where diffusers falls back to order 2.
    """

    key = "unipc"

    def step(self, state: StepState) -> Stepping:
        x, now, to = state.x, state.now, state.to
        history = state.history
        x0 = (yield from state.denoise(x, now)).x0
        if history:
            x = self._correct(x0, now, history)
        self._remember(history, now, x, x0)
        straight = toward_x0(x, x0, now, to)
        if to.sigma == 0 or len(history) < 2:
            return straight
        return straight + self._predict(history, to)

    def _predict(self, history: list[PreviousStep], to: Level) -> Tensor:
        """The predictor's correction for how x0 moves, through the past alone."""
        *past, here = history
        h = log_ratio_step(here.level, to)
        nodes = [-log_ratio_step(p.level, here.level) / h for p in reversed(past)]  # < 0, nearest first
        weights = [0.5] if len(nodes) == 1 else _weights(nodes, h)  # order 2 holds for 1/2
        slopes = [(p.x0 - here.x0) / r for p, r in zip(reversed(past), nodes, strict=True)]
        return -to.alpha * math.expm1(-h) * _combined(weights, slopes)

    def _correct(self, x0: Tensor, now: Level, history: list[PreviousStep]) -> Tensor:
        """The step to `now` again, from `history[-1]`, with the x0 that was found there as one more node."""
        *past, start = history
        h = log_ratio_step(start.level, now)
        nodes = [-log_ratio_step(p.level, start.level) / h for p in reversed(past)]
        weights = [0.5] if not nodes else _weights([*nodes, 1.0], h)
        slopes = [(p.x0 - start.x0) / r for p, r in zip(reversed(past), nodes, strict=True)]
        moved = -now.alpha * math.expm1(-h) * _combined(weights, [*slopes, x0 - start.x0])
        return toward_x0(start.x, start.x0, start.level, now) + moved


def _weights(nodes: Sequence[float], h: float) -> list[float]:
    """rho of Zhao et al. 2023, sec. 3.1: polynomials through the nodes are integrated exactly, in units of B.

    sum_k rho_k nodes_k^(n-1) = n! z phi_(n+1)(z) / (e^z - 1) for n = 1 .. len(nodes), where z = -h,
    phi_1(z) = (e^z - 1) / z and phi_(n+1)(z) = (phi_n(z) - 1 / n!) / z.
    """
    z, count = -h, len(nodes)
    vandermonde = torch.tensor([[r**n for r in nodes] for n in range(count)], dtype=torch.float64)
    phi, right = math.expm1(z) / z, []
    for n in range(1, count + 1):
        phi = (phi - 1 / math.factorial(n)) / z
        right.append(math.factorial(n) * z * phi / math.expm1(z))
    solution: list[float] = torch.linalg.solve(vandermonde, torch.tensor(right, dtype=torch.float64)).tolist()
    return solution


def _combined(weights: Sequence[float], terms: Sequence[Tensor]) -> Tensor:
    total = weights[0] * terms[0]
    for weight, term in zip(weights[1:], terms[1:], strict=True):
        total = total + weight * term
    return total
