"""Tensors that are equal by content: what a frozen expression may hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor


def digest(x: Tensor) -> str:
    """The sha256 of a tensor's shape and float32 values."""
    flat = x.detach().to("cpu", torch.float32).contiguous()
    return hashlib.sha256(repr(tuple(flat.shape)).encode() + flat.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Content:
    """A tensor under its digest: hashable, compared by value."""

    tensor: Tensor = field(compare=False, repr=False)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        held = self.tensor.detach().to("cpu", torch.float32).clone()
        held = held.unsqueeze(0) if held.dim() == 3 else held
        object.__setattr__(self, "tensor", held)
        object.__setattr__(self, "sha256", digest(held))
