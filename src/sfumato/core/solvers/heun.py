"""Heun's second-order method: two estimates per step."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.core.prediction import eps_of
from sfumato.core.solvers.base import Solver, Stepping, StepState, toward_x0


@dataclass(frozen=True)
class Heun(Solver):
    """Heun on dy/dr = eps, y = x / alpha, r = sigma / alpha (Karras et al. 2022, alg. 1).

    An Euler step where a second slope has no meaning: out of alpha = 0, where y is infinite, and into
    sigma = 0.
    """

    key = "heun"
    evaluations = 2

    def step(self, state: StepState) -> Stepping:
        x, now, to = state.x, state.now, state.to
        x0 = (yield from state.denoise(x, now)).x0
        guess = toward_x0(x, x0, now, to)
        if now.alpha == 0 or to.sigma == 0:
            return guess
        x0_there = (yield from state.denoise(guess, to)).x0
        slope = (eps_of(x, x0, now.alpha, now.sigma) + eps_of(guess, x0_there, to.alpha, to.sigma)) / 2
        return to.alpha * (x / now.alpha + (to.ratio - now.ratio) * slope)
