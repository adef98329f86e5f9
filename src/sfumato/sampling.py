"""Making pictures: an expression becomes a recipe, a recipe becomes pictures."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from sfumato.core.crops import Crops
from sfumato.core.engine import Asking, Denoiser, Engine
from sfumato.core.expression import Ask, Expression, Filtered, Known, Seen, as_expression
from sfumato.core.filters import FILTERS, Filter, Mask
from sfumato.core.frame import Beside
from sfumato.core.guidance import Scale
from sfumato.core.noise import Noise
from sfumato.core.notation import Inputs, from_json, input_picture, to_json
from sfumato.core.path import make_path, zigzag
from sfumato.core.prediction import add_noise
from sfumato.core.sampler import Draw, KnownRegion, OnStep, Step, sampler
from sfumato.core.solvers import Solver, make_solver
from sfumato.core.views import VIEWS, LinearView, View
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.cascade import Cascade, StageSettings, first_of, networks_of, stage_name
from sfumato.models.model import Model
from sfumato.models.pretrained.upscaling import UpscalingModel
from sfumato.pictures import encode_picture, grid, save_picture
from sfumato.pictures.grid import enlarge_pixels
from sfumato.recipe import InputFile, Recipe, Stage, parse_recipe
from sfumato.techniques import Edit

MAX_ROWS = 64
BLACK = -0.999  # a picture whose values are all below


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a run made: x (count, C, H, W) in [-1, 1] on the CPU, and the recipe that makes it again."""

    x: Tensor
    recipe: Recipe

    def save(
        self, path: str | Path, *, enlarge: int = 1, numbered: bool | None = None, metadata: bool = True
    ) -> list[Path]:
        """Write each picture with its own recipe; several get their seed into the name.

        enlarge: each pixel becomes so many pixels wide. numbered: whether the seed stands in the name.
        """
        path = Path(path)
        numbered = len(self.x) > 1 if numbered is None else numbered
        layout = {"enlarge": enlarge} if enlarge > 1 else {}
        written = []
        for i, x in enumerate(enlarge_pixels(self.x, enlarge)):
            recipe = self.recipe.single(i)
            name = numbered_path(path, recipe.seed) if numbered else path
            written.append(_save(x, name, recipe, layout, metadata=metadata))
        return written

    def encode(self, i: int, extension: str, *, enlarge: int = 1, quality: int | None = None) -> bytes:
        """Picture i as `save` would write it, its recipe inside; nothing is written."""
        recipe = self.recipe.single(i)
        x = enlarge_pixels(self.x[i], enlarge)
        data = _metadata(recipe, {"enlarge": enlarge} if enlarge > 1 else {})
        return encode_picture(x, extension, metadata=data, parameters=recipe.parameters(), quality=quality)

    def save_grid(
        self, path: str | Path, *, columns: int | None = None, enlarge: int = 1, metadata: bool = True
    ) -> Path:
        """Write all pictures as one sheet."""
        layout = {"sheet": {"columns": columns, "enlarge": enlarge}}
        x = grid(self.x, columns, enlarge=enlarge)
        return _save(x, Path(path), self.recipe, layout, metadata=metadata)


def numbered_path(path: Path, seed: int) -> Path:
    """The name of one of several pictures."""
    return path.with_stem(f"{path.stem}-{seed}")


def _save(x: Tensor, path: Path, recipe: Recipe, layout: Mapping[str, object], *, metadata: bool) -> Path:
    if not metadata:
        return save_picture(x, path)
    return save_picture(x, path, metadata=_metadata(recipe, layout), parameters=recipe.parameters())


def _metadata(recipe: Recipe, layout: Mapping[str, object]) -> dict[str, object]:
    """What a picture carries."""
    return {"recipe": recipe.plain(), "version": 1, **layout}


def sample(
    model: Model | Cascade,
    what: Expression | Edit | str,
    *,
    seed: int | None = None,
    count: int = 1,
    steps: int | None = None,
    solver: str | None = None,
    options: Mapping[str, float | str] | None = None,
    spacing: str | None = None,
    guidance: float | Scale | None = None,
    clip: bool | None = None,
    size: tuple[int, int] | None = None,
    in_pixels: bool = False,
    upscale: int | None = None,
    low_t: float | None = None,
    stages: Sequence[StageSettings] = (),
    files: Mapping[str, InputFile] | None = None,
    networks: Mapping[str, Denoiser] | None = None,
    on_step: OnStep | None = None,
    max_rows: int = MAX_ROWS,
) -> Pictures:
    """Make pictures of an expression, an edit or a prompt; what is left out is the model's default.

    guidance wraps an expression that has none of its own; 1 is off. seed None draws one. size (H, W) is for
    expressions made of crops. networks: others that the expression names. files: where inputs came from.
    in_pixels: on a model of latents views and filters act on its decoded estimates.

    A cascade makes the pictures of its first model larger, stage by stage, up to the height `upscale` (by
    default through all of them); steps, solver, guidance and clipping are those of the first stage, `stages`
    holds those of the others, in order. low_t: how far the picture of an `upscale` edit is noised.
    """
    recipe, inputs = make_recipe(
        model,
        what,
        seed=seed,
        count=count,
        steps=steps,
        solver=solver,
        options=options,
        spacing=spacing,
        guidance=guidance,
        clip=clip,
        size=size,
        in_pixels=in_pixels,
        upscale=upscale,
        low_t=low_t,
        stages=stages,
        files=files,
    )
    return run(recipe, model, inputs, networks=networks, on_step=on_step, max_rows=max_rows)


