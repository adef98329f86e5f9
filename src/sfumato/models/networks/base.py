"""The contract of a network that is trained here."""

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn


class Network(nn.Module):
    """Answers for a batch of noised pictures; what the answer means (eps, v, ...) is the model's business.

    kind     its name in `networks.NETWORKS`
    timed    False: made for one noise level; t is not looked at and may be None
    classes  how many classes it knows; None: labels are not looked at
    told     whether it is told what to draw: a class, or words
    """

    kind: str
    timed: bool
    classes: int | None

    @property
    def told(self) -> bool:
        return self.classes is not None

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The arguments, JSON-able, that build this network again."""

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor | None, label: Tensor) -> Tensor:
        """x (N, C, H, W), t (N,) in [0, 1], label (N,) int64 with -1 = no class -> (N, C, H, W)."""
