"""Making pictures: an expression becomes a run, a run becomes a sampler, an engine runs samplers together."""

from __future__ import annotations

import math
import secrets
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path as FilePath
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from sfumato.core.crops import has_crops
from sfumato.core.engine import Denoiser, SamplerCoroutine
from sfumato.core.expression import Ask, Expression, reduced, unconditional
from sfumato.core.filters import Mask
from sfumato.core.frame import LowResolution
from sfumato.core.guidance import Scale
from sfumato.core.hashed import HashedTensor
from sfumato.core.noise import DrawNoise, Noise
from sfumato.core.path import Path, PathSettings
from sfumato.core.prediction import add_noise
from sfumato.core.sampler import KnownRegion, OnStep, Step, sampler
from sfumato.core.solvers import Solver, make_solver
from sfumato.core.writing import Inputs
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.cascade import (
    Stages,
    StageSettings,
    postprocess_of,
    size_made,
    stage_name,
    without_conditions,
)
from sfumato.models.files.registry import model_of
from sfumato.models.model import Model
from sfumato.models.text_to_image import TextConditioner
from sfumato.models.understanding import remarks_on
from sfumato.progress import step_bar
from sfumato.recipe import InputFile, Recipe
from sfumato.results import Pictures
from sfumato.runs import Run, Stage, dtype_name, read_run, write_run
from sfumato.techniques import Edit, as_edit

MAX_ROWS = 64
BLACK = -0.999  # a picture whose values are all below

# What `sample` and `make_run` take: an expression, an edit or a prompt; None draws anything
What = Expression | Edit | str | None


class SamplerSettings(TypedDict, total=False):
    """How pictures are sampled; what is left out, or None, is the model's default.

    steps       downward steps of the path
    solver      a name of `core.solvers.SOLVERS`, with its `options`; or a Solver
    spacing     a name of `core.path.PATHS`
    until       the time at which the path is left by one step to data; 0 is its end
    guidance    the scale for an expression that has no guidance of its own; 1 is off
    """

    steps: int | None
    solver: str | Solver | None
    options: Mapping[str, float | str] | None
    spacing: str | None
    until: float | None
    guidance: Scale | None


class RunSettings(SamplerSettings, total=False):
    """The settings of `sample` and `make_run`: those of `SamplerSettings`, and

    seed        of the first picture, 0 to 2**64 - 1; left out, one is drawn
    count       how many pictures
    clip        whether estimates of x0 are clipped
    size        (H, W), for expressions made of crops
    in_pixels   on a model of latents views and filters act on its decoded estimates
    upscale     the height up to which a cascade makes its pictures larger; left out, through all stages
    low_t       how far the picture of an `upscale` edit is noised
    stages      the settings of a cascade's further stages, in order; those above are of the first
    files       where inputs were read from
    networks    others that the expression names
    """

    seed: int | None
    count: int
    clip: bool | None
    size: tuple[int, int] | None
    in_pixels: bool
    upscale: int | None
    low_t: float | None
    stages: Sequence[StageSettings]
    files: Mapping[str, InputFile] | None
    networks: Mapping[str, Denoiser] | None


# ---------------------------------------------------------------------------------------- what a user calls


def sample(
    model: Stages | str | FilePath,
    what: What = None,
    *,
    on_step: OnStep | None = None,
    max_rows: int = MAX_ROWS,
    progress: bool = False,
    **settings: Unpack[RunSettings],
) -> Pictures:
    """Make pictures of an expression, an edit or a prompt.

    model: a model, a cascade, or the name or folder of a model (registry.load). what: None draws anything
    that the model draws without a condition. on_step sees every step and may end the run. max_rows: of one
    forward pass. progress: a bar with the time left, on stderr. settings: seed, count, steps, solver,
    guidance and the others of `RunSettings`. A warning says what our own text-to-image models do not
    understand of a prompt.
    """
    model = model_of(model)
    run = make_run(model, what, **settings)
    for remark in remarks_on(model, run.stages[0].expression):
        warnings.warn(remark, stacklevel=2)
    with step_bar() if progress else nullcontext(None) as bar:
        (pictures,) = run_together([run], on_step=_both(on_step, bar), max_rows=max_rows)
    return pictures