def make_recipe(
    model: Model | Cascade,
    what: Expression | Edit | str,
    *,
    seed: int | None = None,
    count: int = 1,
    steps: int | None = None,
    solver: str | None = None,
    options: Mapping[str, float | str] | None = None,
    spacing: str | None = None,
    guidance: float | Scale | None = None,
    clip: bool | None = None,
    size: tuple[int, int] | None = None,
    in_pixels: bool = False,
    upscale: int | None = None,
    low_t: float | None = None,
    stages: Sequence[StageSettings] = (),
    files: Mapping[str, InputFile] | None = None,
) -> tuple[Recipe, dict[str, Tensor | View | Filter]]:
    """The recipe of a run, and its inputs (see notation.Inputs); the arguments are those of `sample`."""
    edit = what if isinstance(what, Edit) else Edit(expression=as_expression(what))
    first, larger = _chosen(model, edit, upscale)
    if len(stages) > len(larger):
        raise UsageError(f"{len(stages)} settings for {len(larger)} stages that make pictures larger")
    e = first.defaults.dressed(edit.expression, guidance=guidance, clip=clip)
    inputs = _inputs(edit, e)
    if in_pixels and all(model.of_pixels for model in (first, *larger)):
        raise UsageError(f"{first.name} works on pixels already: leave in_pixels out")
    settings = StageSettings(steps=steps, solver=solver, spacing=spacing, guidance=guidance, low_t=low_t)
    recipe = parse_recipe(
        {
            **_stage(first, e, settings, options, in_pixels=in_pixels, low_t=_low_t(first, edit, low_t)),
            "size": size or edit.size or first.shape[1:],
            "stages": [
                _stage(
                    stage,
                    stage.defaults.dressed(edit.expression, guidance=chosen.guidance, clip=clip),
                    chosen,
                    None,
                    in_pixels=in_pixels,
                    low_t=stage.low_t if chosen.low_t is None else chosen.low_t,
                )
                for stage, chosen in zip(
                    larger, [*stages, *[StageSettings()] * (len(larger) - len(stages))], strict=True
                )
            ],
            "strength": edit.strength,
            "start": edit.start and edit.start.sha256,
            "low": edit.low and edit.low.sha256,
            "keep": edit.keep and edit.keep.sha256,
            "mask": edit.mask and edit.mask.sha256,
            "jump": edit.jump,
            "repeats": edit.repeats,
            "seed": secrets.randbelow(2**32) if seed is None else seed,
            "count": count,
            "inputs": {sha: file for sha, file in (files or {}).items() if sha in inputs},
        }
    )
    return recipe, inputs


def _chosen(
    model: Model | Cascade, edit: Edit, upscale: int | None
) -> tuple[Model, Sequence[UpscalingModel]]:
    """The model of the first stage, and those that make larger what it makes."""
    if isinstance(model, Cascade):
        cascade = model if upscale is None else model.up_to(upscale)
        return cascade.first, cascade.stages
    if upscale is not None and upscale != model.shape[1]:
        raise UsageError(
            f"{model.name} makes pictures of {model.shape[1]} pixels; {upscale} take stages that make them "
            "larger: load_cascade(name, stage)"
        )
    if edit.low is not None and isinstance(model, UpscalingModel):
        return model.fitting(edit.low.tensor.shape[-1]), ()
    return model, ()


def _low_t(model: Model, edit: Edit, low_t: float | None) -> float | None:
    """How far the picture that is made larger is noised; None where there is none."""
    if edit.low is None:
        return low_t
    return _upscaler(model).low_t if low_t is None else low_t


def _upscaler(model: Model) -> UpscalingModel:
    """The model as one that makes pictures larger; UsageError where it is none."""
    if not isinstance(model, UpscalingModel):
        raise UsageError(f"{model.name} makes pictures of its own, it does not make them larger")
    return model


def _stage(
    model: Model,
    e: Expression,
    settings: StageSettings,
    options: Mapping[str, float | str] | None,
    *,
    in_pixels: bool,
    low_t: float | None,
) -> dict[str, object]:
    """What a recipe says of one stage."""
    defaults = model.defaults
    return {
        "model": model.name,
        "weights": model.sha256,
        "expression": to_json(e),
        "steps": defaults.steps if settings.steps is None else settings.steps,
        "spacing": settings.spacing or defaults.spacing,
        "solver": settings.solver or defaults.solver,
        "options": defaults.solver_options(settings.solver, options),
        "size": model.shape[1:],
        "in_pixels": in_pixels and not model.of_pixels,
        "low_t": low_t,
    }


