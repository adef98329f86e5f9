"""The UNet that makes a picture four times as large, from a low-resolution picture and noise.

Most of its work is done at the size of the low-resolution picture; little at full size, where one pass over
memory costs as much as a convolution. Nothing in it normalises over positions, so that it does to a whole
picture what it learned on crops (Lim et al. 2017, EDSR, sec. 3.1, leave normalisation out likewise).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.core.frame import LowResolution
from sfumato.errors import UsageError
from sfumato.models.networks.base import Network
from sfumato.models.networks.residual import TimeEmbedding, zeroed

EMBEDDING = 128
MULTIPLE = 8  # the sides of a picture are multiples of it


class LocalBlock(nn.Module):
    """x + conv(silu(modulated(conv(silu(x))))), without normalisation; the identity when new."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.project = zeroed(nn.Linear(EMBEDDING, 2 * channels))
        self.conv2 = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """x (N, C, H, W), e (N, EMBEDDING) -> (N, C, H, W)."""
        scale, shift = self.project(e)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(x)) * (1 + scale) + shift
        out: Tensor = x + self.conv2(F.silu(h))
        return out


class UpscalingUNet(Network):
    """Predicts a change of the enlarged low-resolution picture; it takes no other condition.

    side     of the picture that it makes, in pixels, a multiple of 8
    widths   channels at full, half, quarter and eighth size; quarter size is that of the low picture
    blocks   residual blocks at half size (on each of the two sides), quarter (likewise) and eighth size
    low_t    the time to which the low picture is noised by default, on the flow schedule
    """

    kind = "upscaling"
    timed = True
    classes = None

    def __init__(
        self,
        *,
        side: int = 256,
        channels: int = 3,
        widths: tuple[int, int, int, int] = (16, 48, 112, 112),
        blocks: tuple[int, int, int] = (1, 2, 2),
        low_t: float = 0.02,
    ) -> None:
        super().__init__()
        if side % MULTIPLE or side < MULTIPLE:
            raise UsageError(f"side is {side}; give a multiple of {MULTIPLE}")
        if min(*widths, *blocks) < 1:
            raise UsageError(f"widths {widths} and blocks {blocks}: give numbers of at least 1")
        self._config = {
            "side": side,
            "channels": channels,
            "widths": list(widths),
            "blocks": list(blocks),
            "low_t": low_t,
        }
        self.low_t = low_t
        full, half, quarter, eighth = widths
        self.time, self.noised = TimeEmbedding(EMBEDDING), TimeEmbedding(EMBEDDING)
        self.stem = nn.Conv2d(2 * channels, full, 3, padding=1)
        self.down1 = nn.Conv2d(4 * full, half, 1)
        self.before1 = _blocks(half, blocks[0])
        self.down2 = nn.Conv2d(4 * half, quarter, 1)
        self.before2 = _blocks(quarter, blocks[1])
        self.down3 = nn.Conv2d(4 * quarter, eighth, 1)
        self.middle = _blocks(eighth, blocks[2])
        self.up3 = nn.Conv2d(eighth, 4 * quarter, 1)
        self.after2 = _blocks(quarter, blocks[1])
        self.up2 = nn.Conv2d(quarter, 4 * half, 1)
        self.after1 = _blocks(half, blocks[0])
        self.up1 = nn.Conv2d(half, 4 * full, 1)
        self.inner = nn.Conv2d(full, full, 3, padding=1)
        self.out = zeroed(nn.Conv2d(full, channels, 3, padding=1))

    def config(self) -> dict[str, Any]:
        """The arguments that build this network again."""
        return dict(self._config)

    def forward(self, x: Tensor, t: Tensor | None, low: LowResolution) -> Tensor:  # type: ignore[override]
        """x (N, C, S, S), t (N,) in [0, 1], low of N rows and their times -> x0 (N, C, S, S)."""
        if t is None:
            raise UsageError("the upscaling UNet takes a time: give it t")
        low_t = torch.as_tensor(low.t, device=x.device, dtype=t.dtype).expand(len(x))
        e = F.silu(self.time(t) + self.noised(low_t))  # (N, E)
        full = self.stem(torch.cat([x, low.picture], dim=1))  # (N, W0, S, S)
        half = _through(self.before1, self.down1(F.pixel_unshuffle(full, 2)), e)
        quarter = _through(self.before2, self.down2(F.pixel_unshuffle(half, 2)), e)
        h = _through(self.middle, self.down3(F.pixel_unshuffle(quarter, 2)), e)
        h = _through(self.after2, quarter + F.pixel_shuffle(self.up3(h), 2), e)
        h = _through(self.after1, half + F.pixel_shuffle(self.up2(h), 2), e)
        h = full + F.pixel_shuffle(self.up1(h), 2)
        change: Tensor = self.out(F.silu(self.inner(F.silu(h))))
        return low.picture + change


def _blocks(channels: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(LocalBlock(channels) for _ in range(count))


def _through(blocks: nn.ModuleList, x: Tensor, e: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, e)
    return x
