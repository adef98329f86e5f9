"""Tensors that are equal by content: what a frozen expression may hold."""

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato.errors import UsageError


def digest(x: Tensor) -> str:
    """The sha256 of a tensor's shape and float32 values."""
    flat = x.detach().to("cpu", torch.float32).contiguous()
    return hashlib.sha256(repr(tuple(flat.shape)).encode() + flat.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class HashedTensor:
    """A tensor (1, C, H, W) on the CPU with its sha256: hashable, compared by value."""

    tensor: Tensor = field(compare=False, repr=False)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        held = self.tensor.detach().to("cpu", torch.float32).clone()
        held = held.unsqueeze(0) if held.dim() == 3 else held
        object.__setattr__(self, "tensor", held)
        object.__setattr__(self, "sha256", digest(held))


def one_picture(picture: Tensor) -> HashedTensor:
    """One picture, (C, H, W) or (1, C, H, W), as an expression may hold it."""
    if picture.dim() not in (3, 4) or (picture.dim() == 4 and len(picture) != 1) or not picture.numel():
        raise UsageError(f"a picture has the shape (C, H, W) or (1, C, H, W), not {tuple(picture.shape)}")
    return HashedTensor(picture)
