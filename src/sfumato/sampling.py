"""Making pictures: an expression becomes a recipe, a recipe becomes pictures."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sfumato.core.engine import Denoiser, Engine
from sfumato.core.expression import Expression, Filtered, Known, Seen, as_expression
from sfumato.core.filters import FILTERS, Filter, Mask
from sfumato.core.guidance import Scale
from sfumato.core.notation import Inputs, to_json
from sfumato.core.sampler import OnStep
from sfumato.core.views import VIEWS, LinearView, View
from sfumato.errors import UsageError
from sfumato.models.cascade import Stages, StageSettings, networks_of
from sfumato.models.model import Model
from sfumato.pictures import encode_picture, grid, save_picture
from sfumato.pictures.grid import enlarge_pixels
from sfumato.preparing import prepare
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
    model: Stages,
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
    model: Stages,
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
    e = first.defaults.with_defaults(edit.expression, guidance=guidance, clip=clip)
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
                    stage.defaults.with_defaults(edit.expression, guidance=chosen.guidance, clip=clip),
                    chosen,
                    None,
                    in_pixels=in_pixels,
                    low_t=stage.upscaling().t if chosen.low_t is None else chosen.low_t,
                )
                for stage, chosen in zip(
                    larger, [*stages, *[StageSettings()] * (len(larger) - len(stages))], strict=True
                )
            ],
            "dtype": dtype_name(first),
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


def _chosen(model: Stages, edit: Edit, upscale: int | None) -> tuple[Model, Sequence[Model]]:
    """The model of the first stage, and those that make larger what it makes."""
    first, *larger = (model if upscale is None else model.up_to(upscale)).stages
    if edit.low is not None:
        height, width = edit.low.tensor.shape[-2:]
        first = first.fitting(width)
        if height != width or width >= first.shape[2]:
            raise UsageError(
                f"the picture has {width} x {height} pixels and {first.name} makes {first.shape[2]} x "
                f"{first.shape[1]}: give a square one that is smaller"
            )
    return first, larger


def _low_t(model: Model, edit: Edit, low_t: float | None) -> float | None:
    """How far the picture that is made larger is noised; None where there is none."""
    if edit.low is None:
        return low_t
    return model.upscaling().t if low_t is None else low_t


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
    model: Stages,
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
    model: Stages,
    *,
    networks: Mapping[str, Denoiser] | None = None,
    on_step: OnStep | None = None,
    max_rows: int = MAX_ROWS,
) -> list[Pictures]:
    """Make the pictures of several recipes of one model, each with its inputs; they share forward passes."""
    own, networks = networks_of(model), networks or {}
    if own.keys() & networks.keys():
        raise UsageError(f"{', '.join(own)} are the cascade's own networks: give yours other names")
    engine = Engine(model.stages[0], {**networks, **own}, max_rows=max_rows)
    with torch.inference_mode():
        made = engine.run(*(prepare(recipe, model, given, on_step=on_step) for recipe, given in jobs))
    return [
        Pictures(x.clamp(-1, 1).float().cpu(), as_run(recipe, model))
        for x, (recipe, _) in zip(made, jobs, strict=True)
    ]


def as_run(recipe: Recipe, model: Stages) -> Recipe:
    """The recipe as this model runs it: it states the arithmetic that was used, whatever it stated before."""
    return recipe.model_copy(update={"dtype": dtype_name(model.stages[0])})


def dtype_name(model: Model) -> str:
    """What a model is computed in, as recipes write it."""
    return str(model.dtype).removeprefix("torch.")