def make_run(model: Stages | str | FilePath, what: What = None, **settings: Unpack[RunSettings]) -> Run:
    """The run that `sample` would make with these arguments."""
    model = model_of(model)
    edit = as_edit(unconditional() if what is None else what)
    first, larger = _stage_models(model, edit, settings.get("upscale"))
    further = list(settings.get("stages", ()))
    if len(further) > len(larger):
        raise UsageError(f"{len(further)} settings for {len(larger)} stages that make pictures larger")
    in_pixels, clip = settings.get("in_pixels", False), settings.get("clip")
    if in_pixels and all(model.of_pixels for model in (first, *larger)):
        raise UsageError(f"{first.name} works on pixels already: leave in_pixels out")
    if isinstance(settings.get("solver"), Solver) and settings.get("options"):
        raise UsageError("a solver object has its options: leave `options` out")
    if settings.get("low_t") is not None and first.low_resolution is None:
        raise UsageError(f"low_t is for a model that makes a picture larger; {first.name} makes its own")
    height, width = settings.get("size") or edit.size or first.shape[1:]
    sizes = [size_made(own, first, (height, width)) for own in (first, *larger)]
    edit, found = edit.fitted(first.shape[0], sizes[-1])
    expression = edit.whole()
    chosen = StageSettings(
        steps=settings.get("steps"),
        solver=settings.get("solver"),
        spacing=settings.get("spacing"),
        until=settings.get("until"),
        guidance=settings.get("guidance"),
        low_t=settings.get("low_t"),
    )
    options = settings.get("options")
    small = _stage(first, expression, chosen, sizes[0], clip=clip, in_pixels=in_pixels, options=options)
    path = replace(
        small.path, strength=edit.strength, start=edit.start_time, jump=edit.jump, repeats=edit.repeats
    )
    further += [StageSettings()] * (len(larger) - len(further))
    seed = settings.get("seed")
    return Run(
        stages=(
            replace(small, path=path),
            *(
                _stage(own, expression, setting, size, clip=clip, in_pixels=in_pixels)
                for own, setting, size in zip(larger, further, sizes[1:], strict=True)
            ),
        ),
        seed=secrets.randbelow(2**32) if seed is None else seed,
        count=settings.get("count", 1),
        start=_held(edit.start),
        low=_held(edit.low),
        keep=_held(edit.keep),
        mask=edit.mask if isinstance(edit.mask, Mask) else None,
        surroundings=edit.surroundings,
        files={**(settings.get("files") or {}), **found},
        networks=settings.get("networks") or {},
        one_at_a_time=model.one_at_a_time,
    )


def make_recipe(
    model: Stages | str | FilePath, what: What = None, **settings: Unpack[RunSettings]
) -> tuple[Recipe, dict[str, object]]:
    """The recipe of a run, and its inputs (writing.Inputs)."""
    return write_run(make_run(model, what, **settings))


def run(
    recipe: Recipe,
    model: Stages,
    inputs: Inputs | None = None,
    *,
    networks: Mapping[str, Denoiser] | None = None,
    on_step: OnStep | None = None,
    max_rows: int = MAX_ROWS,
) -> Pictures:
    """Make the pictures of a recipe; one with stages takes a cascade."""
    read = read_run(recipe, model, inputs, networks=networks)
    (pictures,) = run_together([read], on_step=on_step, max_rows=max_rows)
    return Pictures(pictures.x, as_run(recipe, model))


def run_together(
    runs: Sequence[Run], *, on_step: OnStep | None = None, max_rows: int = MAX_ROWS
) -> list[Pictures]:
    """Make the pictures of several runs of the same models; they share forward passes."""
    if not runs:
        return []
    engine = runs[0].engine(max_rows)
    with torch.inference_mode():
        made = engine.run(*(sampler_of(run, on_step=on_step) for run in runs))
    return [Pictures(x.clamp(-1, 1).float().cpu(), run) for x, run in zip(made, runs, strict=True)]


def as_run(recipe: Recipe, model: Stages) -> Recipe:
    """The recipe as this model runs it: it states the arithmetic that was used, whatever it stated before."""
    return recipe.model_copy(update={"dtype": dtype_name(model.stages[0])})


# ---------------------------------------------------------------------------------------- the parts of a run


def _both(one: OnStep | None, other: OnStep | None) -> OnStep | None:
    if one is None or other is None:
        return one or other

    def see(step: Step) -> bool:
        return any([bool(one(step)), bool(other(step))])

    return see


def _held(picture: object) -> HashedTensor | None:
    assert picture is None or isinstance(picture, HashedTensor)  # `Edit.fitted` has read it
    return picture


