"""A cascade: a model and the stages that make its pictures larger, with one expression through all of them.

Views are fractions of a picture, filters grow with it, so an anagram or a hybrid of 64 pixels is the same one
at 256: every stage asks the expression anew, and the views turn its low-resolution picture as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sfumato.core.engine import Denoiser
from sfumato.core.guidance import Scale
from sfumato.core.solvers import Solver
from sfumato.errors import UsageError
from sfumato.models.model import Model
from sfumato.models.pretrained.text import TextModel
from sfumato.models.pretrained.upscaling import UpscalingModel, upscaler


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How one stage is sampled; None is the default of its model.

    low_t: the time up to which the picture of the stage before is noised, in (0, 1].
    """

    steps: int | None = None
    solver: str | Solver | None = None
    spacing: str | None = None
    guidance: Scale | None = None
    low_t: float | None = None


class Cascade:
    """A model of small pictures, and stages that each make them larger."""

    def __init__(self, first: Model, *stages: Model, one_at_a_time: bool = False) -> None:
        """Each stage makes larger pictures than the one before; else UsageError.

        One without a text encoder of its own uses that of the first model, where it takes the same texts.
        one_at_a_time: a stage's network leaves the memory before the next one comes.
        """
        if isinstance(first, UpscalingModel):
            raise UsageError(
                f"{first.name} makes pictures larger: a cascade begins with a model that makes some"
            )
        self.first = first
        self.one_at_a_time = one_at_a_time
        self.stages: list[UpscalingModel] = []
        for stage in stages:
            larger = upscaler(stage)
            if isinstance(first, TextModel):
                larger.embeddings.borrow(first.embeddings)
            self.stages.append(larger.fitting(self.sizes[-1]))
        if self.sizes != sorted(set(self.sizes)):
            raise UsageError(f"the stages of a cascade grow; these make pictures of {self.sizes} pixels")

    @property
    def models(self) -> list[Model]:
        """The model of every stage, the smallest first."""
        return [self.first, *self.stages]

    @property
    def sizes(self) -> list[int]:
        """The heights that the stages make, the smallest first."""
        return [model.shape[1] for model in self.models]

    def up_to(self, size: int) -> Cascade:
        """The stages up to this height; UsageError where none makes it."""
        if size not in self.sizes:
            raise UsageError(f"this cascade makes {', '.join(map(str, self.sizes))} pixels, not {size}")
        stages = self.stages[: self.sizes.index(size)]
        return Cascade(self.first, *stages, one_at_a_time=self.one_at_a_time)


def stage_name(i: int) -> str:
    """What the expression of stage i, counted from 1, calls its network."""
    return f"stage {i}"


def networks_of(model: Model | Cascade) -> Mapping[str, Denoiser]:
    """The networks that an engine needs beside the first model."""
    stages = model.stages if isinstance(model, Cascade) else ()
    return {stage_name(i): stage for i, stage in enumerate(stages, start=1)}


def first_of(model: Model | Cascade) -> Model:
    """The model that makes the smallest pictures."""
    return model.first if isinstance(model, Cascade) else model
