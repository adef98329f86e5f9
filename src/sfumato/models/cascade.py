"""A cascade: a model and the stages that make its pictures larger, with one expression through all of them.

Views are fractions of a picture, filters grow with it, so an anagram or a hybrid of 64 pixels is the same one
at 256: every stage evaluates the expression anew, and the views turn its low-resolution picture as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from sfumato.core.crops import Crops
from sfumato.core.expression import Ask, Expression, Guided, unconditional
from sfumato.core.guidance import Scale
from sfumato.core.solvers import Solver
from sfumato.errors import UsageError
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.model import Model, unchanged
from sfumato.models.pretrained.prompts import EncodedPrompts


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How one stage is sampled; None is the default of its model.

    low_t: the time up to which the picture of the stage before is noised, in (0, 1].
    """

    steps: int | None = None
    solver: str | Solver | None = None
    spacing: str | None = None
    until: float | None = None
    guidance: Scale | None = None
    low_t: float | None = None


class Cascade:
    """A model of small pictures, and stages that each make them larger."""

    def __init__(self, first: Model, *larger: Model, one_at_a_time: bool = False) -> None:
        """Each stage makes larger pictures than the one before; else UsageError.

        One without a text encoder of its own uses that of the first model, where it takes the same texts.
        one_at_a_time: a stage's network leaves the memory before the next one comes.
        """
        if first.low_resolution is not None:
            raise UsageError(
                f"{first.name} makes pictures larger: a cascade begins with a model that makes some"
            )
        self.one_at_a_time = one_at_a_time
        self.stages: tuple[Model, ...] = (first,)
        for stage in larger:
            fitted = stage.fitting(self.sizes[-1])
            texts, own = first.conditioner, fitted.conditioner
            if isinstance(texts, EncodedPrompts) and isinstance(own, EncodedPrompts):
                own.embeddings.borrow(texts.embeddings)
            self.stages += (fitted,)
        if self.sizes != sorted(set(self.sizes)):
            raise UsageError(f"the stages of a cascade grow; these make pictures of {self.sizes} pixels")

    def __repr__(self) -> str:
        names = " -> ".join(f"{stage.name} ({stage.shape[1]})" for stage in self.stages)
        return f"<Cascade {names}>"

    @property
    def name(self) -> str:
        """What the first model is called."""
        return self.stages[0].name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that the first model knows."""
        return self.stages[0].class_names

    @property
    def sha256(self) -> str | None:
        """Of the first model's weights."""
        return self.stages[0].sha256

    @property
    def defaults(self) -> SamplingDefaults:
        """Those of the first stage, whose settings are those of a run."""
        return self.stages[0].defaults

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the pictures that the last stage makes."""
        return self.stages[-1].shape

    @property
    def sizes(self) -> list[int]:
        """The heights that the stages make, the smallest first."""
        return [stage.shape[1] for stage in self.stages]

    def up_to(self, height: int) -> Cascade:
        """The stages up to this height; UsageError where none makes it."""
        if height not in self.sizes:
            raise UsageError(f"this cascade makes {', '.join(map(str, self.sizes))} pixels, not {height}")
        stages = self.stages[: self.sizes.index(height) + 1]
        return Cascade(*stages, one_at_a_time=self.one_at_a_time)

    def fitting(self, side: int) -> Cascade:
        """As `Model.fitting` of the first stage, which takes no picture: UsageError."""
        return Cascade(self.stages[0].fitting(side), *self.stages[1:], one_at_a_time=self.one_at_a_time)


# What makes pictures: both have `stages` (of a model itself alone), `one_at_a_time`, `up_to` and `fitting`.
Stages = Model | Cascade


def without_conditions(e: Expression) -> Expression:
    """An expression as a stage is asked it whose network takes no conditions: its picture has the readings.

    Guidance has nothing to push away from, and crops are the network's own affair.
    """
    if isinstance(e, Guided | Crops):
        return without_conditions(e.child)
    if isinstance(e, Ask):
        return unconditional()
    return e.with_children([without_conditions(child) for child in e.children])


def size_made(model: Model, first: Model, size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of what a stage makes of a canvas of the first stage, which has this size."""
    (_, height, width), (_, h, w) = model.shape, first.shape
    if model is first or model.any_size:
        return size[0] * height // h, size[1] * width // w
    return height, width


def stage_name(i: int) -> str:
    """What the expression of stage i, counted from 0, calls its network; the first has no name."""
    return f"stage {i}"


def postprocess_of(stages: Sequence[Model]) -> Callable[[Tensor], Tensor]:
    """What is done to the pictures that leave: that of the last stage that has something to do, once.

    A stage without it leaves it to those before.
    """
    own = [stage.postprocess for stage in stages if stage.postprocess is not unchanged]
    return own[-1] if own else unchanged
