"""Data sets, which lie in memory as bytes.

Contract: pictures are uint8 (N, C, H, W) at rest and float32 in [-1, 1] wherever mathematics is done
(`to_house_range`); labels are int64 (N,) class indices.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.models.networks.base import Network

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]  # x (B, C, H, W), t (B,), condition (B,) -> like x


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled pictures in memory: `pictures` uint8 (N, C, H, W), `labels` int64 (N,)."""

    name: str
    pictures: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.pictures)
        if self.pictures.ndim != 4 or self.pictures.dtype != torch.uint8:
            raise UsageError(
                f"{self.name}: pictures must be uint8 (N, C, H, W), not {_describe(self.pictures)}"
            )
        if self.labels.shape != (count,) or self.labels.dtype != torch.int64:
            raise UsageError(f"{self.name}: labels must be int64 ({count},), not {_describe(self.labels)}")
        if count == 0:
            raise UsageError(f"{self.name}: no pictures")
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise UsageError(f"{self.name}: labels must lie in 0..{len(self.classes) - 1}")

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one picture."""
        channels, height, width = self.pictures.shape[1:]
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of pictures and labels; a checkpoint records it to recognise its data."""
        return digest_of(self.pictures, self.labels, text=repr(tuple(self.pictures.shape)))

    @property
    def per_epoch(self) -> int:
        """How many pictures one epoch shows."""
        return len(self)

    def order(self, generator: torch.Generator) -> Tensor:
        """Which pictures (per_epoch,) an epoch shows, in its order."""
        return torch.randperm(len(self), generator=generator)

    def shown(self, x0: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
        """Pictures x0 (B, C, H, W) in [-1, 1] as they are shown under their conditions (B,)."""
        return x0

    def conditions(self, rows: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """The condition of the pictures `rows` (B,): a number each, (B,) int64, for `conditioned_forward`."""
        return self.labels[rows]

    def conditioned_forward(self, network: Forward) -> Forward:
        """The network as a function of such numbers, DROPPED (-1) for no condition; here the same network."""
        return network

    def initialise_from_data(self, network: Network) -> None:
        """Writes into a new network what it may know of the data before it learns; here nothing."""

    @property
    def known(self) -> dict[str, Any]:
        """What a model keeps of the data in its provenance, JSON-able; here nothing."""
        return {}

    def first(self, count: int) -> Self:
        """A data set of the first `count` pictures."""
        if not 1 <= count <= len(self):
            raise UsageError(f"{self.name}: a limit of {count} pictures is not within 1..{len(self)}")
        return self._cut(count)

    def _cut(self, count: int) -> Self:
        return replace(self, pictures=self.pictures[:count], labels=self.labels[:count])


def digest_of(*tensors: Tensor, text: str) -> str:
    """sha256 of a text and the bytes of tensors."""
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def to_house_range(pictures: Tensor) -> Tensor:
    """Bytes 0..255 to float32 in [-1, 1]: 0 is -1, 255 is +1."""
    return pictures.to(torch.float32).div_(127.5).sub_(1.0)


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
