"""The work of every command that makes pictures: check, load, build, run, write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sfumato.apps.cli.devices import load_cascade_on, load_whole_on
from sfumato.apps.cli.outputs import OutputFiles, check_outputs
from sfumato.apps.cli.pick import Picker, pictures_to_pick_from
from sfumato.apps.cli.progress import note, progress_bar
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.cli.options import Output, Picking, PictureOptions, SamplerOptions
    from sfumato.core.expression import Expression
    from sfumato.core.sampler import Step
    from sfumato.core.writing import Inputs
    from sfumato.models.cascade import Stages, StageSettings
    from sfumato.recipe import InputFile, Recipe
    from sfumato.results import Pictures
    from sfumato.techniques import Edit

FRAMES = 150  # of an animation at most
SECONDS, HOLD = 3.0, 1.0  # of an animation, and how long its last frame stays


def make(
    command: str,
    options: PictureOptions,
    build: Callable[[Stages], Expression | Edit | str],
    *,
    picking: Picking | None = None,
    low_t: float | None = None,
    files: dict[str, InputFile] | None = None,
) -> None:
    """Make the pictures of one command, all of them or the best of many.

    build: gives what is sampled, once the model is loaded. low_t: how far `upscale` noises its picture; None
    is the model's default. files: where `build` reads its tensors from.
    """
    among = None if picking is None else pictures_to_pick_from(picking, options)
    outputs = check_outputs(command, options, options.recipe_out)
    settings = sampler_settings(options)
    model = load_sampled(options)
    from sfumato.sampling import make_recipe

    what = build(model)
    recipe, inputs = make_recipe(
        model,
        what,
        seed=options.seed,
        count=options.count if among is None else among,
        in_pixels=options.in_pixels,
        low_t=low_t,
        stages=stage_settings(options),
        files=files,
        **settings,
    )
    outputs.refuse_inputs([file.file for file in recipe.inputs.values()], recipe.seeds)
    if among is None:
        run_recipe(recipe, model, inputs, outputs=outputs, max_rows=options.max_rows)
    else:
        picker = Picker(model, what, keep=options.count)
        run_and_pick(recipe, model, inputs, picker, outputs=outputs, max_rows=options.max_rows)


def load_sampled(options: PictureOptions) -> Stages:
    """The model of the options, with the stages that make its pictures larger."""
    if options.upscale is None and not options.stage:
        model = load_whole_on(options.model, options)
        further = options.stage_steps or options.stage_guidance or options.stage_noise
        if further and len(model.stages) == 1:
            raise UsageError("--stage-steps, --stage-guidance and --stage-noise need --upscale or --stage")
        return model
    return load_cascade_on(options.model, options.stage or (), options, upscale=options.upscale)


def stage_settings(options: PictureOptions) -> list[StageSettings]:
    """The settings of each further stage, as far as the options name them."""
    from sfumato.models.cascade import StageSettings

    given = zip_longest(options.stage_steps or (), options.stage_guidance or (), options.stage_noise or ())
    return [StageSettings(steps=steps, guidance=guidance, low_t=low_t) for steps, guidance, low_t in given]


def run_recipe(
    recipe: Recipe, model: Stages, inputs: Inputs, *, outputs: OutputFiles, max_rows: int | None
) -> None:
    """Run a recipe. Write pictures as soon as they are done, sheets and animations at the end."""
    from sfumato.results import Pictures

    outputs.check_savable(recipe)
    start, options = time.monotonic(), outputs.options
    film = None if options.animate is None else Film(recipe, model)
    parts: list[Tensor] = []
    for pictures in make_parts(recipe, model, inputs, max_rows, film):
        if options.grid:
            parts.append(pictures.x)
        else:
            outputs.write(pictures, numbered=recipe.count > 1)
    if options.grid:
        outputs.write_sheet(Pictures(joined(parts), recipe))
    if film is not None and options.animate is not None:
        typer.echo(film.save(options.animate, options))
    outputs.write_recipe(recipe)
    pictures_made = "1 picture" if recipe.count == 1 else f"{recipe.count} pictures"
    note(f"{pictures_made}, seed {recipe.seed}, {time.monotonic() - start:.1f} s")


def run_and_pick(
    recipe: Recipe,
    model: Stages,
    inputs: Inputs,
    picker: Picker,
    *,
    outputs: OutputFiles,
    max_rows: int | None,
) -> None:
    """Run a recipe and write the best of its pictures, each with a recipe of its own."""
    from sfumato.results import Pictures

    outputs.check_savable(recipe)
    start = time.monotonic()
    made = joined([pictures.x for pictures in make_parts(recipe, model, inputs, max_rows)])
    rows, described = picker.best(made)
    for row, text in zip(rows, described, strict=True):
        single = recipe.single(row)
        outputs.write(Pictures(made[row : row + 1], single), numbered=len(rows) > 1)
        note(f"seed {single.seed}: {text}")
    outputs.write_recipe(recipe.single(rows[0]))
    note(f"{len(rows)} of {len(made)} pictures, {time.monotonic() - start:.1f} s")


def joined(parts: list[Tensor]) -> Tensor:
    """Pictures (N, C, H, W) of several parts as one tensor."""
    import torch

    return torch.cat(parts)


def make_parts(
    recipe: Recipe, model: Stages, inputs: Inputs, max_rows: int | None, film: Film | None = None
) -> Iterator[Pictures]:
    """The pictures of a recipe, at most `max_rows` at a time."""
    from sfumato.sampling import MAX_ROWS, run

    most = max_rows or MAX_ROWS
    starts = range(0, recipe.count, most)
    with progress_bar(" | ".join(recipe.prompts()) or "unconditional") as bar:
        for index, start in enumerate(starts):
            count = min(most, recipe.count - start)
            part = recipe.model_copy(update={"seed": recipe.seeds[start], "count": count})

            def on_step(step: Step, index: int = index) -> None:
                bar.show(index * step.total + step.index + 1, len(starts) * step.total)
                if film is not None:
                    film.add(step)

            pictures = run(part, model, inputs, on_step=on_step, max_rows=most)
            bar.hide()
            yield pictures


class Film:
    """The estimates of x0 of every step, as the frames of an animation."""

    def __init__(self, recipe: Recipe, model: Stages) -> None:
        """Raise UsageError where the estimates are no pictures."""
        for stage in model.stages[: 1 + len(recipe.stages)]:
            if not stage.of_pixels:
                raise UsageError(f"--animate: {stage.name} works on latents, whose estimates are no pictures")
        self._recipe = recipe
        self._estimates: dict[int, list[Tensor]] = {}  # by step, of each part of the run

    def add(self, step: Step) -> None:
        """Add a step's estimates: at most FRAMES of them, and always the last."""
        last = step.index == step.total - 1
        if last or step.index % math.ceil(step.total / FRAMES) == 0:
            self._estimates.setdefault(step.index, []).append(step.x0.cpu())

    def save(self, path: Path, output: Output) -> Path:
        """Write the animation of the picture, or of a sheet of all pictures."""
        from sfumato.pictures import grid, save_animation

        recipe, enlarge = self._recipe, output.enlarge
        frames = [_enlarged(joined(parts), recipe.made_size) for parts in self._estimates.values()]
        if recipe.count > 1 or output.grid:
            frames, enlarge = [grid(x, output.columns, enlarge=enlarge) for x in frames], 1
        else:
            frames = [x[0] for x in frames]
        metadata = None if output.no_metadata else {"recipe": recipe.plain(), "version": 1, "animation": True}
        return save_animation(
            frames, path, seconds=SECONDS, hold_last=HOLD, enlarge=enlarge, metadata=metadata
        )


def _enlarged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Estimates (B, C, h, w) as pictures of a size (H, W) in [-1, 1]: those of a smaller stage enlarged."""
    from torch.nn.functional import interpolate

    return (x if x.shape[-2:] == size else interpolate(x, size, mode="nearest")).clamp(-1, 1)


def sampler_settings(options: SamplerOptions) -> dict[str, Any]:
    """The settings of a run that the options of the sampler are; UsageError for a wrong NAME=VALUE."""
    given: dict[str, float | str] = {}
    for pair in options.solver_option or ():
        name, equals, value = (piece.strip() for piece in pair.partition("="))
        if not name or not equals or not value:
            raise UsageError(f"--solver-option is NAME=VALUE, such as eta=0.5, not {pair!r}")
        try:
            given[name] = float(value)
        except ValueError:
            given[name] = value
    return {
        "steps": options.steps,
        "solver": options.solver,
        "options": given,
        "spacing": options.spacing,
        "until": options.until,
        "guidance": options.guidance,
    }
