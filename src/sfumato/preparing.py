"""A recipe becomes a sampler: checked, its texts encoded, ready for an engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from sfumato.core.crops import Crops
from sfumato.core.engine import Asking
from sfumato.core.expression import Ask, Expression
from sfumato.core.filters import Mask
from sfumato.core.frame import Beside
from sfumato.core.noise import Noise
from sfumato.core.notation import Inputs, from_json, input_picture
from sfumato.core.path import make_path, zigzag
from sfumato.core.prediction import add_noise
from sfumato.core.sampler import Draw, KnownRegion, OnStep, Step, sampler
from sfumato.core.solvers import Solver, make_solver
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.cascade import Stages, postprocess_of, stage_name
from sfumato.models.model import Model
from sfumato.recipe import Recipe, Stage

BLACK = -0.999  # a picture whose values are all below


def prepare(recipe: Recipe, model: Stages, inputs: Inputs, *, on_step: OnStep | None = None) -> Asking:
    """The sampler of a recipe, checked and ready for an engine; UsageError before the first step.

    The engine asks the first model; those of further stages are asked by the names of `networks_of`.
    """
    models = _models(recipe, model, inputs)
    path = make_path(models[0].schedule, recipe.steps, spacing=recipe.spacing, strength=recipe.strength)
    if recipe.repeats > 1:
        path = zigzag(path, jump=recipe.jump, repeats=recipe.repeats)
    first = _ready(recipe, models[0], path, inputs)
    larger = []
    for i, (stage, own) in enumerate(zip(recipe.stages, models[1:], strict=True), start=1):
        ready = _ready(stage, own, make_path(own.schedule, stage.steps, spacing=stage.spacing), inputs)
        larger.append(replace(ready, expression=_asking_of(ready.expression, stage_name(i))))
    for ready in (first, *larger):
        ready.model.plan_rows(ready.steps * recipe.count)
    noise = Noise(recipe.seeds, first.model.state_shape_for(recipe.size), first.model.device)
    kept = _kept(recipe, first.model, inputs)
    if recipe.low is None:
        x, beside = _start(recipe, first, inputs, noise.draw), None
    else:
        x, beside = first.larger(_low(recipe, first.model, inputs), noise)
    watch = _Watch(on_step, sum(stage.steps for stage in (first, *larger)))
    small = first.asking(x, noise.draw, beside=beside, kept=kept, on_step=watch.of(first))
    return _through(small, [first, *larger], noise, watch, unload=model.one_at_a_time)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    """The known region of an inpainting, as a constraint of states and of the pictures at the end."""

    states: KnownRegion
    pictures: KnownRegion


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ready:
    """A stage of a run, checked: what it lacks is the state that it begins from."""

    model: Model
    expression: Expression
    path: Sequence[float]
    solver: Solver
    size: tuple[int, int]
    low_t: float | None

    @property
    def steps(self) -> int:
        """How many steps `on_step` will see."""
        return sum(to < now for now, to in pairwise(self.path))

    def asking(
        self,
        x: Tensor,
        draw: Draw,
        *,
        beside: Beside | None = None,
        kept: _Kept | None = None,
        on_step: OnStep | None = None,
    ) -> Asking:
        """The sampler of this stage from x, its pictures decoded."""
        made = yield from sampler(
            self.expression,
            x=x,
            path=self.path,
            schedule=self.model.schedule,
            solver=self.solver,
            draw=draw,
            native=self.model.state_shape[1:],
            beside=beside,
            constraint=None if kept is None else kept.states,
            on_step=on_step,
        )
        pictures = self.model.decode(made)
        _check_made(pictures, self.model)
        return pictures if kept is None else kept.pictures.finish(pictures)

    def larger(self, low: Tensor, noise: Noise) -> tuple[Tensor, Beside]:
        """The first state of a stage that makes `low`, (B, C, h, w), larger, and what it is shown of it."""
        return self.model.upscaling().start(low, noise, self.low_t)


def _check_made(pictures: Tensor, model: Model) -> None:
    """Stop where an overflow left NaN, or black pictures of a network in 16 bits: SfumatoError."""
    if not bool(torch.isfinite(pictures).all()):
        raise SfumatoError(f"{model.name} made NaN or infinity in {_short(model.dtype)}: use float32")
    black = pictures.flatten(1).amax(dim=1) <= BLACK
    if model.dtype is not torch.float32 and bool(black.any()):
        raise SfumatoError(f"{model.name} made a black picture in {_short(model.dtype)}: use float32")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _through(small: Asking, stages: Sequence[_Ready], noise: Noise, watch: _Watch, *, unload: bool) -> Asking:
    """The pictures of the last stage; of the one at hand where the run was stopped.

    small: the sampler of the first stage. unload: a stage's network leaves the memory before the next comes.
    """
    made = yield from small
    for done, stage in pairwise(stages):
        if watch.stopped:
            break
        if unload:
            done.model.unload()
        noise = noise.of_shape(stage.model.state_shape_for(stage.size))
        x, beside = stage.larger(made.clamp(-1, 1), noise)
        made = yield from stage.asking(x, noise.draw, beside=beside, on_step=watch.of(stage))
    return postprocess_of([stage.model for stage in stages])(made)


class _Watch:
    """Counts the steps of all stages as those of one run, and hears whether it is to stop."""

    def __init__(self, on_step: OnStep | None, total: int) -> None:
        self.on_step, self.total, self.before = on_step, total, 0
        self.stopped = False

    def of(self, stage: _Ready) -> OnStep:
        """What the next stage tells its steps to."""
        before, self.before = self.before, self.before + stage.steps

        def see(step: Step) -> bool:
            told = replace(step, index=before + step.index, total=self.total)
            self.stopped = self.on_step is not None and bool(self.on_step(told))
            return self.stopped

        return see


def _models(recipe: Recipe, model: Stages, inputs: Inputs) -> list[Model]:
    """The model of each stage of a recipe; UsageError where there is none, or it does not fit."""
    models = list(model.stages)
    if len(models) <= len(recipe.stages):
        names = ", ".join(stage.model for stage in recipe.stages)
        raise UsageError(f"the recipe goes on through {names}: give a Cascade that has them")
    models = models[: len(recipe.stages) + 1]
    if recipe.low is not None:
        models[0] = models[0].fitting(input_picture(inputs, recipe.low).shape[-1])
    elif models[0].low_resolution is not None:
        raise UsageError(f"{models[0].name} makes pictures larger: give it one, or use it in a cascade")
    return models


def _ready(stage: Stage, model: Model, path: Sequence[float], inputs: Inputs) -> _Ready:
    """A stage checked, its texts encoded."""
    expression = from_json(stage.expression, inputs)
    native = (model.shape[1], model.shape[2])
    if stage.size != native and not any(isinstance(node, Crops) for node in expression.walk()):
        raise UsageError(
            f"{model.name} makes {native[1]} x {native[0]} pictures, not "
            f"{stage.size[1]} x {stage.size[0]}: larger canvases go by crops (panorama)"
        )
    expression = model.lower(expression, stage.size, in_pixels=stage.in_pixels)
    model.prepare(expression)
    return _Ready(
        model=model,
        expression=expression,
        path=path,
        solver=make_solver(stage.solver, **stage.options),
        size=stage.size,
        low_t=stage.low_t,
    )


def _asking_of(e: Expression, network: str) -> Expression:
    """The same expression, its questions to the run's own model asked of a network by name."""

    def change(leaf: Ask) -> Ask:
        return replace(leaf, network=leaf.network or network)

    return e.map_leaves(change)