def _stage(
    model: Model,
    e: Expression,
    settings: StageSettings,
    size: tuple[int, int],
    *,
    clip: bool | None,
    in_pixels: bool,
    options: Mapping[str, float | str] | None = None,
) -> Stage:
    """One stage with the defaults of its model."""
    defaults, solver = model.defaults, settings.solver
    if model.low_resolution is not None and model.conditioner is None:
        e = without_conditions(e)
    elif isinstance(model.conditioner, TextConditioner):
        e = model.conditioner.styled(e, defaults.styles)
    if not isinstance(solver, Solver):
        solver = make_solver(solver or defaults.solver, **defaults.solver_options(solver, options))
    low_t = settings.low_t
    if model.low_resolution is not None and low_t is None:
        low_t = model.low_resolution.t
    return Stage(
        model=model,
        expression=defaults.with_defaults(e, guidance=settings.guidance, clip=clip),
        path=PathSettings(
            steps=defaults.steps if settings.steps is None else settings.steps,
            spacing=settings.spacing or defaults.spacing,
            until=defaults.until if settings.until is None else settings.until,
        ),
        solver=solver,
        size=size,
        in_pixels=in_pixels and not model.of_pixels,
        low_t=low_t,
    )


def _stage_models(model: Stages, edit: Edit, upscale: int | None) -> tuple[Model, Sequence[Model]]:
    """The model of the first stage, and those that make larger what it makes."""
    first, *larger = (model if upscale is None else model.up_to(upscale)).stages
    if edit.low is not None:
        height, width = edit.low_size()
        first = first.fitting(width)
        if height != width or width >= first.shape[2]:
            raise UsageError(
                f"the picture has {width} x {height} pixels and {first.name} makes {first.shape[2]} x "
                f"{first.shape[1]}: give a square one that is smaller"
            )
    return first, larger


# --------------------------------------------------------------------------------------- the sampler of a run


def sampler_of(run: Run, *, on_step: OnStep | None = None) -> SamplerCoroutine:
    """The sampler of a run, checked and ready for an engine; UsageError before the first step.

    The engine asks the first model; it knows those of further stages by name (`Run.engine`).
    """
    first, *larger = (_ready(stage, i, run.seeds) for i, stage in enumerate(run.stages))
    model = first.stage.model
    if run.low is None and model.low_resolution is not None:
        raise UsageError(f"{model.name} makes pictures larger: give it one, or use it in a cascade")
    for ready in (first, *larger):
        ready.stage.model.plan_rows(ready.steps * run.count)
    noise = Noise(run.seeds, model.state_shape_for(first.stage.size), model.device)
    if run.low is None:
        x, low = _start(run, first, noise.draw), None
    else:
        x, low = first.larger(_low(run), noise)
    watch = _Watch(on_step, sum(stage.steps for stage in (first, *larger)))
    small = first.sampler(x, noise.draw, low=low, kept=_kept(run, first.stage), on_step=watch.of(first))
    return _through(run, small, [first, *larger], noise, watch)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    """The known region of an inpainting, as a constraint of states and of the pictures at the end."""

    states: KnownRegion
    pictures: KnownRegion


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ready:
    """A stage, checked: its expression over the model's states, its path as times."""

    stage: Stage
    expression: Expression
    path: Path
    seeds: Sequence[int]

    @property
    def steps(self) -> int:
        """How many steps `on_step` will see."""
        return sum(to < now for now, to in pairwise(self.path))

    def sampler(
        self,
        x: Tensor,
        draw: DrawNoise,
        *,
        low: LowResolution | None = None,
        kept: _Kept | None = None,
        on_step: OnStep | None = None,
    ) -> SamplerCoroutine:
        """The sampler of this stage from x, its pictures decoded."""
        model = self.stage.model
        made = yield from sampler(
            self.expression,
            x=x,
            path=self.path,
            schedule=model.schedule,
            solver=self.stage.solver,
            draw=draw,
            native=model.state_shape[1:],
            low_resolution=low,
            seeds=self.seeds,
            constraint=None if kept is None else kept.states,
            on_step=on_step,
        )
        pictures = model.decode(made)
        _check_made(pictures, model)
        return pictures if kept is None else kept.pictures.finish(pictures)

    def larger(self, low: Tensor, noise: Noise) -> tuple[Tensor, LowResolution]:
        """The first state of a stage that makes `low`, (B, C, h, w), larger, and its low-resolution part."""
        return self.stage.model.upscaling().start(low, noise, self.stage.low_t)


def _ready(stage: Stage, index: int, seeds: Sequence[int]) -> _Ready:
    """A stage checked, its texts encoded; further stages ask their networks by name."""
    model, native = stage.model, (stage.model.shape[1], stage.model.shape[2])
    if stage.size != native and not (model.any_size or has_crops(stage.expression)):
        raise UsageError(
            f"{model.name} makes {native[1]} x {native[0]} pictures, not "
            f"{stage.size[1]} x {stage.size[0]}: larger canvases go by crops (panorama)"
        )
    expression = model.lower(stage.expression, stage.size, in_pixels=stage.in_pixels)
    model.prepare(expression)
    if index > 0:
        expression = _of_network(expression, stage_name(index))
    return _Ready(stage=stage, expression=expression, path=stage.path.path(model.schedule), seeds=seeds)


