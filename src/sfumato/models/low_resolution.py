"""Models that make a picture larger: what their network is given of the low-resolution picture.

Each part noises the picture as its network was trained to see it (Ho et al. 2022, Cascaded Diffusion Models,
sec. 4.2: conditioning augmentation). Noise is drawn in the order of diffusers' own pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

from torch import Tensor
from torch.nn.functional import interpolate

from sfumato.core.frame import LowResolution
from sfumato.core.noise import Noise
from sfumato.core.prediction import add_noise
from sfumato.core.schedule import Schedule
from sfumato.errors import UsageError

Shape = tuple[int, int, int]


class LowResolutionInput(Protocol):
    """What a network that upscales takes beside x."""

    @property
    def schedule(self) -> Schedule:
        """The schedule of the low-resolution picture's noise."""

    @property
    def t(self) -> float:
        """The time, in that schedule, up to which it is noised by default."""

    @property
    def state_shape(self) -> Shape:
        """(C, h, w) of what the network makes."""

    def start(self, low: Tensor, noise: Noise, t: float | None) -> tuple[Tensor, LowResolution]:
        """The first state (B, C, h, w), and low-resolution pictures (B, C, h, w) in [-1, 1] noised up to t.

        Raises:
            UsageError: pictures of another size than the network takes.
        """

    def fitting(self, side: int) -> Self:
        """This part for low-resolution pictures of side x side pixels."""


@dataclass(frozen=True, kw_only=True)
class EnlargedPicture:
    """The low-resolution picture is enlarged to the size of x, then noised: a network of pixels."""

    schedule: Schedule
    t: float
    state_shape: Shape

    def start(self, low: Tensor, noise: Noise, t: float | None) -> tuple[Tensor, LowResolution]:
        """As `LowResolutionInput.start`."""
        if low.shape[1] != self.state_shape[0]:
            raise UsageError(
                f"the model upscales pictures of {self.state_shape[0]} channels, not {low.shape[1]}"
            )
        x = noise.of_shape(self.state_shape).draw()
        large = interpolate(low, self.state_shape[1:], mode="bilinear", align_corners=True)
        return x, _noised(large, noise, self.schedule, self.t if t is None else t)

    def fitting(self, side: int) -> Self:  # noqa: ARG002
        """As `LowResolutionInput.fitting`: any picture is enlarged to the one size."""
        return self


@dataclass(frozen=True, kw_only=True)
class PictureOfLatentSize:
    """The low-resolution picture is as large as the latents that the network makes: a network of latents."""

    schedule: Schedule
    t: float
    channels: int  #      of the low-resolution picture
    state_shape: Shape

    def start(self, low: Tensor, noise: Noise, t: float | None) -> tuple[Tensor, LowResolution]:
        """As `LowResolutionInput.start`."""
        _, height, width = self.state_shape
        if low.shape[1:] != (self.channels, height, width):
            raise UsageError(
                f"the model upscales pictures of {width} x {height} pixels, "
                f"not {low.shape[3]} x {low.shape[2]}"
            )
        noised = _noised(low, noise, self.schedule, self.t if t is None else t)
        return noise.of_shape(self.state_shape).draw(), noised

    def fitting(self, side: int) -> Self:
        """As `LowResolutionInput.fitting`: the latents are of the picture's size."""
        return replace(self, state_shape=(self.state_shape[0], side, side))


def _noised(low: Tensor, noise: Noise, schedule: Schedule, t: float) -> LowResolution:
    """Pictures noised up to t with one draw of their own shape."""
    level = schedule.level(t)
    _, channels, height, width = low.shape
    drawn = noise.of_shape((channels, height, width)).draw()
    return LowResolution(picture=add_noise(low.to(drawn.device), drawn, level.alpha, level.sigma), t=level.t)
