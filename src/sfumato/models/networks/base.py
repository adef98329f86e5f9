"""The contract of a network that is trained here."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """Predicts for a batch of noised pictures; what it predicts (eps, v, ...) is stated by its model.

    Its layers may be replaced by faster ones, and tensors may come in any memory layout (runtime/packing.py).

    kind         its name in `networks.NETWORKS`
    timed        False: made for one noise level; t is ignored and may be None
    classes      how many classes it knows; None: labels are ignored
    conditional  whether it takes a condition: a class, or words
    """

    kind: str
    timed: bool
    classes: int | None

    @property
    def conditional(self) -> bool:
        return self.classes is not None

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The arguments, JSON-able, that build this network again."""

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor | None, label: Tensor | None = None) -> Tensor:
        """x (N, C, H, W), t (N,) in [0, 1], label (N,) int64 with -1 = no class -> (N, C, H, W)."""


def labels_or_none(label: Tensor | None, x: Tensor) -> Tensor:
    """The labels, or, without any, -1 for each of the N rows of x."""
    return torch.full((len(x),), -1, device=x.device) if label is None else label
