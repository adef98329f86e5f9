"""Networks that make a picture larger: what they are shown beside the state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from sfumato.core.crops import Crops
from sfumato.core.expression import Expression
from sfumato.core.frame import Condition, LowResolution
from sfumato.core.noise import Noise
from sfumato.core.prediction import Estimate, add_noise
from sfumato.core.schedule import BetaTable
from sfumato.errors import UsageError
from sfumato.models.model import Model
from sfumato.models.pretrained.text import TextModel


class UpscalingModel(TextModel):
    """A model that makes pictures larger: it is asked through `denoise_beside` (engine.Upscaler).

    low_schedule: the schedule of the low-resolution picture's noise. low_t: how far it is noised by default.
    """

    low_schedule: BetaTable
    low_t: float

    @abstractmethod
    def start(self, low: Tensor, noise: Noise, t: float | None) -> tuple[Tensor, LowResolution]:
        """The first state (B, C, H, W), and low-resolution pictures (B, 3, h, w) in [-1, 1] noised up to t.

        Both are drawn here, in the order of diffusers' own pipeline.
        """

    def check(self, e: Expression) -> None:
        """Refuse, with the reason, windows: they would have to be cut of both pictures; UsageError."""
        super().check(e)
        if any(isinstance(node, Crops) for node in e.walk()):
            raise UsageError("crops do not go with upscaling: upscale a picture of the network's own size")

    def fitting(self, side: int) -> UpscalingModel:  # noqa: ARG002
        """This model for low-resolution pictures of side x side pixels."""
        return self

    def denoise(
        self, x: Tensor, t: Tensor, conditions: Sequence[Condition], low: LowResolution | None = None
    ) -> Estimate:
        """The estimate of x0 from x (N, C, H, W) at t (N,), beside pictures noised to picture_t (N,)."""
        if low is None:
            raise UsageError(f"{self.name} makes pictures larger: give it one, or use it in a cascade")
        picture, picture_t = low.picture, low.t
        assert isinstance(picture_t, Tensor)
        n = (picture_t.double() * self.low_schedule.timesteps - 1).round().long()

        def answer(x: Tensor) -> Tensor:
            both = torch.cat([x, picture], dim=1)  #                        (N, C + 3, H, W)
            return self._answer(both, t, conditions, n)

        return self._estimate(x, t, answer)

    def answer(self, x: Tensor, t: Tensor, conditions: Sequence[Condition]) -> Tensor:  # noqa: ARG002
        raise UsageError(f"{self.name} makes pictures larger: give it one, or use it in a cascade")

    def _noised(self, low: Tensor, noise: Noise, t: float | None) -> LowResolution:
        """Pictures noised up to t with one draw of their own shape."""
        level = self.low_schedule.level(self.low_t if t is None else t)
        _, channels, height, width = low.shape
        drawn = noise.of_shape((channels, height, width)).draw()
        return LowResolution(
            picture=add_noise(low.to(self.device), drawn, level.alpha, level.sigma), t=level.t
        )


def upscaler(model: Model) -> UpscalingModel:
    """The model as one that makes pictures larger; UsageError where it is none."""
    if not isinstance(model, UpscalingModel):
        raise UsageError(f"{model.name} makes pictures of its own, it does not make them larger")
    return model
