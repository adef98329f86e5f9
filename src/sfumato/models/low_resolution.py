"""Models that make a picture larger: what their network is given of the low-resolution picture.

Each part noises the picture as its network was trained to see it (Ho et al. 2022, Cascaded Diffusion Models,
sec. 4.2: conditioning augmentation). Noise is drawn in the order of diffusers' own pipelines.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor
from torch.nn.functional import interpolate

from sfumato.core.frame import LowResolution
from sfumato.core.noise import Noise
from sfumato.core.prediction import add_noise
from sfumato.core.schedule import Schedule
from sfumato.errors import UsageError
from sfumato.models.codec import Shape


@dataclass(frozen=True, kw_only=True)
class LowResolutionInput(ABC):
    """What a network that upscales takes beside x.

    schedule     of the low-resolution picture's noise
    t            the time, in that schedule, up to which it is noised by default
    state_shape  (C, h, w) of what the network makes
    any_size     the network makes pictures of other sizes as well, as a canvas of crops asks for
    """

    schedule: Schedule
    t: float
    state_shape: Shape
    any_size: bool = False

    @abstractmethod
    def start(self, low: Tensor, noise: Noise, t: float | None) -> tuple[Tensor, LowResolution]:
        """The first state (B, C, h, w), and low-resolution pictures (B, C, h, w) in [-1, 1] noised up to t.

        Raises:
            UsageError: pictures of another size than the network takes.
        """

    def fitting(self, side: int) -> Self:  # noqa: ARG002
        """This part for low-resolution pictures of side x side pixels; by default it takes all sizes."""
        return self

    def _noised(self, low: Tensor, noise: Noise, t: float | None) -> LowResolution:
        """Pictures noised up to t with one draw of their own shape."""
        level = self.schedule.level(self.t if t is None else t)
        _, channels, height, width = low.shape
        drawn = noise.of_shape((channels, height, width)).draw()
        picture = add_noise(low.to(drawn.device), drawn, level.alpha, level.sigma)
        return LowResolution(picture=picture, t=level.t)


def enlarged(low: Tensor, size: Sequence[int]) -> Tensor:
    """Pictures (N, C, h, w) at the size (H, W) of what a network of pixels makes of them."""
    return interpolate(low, tuple(size), mode="bilinear", align_corners=True)


class EnlargedPicture(LowResolutionInput):
    """The low-resolution picture is enlarged to the size of x, then noised: a network of pixels."""

    def start(self, low: Tensor, noise: Noise, t: float | None) -> tuple[Tensor, LowResolution]:
        channels, *size = noise.shape if self.any_size else self.state_shape
        if low.shape[1] != channels:
            raise UsageError(f"the model upscales pictures of {channels} channels, not {low.shape[1]}")
        x = noise.of_shape((channels, size[0], size[1])).draw()
        return x, self._noised(enlarged(low, size), noise, t)


@dataclass(frozen=True, kw_only=True)
class PictureOfLatentSize(LowResolutionInput):
    """The low-resolution picture is as large as the latents that the network makes: a network of latents."""

    channels: int  # of the low-resolution picture

    def start(self, low: Tensor, noise: Noise, t: float | None) -> tuple[Tensor, LowResolution]:
        _, height, width = self.state_shape
        if low.shape[1:] != (self.channels, height, width):
            raise UsageError(
                f"the model upscales pictures of {width} x {height} pixels, "
                f"not {low.shape[3]} x {low.shape[2]}"
            )
        noised = self._noised(low, noise, t)
        return noise.of_shape(self.state_shape).draw(), noised

    def fitting(self, side: int) -> Self:
        return replace(self, state_shape=(self.state_shape[0], side, side))