def _start(recipe: Recipe, first: _Ready, inputs: Inputs, draw: Draw) -> Tensor:
    """The state at the start of the path: noise, or the noised start picture."""
    model = first.model
    level = model.schedule.level(first.path[0])
    if recipe.start is None:
        if recipe.strength < 1:
            raise UsageError("a strength below 1 needs a picture to start from")
        # Noise alone, with the variance that a picture of unit variance would have here.
        return draw() * math.hypot(level.alpha, level.sigma)
    start = _fitting("start", recipe.start, recipe, model, inputs)
    return add_noise(model.encode(start, draw), draw(), level.alpha, level.sigma)


def _low(recipe: Recipe, model: Model, inputs: Inputs) -> Tensor:
    """The picture that is made larger, once for each seed, (B, C, h, w)."""
    assert recipe.low is not None
    if recipe.start is not None or recipe.keep is not None or recipe.strength < 1:
        raise UsageError("a picture is made larger from noise: start, keep and strength do not go with it")
    return input_picture(inputs, recipe.low).to(model.device).expand(recipe.count, -1, -1, -1)


def _fitting(role: str, sha256: str, recipe: Recipe, model: Model, inputs: Inputs) -> Tensor:
    """An input picture, (1, C, H, W) on the model's device, of the run's size."""
    picture, shape = input_picture(inputs, sha256).to(model.device), (1, model.shape[0], *recipe.size)
    if picture.shape != shape:
        raise UsageError(
            f"the {role} picture has {picture.shape[-1]} x {picture.shape[-2]} pixels and "
            f"{picture.shape[-3]} channels, the run {shape[3]} x {shape[2]} and {shape[1]}: resize it"
        )
    return picture


def _kept(recipe: Recipe, model: Model, inputs: Inputs) -> _Kept | None:
    if recipe.keep is None or recipe.mask is None:
        return None
    mask = Mask(input_picture(inputs, recipe.mask))
    keep = _fitting("kept", recipe.keep, recipe, model, inputs)
    coarse = mask.weights(*model.state_shape_for(recipe.size)[1:]).to(model.device)
    return _Kept(
        states=KnownRegion(model.encode(keep), coarse),
        pictures=KnownRegion(keep, mask.weights(*recipe.size).to(model.device)),
    )
