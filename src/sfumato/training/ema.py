"""Moving averages of the weights, in float32.

A profile gives the decay of the average as a function of the number of updates, which is part of a
checkpoint. Floating-point buffers (the running statistics of a batch norm) are averaged too; others are
copied.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.errors import UsageError


class EmaProfile(ABC):
    """The decay of the average at each update."""

    @abstractmethod
    def decay(self, update: int, batch: int) -> float:
        """beta in [0, 1] of this update (the first is 1), which comes `batch` pictures after the last one."""


@dataclass(frozen=True, kw_only=True)
class HalfLife(EmaProfile):
    """Weights count half after a number of pictures, after fewer at the start (as in EDM's training code).

    Attributes:
        pictures: the half-life, in pictures.
        warmup: the half-life is at most this share of the pictures seen so far.
    """

    pictures: float
    warmup: float = 0.05

    def __post_init__(self) -> None:
        if not (self.pictures > 0 and self.warmup > 0):
            raise UsageError("the half-life of an EMA and its warmup must be above 0")

    def decay(self, update: int, batch: int) -> float:
        half_life = min(self.pictures, self.warmup * update * batch)
        return float(0.5 ** (batch / half_life))


@dataclass(frozen=True, kw_only=True)
class PowerFunction(EmaProfile):
    """Weights count as a power of their time (Karras et al. 2024, equation 127).

    Attributes:
        width: sigma_rel, the standard deviation of the profile relative to the length of the training.
    """

    width: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.width < 12**-0.5:
            raise UsageError(
                f"the width of a power-function EMA is {self.width}; it must lie between 0 and 0.288"
            )

    @cached_property
    def exponent(self) -> float:
        """gamma with sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)): the cubic's root above 0."""
        t = self.width**-2
        return float(np.roots([1, 7, 16 - t, 12 - t]).real.max())

    def decay(self, update: int, batch: int) -> float:  # noqa: ARG002
        return float((1 - 1 / update) ** (self.exponent + 1))


class Ema:
    """The moving average of a network's state."""

    def __init__(self, network: nn.Module, profile: EmaProfile) -> None:
        self.profile = profile
        self.updates = 0
        self.average: dict[str, Tensor] = {
            name: value.detach().to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
            for name, value in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module, batch: int) -> None:
        """Adds the network's state after an optimiser step over `batch` pictures."""
        self.updates += 1
        beta = self.profile.decay(self.updates, batch)
        averages, values = [], []
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                averages.append(self.average[name])
                values.append(value.float())
            else:
                self.average[name].copy_(value)
        torch._foreach_lerp_(averages, values, 1 - beta)

    def load(self, average: Mapping[str, Tensor], updates: int) -> None:
        """Takes over the average and the number of updates of a checkpoint."""
        for name, value in self.average.items():
            value.copy_(average[name])
        self.updates = updates
