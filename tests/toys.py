"""Networks that need no training: deterministic, nonlinear; they note what they were asked."""

import zlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.core.frame import Condition
from sfumato.core.prediction import Estimate


class AsTheyAre:
    """A conditioner whose network takes conditions as they are."""

    def prepare(self, conditions: Sequence[Condition]) -> None:
        """Nothing is encoded."""

    def __call__(self, conditions: Sequence[Condition], device: object) -> Sequence[Condition]:  # noqa: ARG002
        return conditions


class Toy:
    """x0 = tanh(conv(x) + shift(t)), with weights of its own for every condition; rows are independent."""

    def __init__(self, channels: int = 3, seed: int = 0, *, variance: bool = False) -> None:
        self.channels, self.seed, self.variance = channels, seed, variance
        self.rows: list[Condition] = []
        self.forwards: list[int] = []

    def weights(self, condition: Condition) -> Tensor:
        key = zlib.crc32(f"{self.seed} {condition}".encode())
        generator = torch.Generator().manual_seed(key)
        return torch.randn((self.channels, self.channels, 3, 3), generator=generator) / 3

    def denoise(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Estimate:
        self.rows += conditions
        self.forwards.append(len(x))
        rows = []
        for row, time, condition in zip(x, t, conditions, strict=True):
            kernel = self.weights(condition).to(row)
            rows.append(torch.tanh(F.conv2d(row[None], kernel, padding=1) + time - 0.5))
        x0 = torch.cat(rows)
        return Estimate(x0=x0, variance=torch.sin(3 * x0) if self.variance else None)
