"""Randomness of a run: one CPU generator per picture, so that picture i is the same alone and in a batch.

The sampler alone draws: the initial noise first, then once per stochastic step. Drawn on the CPU in float32
whatever the device, as diffusers does with a CPU generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import torch
from torch import Tensor

from sfumato.errors import UsageError

MAX_SEED = 2**64 - 1

DrawNoise = Callable[[], Tensor]  # standard normal noise of the state's shape


class Noise:
    """Standard normal noise for B pictures of shape (C, H, W), each from a generator of its own."""

    def __init__(
        self, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device | str = "cpu"
    ) -> None:
        """Seed one generator per picture; a seed outside 0 .. 2**64 - 1 raises UsageError."""
        if not seeds:
            raise UsageError("no seeds: a run makes at least one picture")
        for seed in seeds:
            if not 0 <= seed <= MAX_SEED:
                raise UsageError(f"seed {seed} is out of range: give 0 to 2**64 - 1")
        self.shape = shape
        self.device = torch.device(device)
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]

    def of_shape(self, shape: tuple[int, int, int]) -> Noise:
        """Noise of another shape (C, H, W) from the same generators, which go on where they are."""
        other = copy(self)
        other.shape = shape
        return other

    def draw(self) -> Tensor:
        """Fresh standard normal noise, (B, C, H, W) float32 on the device."""
        rows = [torch.randn(self.shape, generator=generator) for generator in self._generators]
        return torch.stack(rows).to(self.device)
