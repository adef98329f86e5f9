"""Making pictures: an expression becomes a recipe, a recipe becomes pictures."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sfumato.core.crops import Crops
from sfumato.core.engine import Asking, Denoiser, Engine
from sfumato.core.expression import Expression, Filtered, Known, Seen, as_expression
from sfumato.core.filters import FILTERS, Filter, Mask
from sfumato.core.guidance import Scale
from sfumato.core.invariant import check_whole
from sfumato.core.noise import Noise
from sfumato.core.notation import Inputs, from_json, input_picture, to_json
from sfumato.core.path import make_path, zigzag
from sfumato.core.prediction import add_noise
from sfumato.core.sampler import Draw, KnownRegion, OnStep, sampler
from sfumato.core.solvers import make_solver
from sfumato.core.views import VIEWS, LinearView, View
from sfumato.errors import UsageError
from sfumato.models.model import Model
from sfumato.pictures import grid, save_picture
from sfumato.pictures.grid import enlarge_pixels
from sfumato.recipe import InputFile, Recipe, parse_recipe
from sfumato.techniques import Edit

MAX_ROWS = 64


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
    data = {"recipe": recipe.plain(), "version": 1, **layout}
    return save_picture(x, path, metadata=data, parameters=recipe.parameters())


def sample(
    model: Model,
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
    files: Mapping[str, InputFile] | None = None,
    networks: Mapping[str, Denoiser] | None = None,
    on_step: OnStep | None = None,
    max_rows: int = MAX_ROWS,
) -> Pictures:
    """Make pictures of an expression, an edit or a prompt; what is left out is the model's default.

    guidance wraps an expression that has none of its own; 1 is off. seed None draws one. size (H, W) is for
    expressions made of crops. networks: others that the expression names. files: where inputs came from.
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
        files=files,
    )
    return run(recipe, model, inputs, networks=networks, on_step=on_step, max_rows=max_rows)


def make_recipe(
    model: Model,
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
    files: Mapping[str, InputFile] | None = None,
) -> tuple[Recipe, dict[str, Tensor | View | Filter]]:
    """The recipe of a run, and its inputs (see notation.Inputs); the arguments are those of `sample`."""
    edit = what if isinstance(what, Edit) else Edit(expression=as_expression(what))
    defaults = model.defaults
    e = defaults.dressed(edit.expression, guidance=guidance, clip=clip)
    inputs = _inputs(edit, e)
    recipe = parse_recipe(
        {
            "model": model.name,
            "weights": model.sha256,
            "expression": to_json(e),
            "steps": defaults.steps if steps is None else steps,
            "spacing": spacing or defaults.spacing,
            "solver": solver or defaults.solver,
            "options": defaults.solver_options(solver, options),
            "strength": edit.strength,
            "start": edit.start and edit.start.sha256,
            "keep": edit.keep and edit.keep.sha256,
            "mask": edit.mask and edit.mask.sha256,
            "jump": edit.jump,
            "repeats": edit.repeats,
            "size": size or edit.size or model.shape[1:],
            "seed": secrets.randbelow(2**32) if seed is None else seed,
            "count": count,
            "inputs": {sha: file for sha, file in (files or {}).items() if sha in inputs},
        }
    )
    return recipe, inputs


def _inputs(edit: Edit, e: Expression) -> dict[str, Tensor | View | Filter]:
    """What a recipe refers to: pictures and masks by their hash, views and filters by their names."""
    pictures = [c for c in (edit.start, edit.keep, edit.mask) if c is not None]
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
    model: Model,
    inputs: Inputs | None = None,
    *,
    networks: Mapping[str, Denoiser] | None = None,
    on_step: OnStep | None = None,
    max_rows: int = MAX_ROWS,
) -> Pictures:
    """Make the pictures of a recipe."""
    (pictures,) = run_together(
        [(recipe, inputs or {})], model, networks=networks, on_step=on_step, max_rows=max_rows
    )
    return pictures