def _of_network(e: Expression, network: str) -> Expression:
    """The same expression with the leaves of the run's own model asking a network by name."""

    def change(leaf: Ask) -> Ask:
        return replace(leaf, network=leaf.network or network)

    return e.map_leaves(change)


def _check_made(pictures: Tensor, model: Model) -> None:
    """Stop where an overflow left NaN, or black pictures of a network in 16 bits: SfumatoError."""
    if not bool(torch.isfinite(pictures).all()):
        raise SfumatoError(f"{model.name} made NaN or infinity in {dtype_name(model)}: use float32")
    black = pictures.flatten(1).amax(dim=1) <= BLACK
    if model.dtype is not torch.float32 and bool(black.any()):
        raise SfumatoError(f"{model.name} made a black picture in {dtype_name(model)}: use float32")


def _through(
    run: Run, small: SamplerCoroutine, stages: Sequence[_Ready], noise: Noise, watch: _Watch
) -> SamplerCoroutine:
    """The pictures of the last stage; of the one at hand where the run was stopped.

    small: the sampler of the first stage.
    """
    made = yield from small
    for done, ready in pairwise(stages):
        if watch.stopped:
            break
        if run.one_at_a_time:
            done.stage.model.unload()
        noise = noise.of_shape(ready.stage.model.state_shape_for(ready.stage.size))
        x, low = ready.larger(made.clamp(-1, 1), noise)
        kept = _kept(run, ready.stage)
        made = yield from ready.sampler(x, noise.draw, low=low, kept=kept, on_step=watch.of(ready))
    return postprocess_of([ready.stage.model for ready in stages])(made)


class _Watch:
    """Counts the steps of all stages as those of one run, and hears whether it is to stop."""

    def __init__(self, on_step: OnStep | None, total: int) -> None:
        self.on_step, self.total, self.before = on_step, total, 0
        self.stopped = False

    def of(self, stage: _Ready) -> OnStep:
        """The `on_step` of the next stage."""
        before, self.before = self.before, self.before + stage.steps

        def see(step: Step) -> bool:
            counted = replace(step, index=before + step.index, total=self.total)
            self.stopped = self.on_step is not None and bool(self.on_step(counted))
            return self.stopped

        return see


def _start(run: Run, first: _Ready, draw: DrawNoise) -> Tensor:
    """The state at the start of the path: noise, or the noised start picture."""
    model = first.stage.model
    level = model.schedule.level(first.path[0])
    if run.start is None:
        if first.stage.path.strength < 1 or first.stage.path.start is not None:
            raise UsageError("a strength below 1 needs a picture to start from")
        # Noise alone, with the variance that a picture of unit variance would have here.
        return draw() * math.hypot(level.alpha, level.sigma)
    start = _fitting("start", run.start, first.stage)
    return add_noise(model.encode(start, draw), draw(), level.alpha, level.sigma)


def _low(run: Run) -> Tensor:
    """The picture that is made larger, once for each seed, (B, C, h, w)."""
    assert run.low is not None
    first = run.stages[0]
    if run.start is not None or run.keep is not None or first.path.strength < 1:
        raise UsageError("a picture is made larger from noise: start, keep and strength do not go with it")
    return run.low.tensor.to(first.model.device).expand(run.count, -1, -1, -1)


def _fitting(role: str, held: HashedTensor, stage: Stage) -> Tensor:
    """An input picture, (1, C, H, W) on the model's device, of the stage's size."""
    picture, shape = reduced(held.tensor, stage.size), (1, stage.model.shape[0], *stage.size)
    if picture.shape != shape:
        raise UsageError(
            f"the {role} picture has {picture.shape[-1]} x {picture.shape[-2]} pixels and "
            f"{picture.shape[-3]} channels, the run {shape[3]} x {shape[2]} and {shape[1]}: resize it"
        )
    return picture.to(stage.model.device)


def _kept(run: Run, stage: Stage) -> _Kept | None:
    if run.keep is None or run.mask is None:
        return None
    model = stage.model
    keep = _fitting("kept", run.keep, stage)
    coarse = run.mask.weights(*model.state_shape_for(stage.size)[1:]).to(model.device)
    return _Kept(
        states=KnownRegion(model.encode(keep), coarse),
        pictures=KnownRegion(keep, run.mask.weights(*stage.size).to(model.device)),
    )