def _inputs(edit: Edit, e: Expression) -> dict[str, Tensor | View | Filter]:
    """What a recipe refers to: pictures and masks by their hash, views and filters by their names."""
    pictures = [c for c in (edit.start, edit.low, edit.keep, edit.mask) if c is not None]
    inputs: dict[str, Tensor | View | Filter] = {c.sha256: c.tensor for c in pictures}
    for node in e.walk():
        match node:
            case Known(picture):
                inputs[picture.sha256] = picture.tensor
            case Filtered(_, Mask() as mask):
                inputs[mask.sha256] = mask.tensor
            case Filtered(_, band):
                _hold(inputs, band, FILTERS)
            case Seen(_, view):
                _hold(inputs, view, VIEWS)
    return inputs


def _hold(inputs: dict[str, Tensor | View | Filter], held: View | Filter, own: Mapping[str, object]) -> None:
    """Keep a view or filter under its name; a name stands for one thing."""
    name = str(held)
    if isinstance(held, LinearView) and name.partition(":")[0] in own:
        raise UsageError(f"{name!r} is the name of a view of sfumato's own: give yours another")
    if inputs.setdefault(name, held) != held:
        raise UsageError(f"two different views or filters are named {name!r}: give each its own name")


def run(
    recipe: Recipe,
    model: Model | Cascade,
    inputs: Inputs | None = None,
    *,
    networks: Mapping[str, Denoiser] | None = None,
    on_step: OnStep | None = None,
    max_rows: int = MAX_ROWS,
) -> Pictures:
    """Make the pictures of a recipe; one with stages takes a cascade."""
    (pictures,) = run_together(
        [(recipe, inputs or {})], model, networks=networks, on_step=on_step, max_rows=max_rows
    )
    return pictures


def run_together(
    jobs: Sequence[tuple[Recipe, Inputs]],
    model: Model | Cascade,
    *,
    networks: Mapping[str, Denoiser] | None = None,
    on_step: OnStep | None = None,
    max_rows: int = MAX_ROWS,
) -> list[Pictures]:
    """Make the pictures of several recipes of one model, each with its inputs; they share forward passes."""
    own, networks = networks_of(model), networks or {}
    if own.keys() & networks.keys():
        raise UsageError(f"{', '.join(own)} are the cascade's own networks: give yours other names")
    engine = Engine(first_of(model), {**networks, **own}, max_rows=max_rows)
    with torch.inference_mode():
        made = engine.run(*(prepare(recipe, model, given, on_step=on_step) for recipe, given in jobs))
    return [Pictures(x.clamp(-1, 1).float().cpu(), recipe) for x, (recipe, _) in zip(made, jobs, strict=True)]


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
        return _upscaler(self.model).start(low, noise, self.low_t)


def prepare(
    recipe: Recipe, model: Model | Cascade, inputs: Inputs, *, on_step: OnStep | None = None
) -> Asking:
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
        ready.model.expect(ready.steps * recipe.count)
    noise = Noise(recipe.seeds, first.model.state(recipe.size), first.model.device)
    kept = _kept(recipe, first.model, inputs)
    if recipe.low is None:
        x, beside = _start(recipe, first, inputs, noise.draw), None
    else:
        x, beside = first.larger(_low(recipe, first.model, inputs), noise)
    watch = _Watch(on_step, sum(stage.steps for stage in (first, *larger)))
    small = first.asking(x, noise.draw, beside=beside, kept=kept, on_step=watch.of(first))
    alone = isinstance(model, Cascade) and model.one_at_a_time
    return _through(small, [first, *larger], noise, watch, unload=alone)


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
        noise = noise.of_shape(stage.model.state(stage.size))
        x, beside = stage.larger(made.clamp(-1, 1), noise)
        made = yield from stage.asking(x, noise.draw, beside=beside, on_step=watch.of(stage))
    # once, of the last stage that has it: x4 upscalers leave it to the stages before
    release = next((s.model.release for s in reversed(stages) if s.model.release is not None), None)
    return made if release is None else release(made)


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


def _models(recipe: Recipe, model: Model | Cascade, inputs: Inputs) -> list[Model]:
    """The model of each stage of a recipe; UsageError where there is none, or it does not fit."""
    models = model.models if isinstance(model, Cascade) else [model]
    if len(models) <= len(recipe.stages):
        names = ", ".join(stage.model for stage in recipe.stages)
        raise UsageError(f"the recipe goes on through {names}: give a Cascade that has them")
    models = models[: len(recipe.stages) + 1]
    if recipe.low is not None:
        models[0] = _upscaler(models[0]).fitting(input_picture(inputs, recipe.low).shape[-1])
    elif isinstance(models[0], UpscalingModel):
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
    expression = model.express(expression, stage.size, in_pixels=stage.in_pixels)
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
    coarse = mask.weights(*model.state(recipe.size)[1:]).to(model.device)
    return _Kept(
        states=KnownRegion(model.encode(keep), coarse),
        pictures=KnownRegion(keep, mask.weights(*recipe.size).to(model.device)),
    )