def run_together(
    jobs: Sequence[tuple[Recipe, Inputs]],
    model: Model,
    *,
    networks: Mapping[str, Denoiser] | None = None,
    on_step: OnStep | None = None,
    max_rows: int = MAX_ROWS,
) -> list[Pictures]:
    """Make the pictures of several recipes of one model, each with its inputs; they share forward passes."""
    engine = Engine(model, networks, max_rows=max_rows)
    with torch.inference_mode():
        made = engine.run(*(prepare(recipe, model, given, on_step=on_step) for recipe, given in jobs))
    return [Pictures(x.clamp(-1, 1).float().cpu(), recipe) for x, (recipe, _) in zip(made, jobs, strict=True)]


def prepare(recipe: Recipe, model: Model, inputs: Inputs, *, on_step: OnStep | None = None) -> Asking:
    """The sampler of a recipe, checked and ready for an engine; UsageError before the first step."""
    expression = from_json(recipe.expression, inputs)
    native = (model.shape[1], model.shape[2])
    if recipe.size != native and not any(isinstance(node, Crops) for node in expression.walk()):
        raise UsageError(
            f"{model.name} makes {native[1]} x {native[0]} pictures, not "
            f"{recipe.size[1]} x {recipe.size[0]}: larger canvases go by crops (panorama)"
        )
    model.check(expression)
    shape, native = model.state(recipe.size), model.state_shape[1:]
    check_whole(expression, shape, native=native)
    model.prepare(expression)
    path = make_path(model.schedule, recipe.steps, spacing=recipe.spacing, strength=recipe.strength)
    if recipe.repeats > 1:
        path = zigzag(path, jump=recipe.jump, repeats=recipe.repeats)
    noise = Noise(recipe.seeds, shape, model.device)
    solver = make_solver(recipe.solver, **recipe.options)
    asking = sampler(
        expression,
        x=_first(recipe, model, inputs, path, noise.draw),
        path=path,
        schedule=model.schedule,
        solver=solver,
        draw=noise.draw,
        native=native,
        constraint=_constraint(recipe, model, inputs),
        on_step=on_step,
    )
    return _decoded(asking, model)


def _decoded(asking: Asking, model: Model) -> Asking:
    return model.decode((yield from asking))


def _first(recipe: Recipe, model: Model, inputs: Inputs, path: Sequence[float], draw: Draw) -> Tensor:
    """The state at the start of the path: noise, or the noised start picture."""
    level = model.schedule.level(path[0])
    if recipe.start is None:
        if recipe.strength < 1:
            raise UsageError("a strength below 1 needs a picture to start from")
        # Noise alone, with the variance that a picture of unit variance would have here.
        return draw() * math.hypot(level.alpha, level.sigma)
    start = _fitting("start", recipe.start, recipe, model, inputs)
    return add_noise(model.encode(start, draw), draw(), level.alpha, level.sigma)


def _fitting(role: str, sha256: str, recipe: Recipe, model: Model, inputs: Inputs) -> Tensor:
    """An input picture, (1, C, H, W) on the model's device, of the run's size."""
    picture, shape = input_picture(inputs, sha256).to(model.device), (1, model.shape[0], *recipe.size)
    if picture.shape != shape:
        raise UsageError(
            f"the {role} picture has {picture.shape[-1]} x {picture.shape[-2]} pixels and "
            f"{picture.shape[-3]} channels, the run {shape[3]} x {shape[2]} and {shape[1]}: resize it"
        )
    return picture


def _constraint(recipe: Recipe, model: Model, inputs: Inputs) -> KnownRegion | None:
    if recipe.keep is None or recipe.mask is None:
        return None
    mask = Mask(input_picture(inputs, recipe.mask)).weights(*recipe.size)
    keep = _fitting("kept", recipe.keep, recipe, model, inputs)
    return KnownRegion(keep, mask.to(model.device))
