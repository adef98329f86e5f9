"""The modern UNet: residual blocks with normalisation, modulated by time and class, on folded pixels.

It is built for few arithmetic operations on a CPU: the picture is folded by two (28x28x1 becomes 14x14x4),
all work happens at 14 and 7, the two are joined by addition, and 3x3 convolutions do most of it.
Sources: the folding and the modulated residual block that starts as the identity are those of DiT
(Peebles and Xie 2023, adaLN-Zero) and ADM (Dhariwal and Nichol 2021, section 3.2).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import UsageError
from sfumato.models.networks.base import Network, labels_or_none

GROUP = 16  # channels per normalisation group
HEAD = 32  # channels per attention head
FREQUENCIES = 32


def zeroed(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """The layer, new, answering zeros: what it is added to stays as it is until it has learned."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Modulated(nn.Module):
    """GroupNorm whose scale and shift come from the embedding (N, E): (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(channels // GROUP, channels, affine=False)
        self.project = zeroed(nn.Linear(embedding, 2 * channels))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.project(e)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = self.norm(x) * (1 + scale) + shift
        return out


class ResidualBlock(nn.Module):
    """x + conv(silu(modulated(conv(silu(norm(x)))))); the identity when new."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(channels // GROUP, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulated = Modulated(channels, embedding)
        self.conv2 = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm(x)))
        out: Tensor = x + self.conv2(F.silu(self.modulated(h, e)))
        return out


class Attention(nn.Module):
    """x + self-attention over all positions; the identity when new."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(channels // GROUP, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).flatten(2).reshape(n, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(1)  # each (N, heads, HW, C/heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.out(mixed.transpose(-1, -2).reshape(n, c, h, w))
        return out


class TimeEmbedding(nn.Module):
    """t (N,) in [0, 1] -> (N, E), through cosines and sines of geometric frequencies."""

    frequencies: Tensor

    def __init__(self, embedding: int) -> None:
        super().__init__()
        octaves = torch.linspace(-1, 5, FREQUENCIES)  # half a turn to 32 turns over [0, 1]
        self.register_buffer("frequencies", 2 * math.pi * 2**octaves, persistent=False)
        self.inner = nn.Linear(2 * FREQUENCIES, embedding)
        self.outer = nn.Linear(embedding, embedding)

    def forward(self, t: Tensor) -> Tensor:
        angle = t[:, None] * self.frequencies  # (N, F)
        waves = torch.cat([angle.cos(), angle.sin()], dim=1)  # (N, 2F)
        out: Tensor = self.outer(F.silu(self.inner(waves)))
        return out


class ResidualUNet(Network):
    """The modern UNet.

    channels  of the picture (1 grey, 3 RGB)
    side      of the picture in pixels, a multiple of 4
    width     channels at half size, a multiple of 16; the quarter size has `deep` channels, a multiple of 32
    blocks    residual blocks at half size, on each of the two sides
    middle    residual blocks at quarter size, each but the last followed by attention
    classes   how many classes it knows, or None
    """

    kind = "residual"
    timed = True

    def __init__(
        self,
        *,
        channels: int = 1,
        side: int = 28,
        width: int = 48,
        deep: int = 96,
        blocks: int = 1,
        middle: int = 3,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        if width % GROUP or deep % HEAD or width < 1 or deep < 1:
            raise UsageError(f"width {width} must be a multiple of {GROUP}, deep {deep} of {HEAD}")
        if side % 4 or side < 4:
            raise UsageError(f"side is {side}; give a multiple of 4")
        self._config = {
            "channels": channels,
            "side": side,
            "width": width,
            "deep": deep,
            "blocks": blocks,
            "middle": middle,
            "classes": classes,
        }
        self.classes = classes
        embedding = 2 * deep
        self.time = TimeEmbedding(embedding)
        self.label = nn.Embedding((classes or 0) + 1, embedding)  # row 0 is "no class"
        self.stem = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.before = nn.ModuleList(ResidualBlock(width, embedding) for _ in range(blocks))
        self.down = nn.Conv2d(4 * width, deep, 1)
        self.middle = nn.ModuleList(ResidualBlock(deep, embedding) for _ in range(middle))
        self.attention = nn.ModuleList(Attention(deep, deep // HEAD) for _ in range(middle - 1))
        self.up = nn.Conv2d(deep, 4 * width, 1)
        self.after = nn.ModuleList(ResidualBlock(width, embedding) for _ in range(blocks))
        self.norm = nn.GroupNorm(width // GROUP, width)
        self.out = zeroed(nn.Conv2d(width, 4 * channels, 3, padding=1))

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def forward(self, x: Tensor, t: Tensor | None, label: Tensor | None = None) -> Tensor:
        """x (N, C, S, S), t (N,) in [0, 1], label (N,) with -1 = no class -> (N, C, S, S)."""
        if t is None:
            raise UsageError("the residual UNet takes a time: give it t")
        e = F.silu(self.time(t) + self.label(labels_or_none(label, x) + 1))  # (N, E)
        h = self.stem(F.pixel_unshuffle(x, 2))  # (N, W, S/2, S/2)
        for block in self.before:
            h = block(h, e)
        half = h
        h = self.down(F.pixel_unshuffle(h, 2))  # (N, D, S/4, S/4)
        for i, block in enumerate(self.middle):
            h = block(h, e)
            if i < len(self.attention):
                h = self.attention[i](h)
        h = half + F.pixel_shuffle(self.up(h), 2)  # (N, W, S/2, S/2)
        for block in self.after:
            h = block(h, e)
        return F.pixel_shuffle(self.out(F.silu(self.norm(h))), 2)  # (N, C, S, S)
