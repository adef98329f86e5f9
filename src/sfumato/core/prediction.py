"""What a network predicts, and how every kind is turned into an estimate of x0 and back.

    x = alpha x0 + sigma eps
    eps    the noise                                                  (Ho et al. 2020)
    v      alpha eps - sigma x0                                       (Salimans and Ho 2022, app. D)
    x0     the clean picture
    flow   eps - x0, the velocity from data to noise                  (Lipman et al. 2023; Liu et al. 2023)

Nothing here assumes alpha^2 + sigma^2 = 1. Levels are floats, or tensors that broadcast over x: (N, 1, 1, 1).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from sfumato.errors import UsageError

Prediction = Literal["eps", "v", "x0", "flow"]
PREDICTIONS: tuple[str, ...] = get_args(Prediction)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What is known of x0 at a noisy x.

    x0: (B, C, H, W). variance: a network's learned variance of the next step, f' in [-1, 1] of x0's shape
    (Nichol and Dhariwal 2021, eq. 15, f = (f' + 1) / 2); None where nothing was learned.
    unclipped: x0 as it was before the outermost clipping; None where nothing was clipped.
    """

    x0: Tensor
    variance: Tensor | None = None
    unclipped: Tensor | None = None


def to_x0(
    prediction: Tensor, kind: Prediction, x: Tensor, alpha: float | Tensor, sigma: float | Tensor
) -> Tensor:
    """The x0 that a prediction at x means. An eps prediction has none where alpha is 0: UsageError."""
    match kind:
        case "x0":
            return prediction
        case "eps":
            _refuse_zero(alpha, "an eps prediction says nothing about x0 where alpha is 0: start below t = 1")
            return (x - sigma * prediction) / alpha
        case "v":
            return (alpha * x - sigma * prediction) / (alpha**2 + sigma**2)
        case "flow":
            return (x - sigma * prediction) / (alpha + sigma)
    raise _unknown(kind)


def from_x0(x0: Tensor, kind: Prediction, x: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
    """The prediction at x that means x0: the inverse of `to_x0`. All but x0 itself need sigma > 0."""
    if kind == "x0":
        return x0
    return target(kind, x0, eps_of(x, x0, alpha, sigma), alpha, sigma)


def target(kind: Prediction, x0: Tensor, eps: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
    """What a network of this kind learns to answer at alpha x0 + sigma eps."""
    match kind:
        case "x0":
            return x0
        case "eps":
            return eps
        case "v":
            return alpha * eps - sigma * x0
        case "flow":
            return eps - x0
    raise _unknown(kind)


def eps_of(x: Tensor, x0: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
    """The noise in x, given its x0; sigma = 0 raises UsageError."""
    _refuse_zero(sigma, "where sigma is 0 there is no noise to compute")
    return (x - alpha * x0) / sigma


def add_noise(x0: Tensor, eps: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
    """x = alpha x0 + sigma eps."""
    return alpha * x0 + sigma * eps


def _refuse_zero(value: float | Tensor, message: str) -> None:
    zero = bool((value == 0).any()) if isinstance(value, torch.Tensor) else value == 0
    if zero:
        raise UsageError(message)


def _unknown(kind: str) -> UsageError:
    return UsageError(f"no prediction {kind!r}: choose one of {', '.join(PREDICTIONS)}")
