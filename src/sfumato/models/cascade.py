"""A cascade: a model and the stages that make its pictures larger, with one expression through all of them.

Views are fractions of a picture, filters grow with it, so an anagram or a hybrid of 64 pixels is the same one
at 256: every stage asks the expression anew, and the views turn its low-resolution picture as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.core.engine import Engine
from sfumato.core.expression import Expression, as_expression
from sfumato.core.guidance import Scale
from sfumato.core.invariant import check_whole
from sfumato.core.noise import Noise
from sfumato.core.path import make_path
from sfumato.core.sampler import OnStep, sampler
from sfumato.core.solvers import make_solver
from sfumato.errors import UsageError
from sfumato.models.model import Model
from sfumato.models.pretrained.text import TextModel
from sfumato.models.pretrained.upscaling import UpscalingModel


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How one stage is sampled; None is the default of its model.

    low_t: the time up to which the low-resolution picture is noised, in (0, 1]; for stages that upscale.
    """

    steps: int | None = None
    solver: str | None = None
    spacing: str | None = None
    guidance: float | Scale | None = None
    low_t: float | None = None


class Cascade:
    """A model of small pictures, and stages that each make them larger."""

    def __init__(self, first: Model, *stages: UpscalingModel) -> None:
        """Each stage makes larger pictures than the one before; else UsageError."""
        if isinstance(first, UpscalingModel):
            raise UsageError(
                f"{first.name} makes pictures larger: a cascade begins with a model that makes some"
            )
        self.first = first
        self.stages: list[UpscalingModel] = []
        for stage in stages:
            self.stages.append(stage.fitting(self.sizes[-1]))
        if self.sizes != sorted(set(self.sizes)):
            raise UsageError(f"the stages of a cascade grow; these make pictures of {self.sizes} pixels")

    @property
    def sizes(self) -> list[int]:
        """The heights that the stages make, the smallest first."""
        return [self.first.shape[1], *(stage.shape[1] for stage in self.stages)]

    def run(
        self,
        what: Expression | str,
        noise: Noise,
        *,
        size: int | None = None,
        settings: Sequence[StageSettings] = (),
        one_at_a_time: bool = False,
        on_step: OnStep | None = None,
        max_rows: int = 64,
    ) -> list[Tensor]:
        """The pictures of every stage up to the height `size`, each (B, C, H, W) in [-1, 1] on the CPU.

        noise: of any shape; every stage draws from the same generators on, as from a torch.Generator that is
        handed from pipeline to pipeline in diffusers. settings: one for each stage, in order.
        one_at_a_time: a stage's network leaves the memory before the next one comes.
        """
        if size is not None and size not in self.sizes:
            raise UsageError(f"this cascade makes {', '.join(map(str, self.sizes))} pixels, not {size}")
        count = len(self.sizes) if size is None else self.sizes.index(size) + 1
        if len(settings) > count:
            raise UsageError(f"{len(settings)} settings for {count} stages")
        chosen = [*settings, *[StageSettings()] * (count - len(settings))]
        pictures = [stage_pictures(self.first, what, noise, chosen[0], on_step=on_step, max_rows=max_rows)]
        done: Model = self.first
        for stage, setting in zip(self.stages[: count - 1], chosen[1:], strict=True):
            if one_at_a_time and isinstance(done, TextModel):
                done.unet.unload()
            larger = upscaled(
                stage,
                what,
                pictures[-1],
                noise,
                setting,
                on_step=on_step,
                max_rows=max_rows,
            )
            pictures.append(larger)
            done = stage
        return pictures


def upscaled(
    model: UpscalingModel,
    what: Expression | str,
    low: Tensor,
    noise: Noise,
    settings: StageSettings | None = None,
    *,
    on_step: OnStep | None = None,
    max_rows: int = 64,
) -> Tensor:
    """Pictures (B, C, h, w) in [-1, 1] made larger under an expression: (B, C, H, W) on the CPU.

    noise: of any shape; what is drawn when follows diffusers (UpscalingModel.start).
    """
    fitted = model.fitting(low.shape[-1])
    return stage_pictures(fitted, what, noise, settings, low=low, on_step=on_step, max_rows=max_rows)


def stage_pictures(
    model: Model,
    what: Expression | str,
    noise: Noise,
    settings: StageSettings | None = None,
    *,
    low: Tensor | None = None,
    on_step: OnStep | None = None,
    max_rows: int = 64,
) -> Tensor:
    """The pictures of one stage; `low` is what a stage that upscales makes larger."""
    settings = settings or StageSettings()
    defaults = model.defaults
    e = defaults.dressed(as_expression(what), guidance=settings.guidance)
    model.check(e)
    check_whole(e, model.state_shape, native=model.state_shape[1:])
    model.prepare(e)
    path = make_path(model.schedule, settings.steps or defaults.steps, settings.spacing or defaults.spacing)
    noise = noise.of_shape(model.state_shape)
    beside = None
    if isinstance(model, UpscalingModel):
        if low is None:
            raise UsageError(f"{model.name} makes pictures larger: give it one")
        x, beside = model.start(low, noise, settings.low_t)
    else:
        x = noise.draw()
    asking = sampler(
        e,
        x=x,
        path=path,
        schedule=model.schedule,
        solver=make_solver(
            settings.solver or defaults.solver, **defaults.solver_options(settings.solver, None)
        ),
        draw=noise.draw,
        native=model.state_shape[1:],
        beside=beside,
        on_step=on_step,
    )
    with torch.inference_mode():
        (made,) = Engine(model, max_rows=max_rows).run(asking)
        made = model.decode(made)
    return made.clamp(-1, 1).float().cpu()
