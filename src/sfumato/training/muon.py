"""Muon: momentum with orthogonalised updates, for the convolutions between hidden layers.

All directions of a weight matrix then move equally far, where plain gradients follow the few largest ones. A
convolution (O, I, k, k) is the matrix (O, I k k). Everything else, and the first and last convolution,
follows AdamW. Sources: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/), also for the
polynomial; Liu et al. 2025, "Muon is scalable for LLM training", eq. 4, for updates as large as AdamW's, so
that both take the same learning rate.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

FEWEST = 16  # channels on both sides; the first and last convolution have fewer on the picture's side
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
RMS = 0.2  # of an AdamW update, measured by Liu et al.


def is_hidden(parameter: Tensor) -> bool:
    """Whether a parameter is a convolution between hidden layers, which Muon moves."""
    return parameter.ndim == 4 and min(parameter.shape[:2]) >= FEWEST


def orthogonalised(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """About the nearest semi-orthogonal matrix to (O, I): its singular values are 0.7 to 1.2 instead of 1.

    dtype: of the products; bfloat16 is enough (Jordan et al.), and faster where the hardware computes in it.
    """
    a, b, c = POLYNOMIAL
    x = (matrix / (matrix.norm() + 1e-7)).to(dtype)
    wide = x if len(x) <= x.shape[1] else x.T  # so that the square below is the smaller one
    for _ in range(ROUNDS):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    out: Tensor = wide if len(x) <= x.shape[1] else wide.T
    return out


class Muon(torch.optim.AdamW):
    """AdamW, except for the hidden convolutions; the state of each of these is one tensor, "momentum"."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        momentum: float,
        betas: tuple[float, float],
        eps: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        parameters = list(parameters)
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if is_hidden(p)], "momentum": momentum},
            {"params": [p for p in parameters if not is_hidden(p)]},
        ]
        self.dtype = dtype
        super().__init__(groups, lr=0.0, betas=betas, eps=eps, weight_decay=0.0)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; it removes the gradients of the hidden convolutions."""
        hidden = self.param_groups[0]
        for parameter in hidden["params"]:
            if parameter.grad is not None:
                self._move(parameter, parameter.grad, hidden["lr"], hidden["momentum"])
                parameter.grad = None  # AdamW skips parameters without a gradient
        super().step(closure)

    def _move(self, parameter: nn.Parameter, gradient: Tensor, rate: float, beta: float) -> None:
        momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(gradient, 1 - beta)
        ahead = gradient.lerp(momentum, beta).flatten(1)  # (O, I k k), Nesterov's momentum
        size = RMS * max(ahead.shape) ** 0.5
        parameter.add_(orthogonalised(ahead, self.dtype).view(parameter.shape), alpha=-rate * size)
