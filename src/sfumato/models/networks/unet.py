"""The classic UNet: the network of the exercise "diffusion from scratch", built exactly as it is set there.

It works on grey pictures of 28x28 at three sizes (28, 14, 7) and squeezes the smallest into one vector. One
class serves the three tasks of the exercise: a denoiser of one noise level (`timed=False`), time, and time
with class conditioning (`classes=10`).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import UsageError
from sfumato.models.networks.base import Network, labels_or_none
from sfumato.models.runtime.eager import GELU

SIDE = 28  # two halvings and a 7x7 average pool leave exactly one pixel


class Conv(nn.Sequential):
    """3x3 convolution that keeps the size: (N, I, H, W) -> (N, O, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), GELU())


class DownConv(nn.Sequential):
    """3x3 convolution that halves the size: (N, I, H, W) -> (N, O, H/2, W/2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), GELU())


class UpConv(nn.Sequential):
    """4x4 transposed convolution that doubles the size: (N, I, H, W) -> (N, O, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), GELU())


class Flatten(nn.Sequential):
    """Average over 7x7: (N, C, 7, 7) -> (N, C, 1, 1)."""

    def __init__(self) -> None:
        super().__init__(nn.AvgPool2d(7), GELU())


class Unflatten(nn.Sequential):
    """7x7 transposed convolution: (N, C, 1, 1) -> (N, C, 7, 7)."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.ConvTranspose2d(channels, channels, 7, 7, 0), nn.BatchNorm2d(channels), GELU())


class ConvBlock(nn.Sequential):
    """Two convolutions: (N, I, H, W) -> (N, O, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(Conv(inputs, outputs), Conv(outputs, outputs))


class DownBlock(nn.Sequential):
    """(N, I, H, W) -> (N, O, H/2, W/2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(DownConv(inputs, outputs), ConvBlock(outputs, outputs))


class UpBlock(nn.Sequential):
    """(N, I, H, W) -> (N, O, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(UpConv(inputs, outputs), ConvBlock(outputs, outputs))


class FCBlock(nn.Sequential):
    """Two fully connected layers: (N, I) -> (N, O)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Linear(inputs, outputs), GELU(), nn.Linear(outputs, outputs))


class ClassicUNet(Network):
    """The classic UNet.

    hidden   D, the channels at full size; 2D at the smallest
    timed    whether the network takes t; without it there is one fixed noise level and t is ignored
    classes  how many classes it knows, or None: labels are ignored
    """

    kind = "classic"

    def __init__(self, *, hidden: int = 64, timed: bool = True, classes: int | None = None) -> None:
        super().__init__()
        if hidden < 1:
            raise UsageError(f"hidden is {hidden}; give at least 1 channel")
        if classes is not None and (classes < 1 or not timed):
            raise UsageError(f"classes={classes} with timed={timed}; give 1 or more classes, with timed=True")
        self.hidden, self.timed, self.classes = hidden, timed, classes
        d = hidden
        self.stem = ConvBlock(1, d)
        self.down1 = DownBlock(d, d)
        self.down2 = DownBlock(d, 2 * d)
        self.flatten = Flatten()
        self.unflatten = Unflatten(2 * d)
        self.up1 = UpBlock(4 * d, d)
        self.up2 = UpBlock(2 * d, d)
        self.head = ConvBlock(2 * d, d)
        self.out = nn.Conv2d(d, 1, 3, 1, 1)
        if timed:
            self.time1 = FCBlock(1, 2 * d)
            self.time2 = FCBlock(1, d)
        if classes is not None:
            self.class1 = FCBlock(classes, 2 * d)
            self.class2 = FCBlock(classes, d)

    def config(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "timed": self.timed, "classes": self.classes}

    def forward(self, x: Tensor, t: Tensor | None, label: Tensor | None = None) -> Tensor:
        """x (N, 1, 28, 28), t (N,) in [0, 1], label (N,) with -1 = no class -> (N, 1, 28, 28)."""
        if x.shape[1:] != (1, SIDE, SIDE):
            raise UsageError(f"the classic UNet takes (N, 1, {SIDE}, {SIDE}), not {tuple(x.shape)}")
        scale1, scale2, shift1, shift2 = self._condition(t, labels_or_none(label, x))
        full = self.stem(x)  # (N, D, 28, 28)
        half = self.down1(full)  # (N, D, 14, 14)
        quarter = self.down2(half)  # (N, 2D, 7, 7)
        h = self.unflatten(self.flatten(quarter))  # (N, 2D, 7, 7)
        h = scale1 * h + shift1
        h = self.up1(torch.cat([h, quarter], dim=1))  # (N, D, 14, 14)
        h = scale2 * h + shift2
        h = self.up2(torch.cat([h, half], dim=1))  # (N, D, 28, 28)
        h = self.head(torch.cat([h, full], dim=1))  # (N, D, 28, 28)
        out: Tensor = self.out(h)  # (N, 1, 28, 28)
        return out

    def _condition(self, t: Tensor | None, label: Tensor) -> list[Tensor | float]:
        """The class scales and the time shifts of the two places, each (N, C, 1, 1); 1 and 0 where none."""
        scales: list[Tensor | float] = [1.0, 1.0]
        shifts: list[Tensor | float] = [0.0, 0.0]
        if self.timed:
            if t is None:
                raise UsageError("this network was built with timed=True: give it t")
            shifts = [fc(t[:, None])[:, :, None, None] for fc in (self.time1, self.time2)]
        if self.classes is not None:
            hot = one_hot(label, self.classes).to(self.out.weight.dtype)  # (N, classes)
            scales = [fc(hot)[:, :, None, None] for fc in (self.class1, self.class2)]
        return scales + shifts


def one_hot(label: Tensor, classes: int) -> Tensor:
    """(N,) integers in -1..classes-1 -> (N, classes) float32; the row of -1 is zero."""
    return F.one_hot(label + 1, classes + 1)[:, 1:].to(torch.float32)
