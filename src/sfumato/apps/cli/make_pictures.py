"""The work of every command that makes pictures: check, load, build, run, write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sfumato.apps.cli.devices import load_cascade_on, load_on
from sfumato.apps.cli.inputs import Inputs
from sfumato.apps.cli.outputs import OutputFiles, check_outputs, write_recipe
from sfumato.apps.cli.pick import Picker, selection_of
from sfumato.apps.cli.progress import note, progress_bar
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.apps.cli.options import Machine, Output, Picking, Sampling
    from sfumato.core.expression import Expression
    from sfumato.core.sampler import Step
    from sfumato.core.writing import Inputs as Given
    from sfumato.models.cascade import Stages, StageSettings
    from sfumato.models.model import Model
    from sfumato.recipe import Recipe
    from sfumato.results import Pictures
    from sfumato.techniques import Edit

    # Builds what is sampled once the model is loaded; reads pictures through the inputs.
    Build = Callable[[Model, Inputs], Expression | Edit | str]

FRAMES = 150  # of an animation at most
SECONDS, HOLD = 3.0, 1.0  # of an animation, and how long its last frame stays


def make(
    command: str,
    sampling: Sampling,
    output: Output,
    machine: Machine,
    build: Build,
    *,
    picking: Picking | None = None,
    low_t: float | None = None,
) -> None:
    """Make the pictures of one command, all of them or the best of many.

    low_t: how far `upscale` noises its picture; None is the model's default.
    """
    choice = None if picking is None else selection_of(picking, sampling, output)
    outputs = check_outputs(command, output, sampling.recipe_out)
    options = solver_options(sampling.solver_option)
    model = load_sampled(sampling, machine)
    from sfumato.sampling import make_recipe

    first = model.stages[0]
    inputs = Inputs(first)
    what = build(first, inputs)
    recipe, given = make_recipe(
        model,
        what,
        seed=sampling.seed,
        count=sampling.count if choice is None else choice.among,
        steps=sampling.steps,
        solver=sampling.solver,
        options=options,
        spacing=sampling.spacing,
        guidance=sampling.guidance,
        in_pixels=sampling.in_pixels,
        low_t=low_t,
        stages=stage_settings(sampling),
        files=inputs.files,
    )
    outputs.refuse_inputs([file.file for file in recipe.inputs.values()], recipe.seeds)
    if choice is None:
        run_recipe(recipe, model, given, outputs=outputs, output=output, machine=machine)
    else:
        picker = choice.picker(first, what)
        run_and_pick(recipe, model, given, picker, outputs=outputs, output=output, machine=machine)


def load_sampled(sampling: Sampling, machine: Machine) -> Stages:
    """The model of the options, with the stages that make its pictures larger."""
    if sampling.upscale is None and not sampling.stage:
        if sampling.stage_steps or sampling.stage_guidance or sampling.stage_noise:
            raise UsageError("--stage-steps, --stage-guidance and --stage-noise need --upscale or --stage")
        return load_on(sampling.model, machine)
    return load_cascade_on(sampling.model, sampling.stage or (), machine, upscale=sampling.upscale)


def stage_settings(sampling: Sampling) -> list[StageSettings]:
    """The settings of each further stage, as far as the options name them."""
    from itertools import zip_longest

    from sfumato.models.cascade import StageSettings

    given = zip_longest(sampling.stage_steps or (), sampling.stage_guidance or (), sampling.stage_noise or ())
    return [StageSettings(steps=steps, guidance=guidance, low_t=low_t) for steps, guidance, low_t in given]


def run_recipe(
    recipe: Recipe,
    model: Stages,
    given: Given,
    *,
    outputs: OutputFiles,
    output: Output,
    machine: Machine,
) -> None:
    """Run a recipe. Write pictures as soon as they are done, sheets and animations at the end."""
    if outputs.animation is not None:
        check_animation(recipe, model)
    start = time.monotonic()
    film = Film() if outputs.animation else None
    parts: list[Tensor] = []
    for pictures in make_parts(recipe, model, given, machine, film):
        if output.grid:
            parts.append(pictures.x)
            continue
        for path in pictures.save(
            outputs.picture,
            enlarge=output.enlarge,
            numbered=recipe.count > 1,
            metadata=not output.no_metadata,
        ):
            typer.echo(path)
    if output.grid:
        typer.echo(_save_sheet(recipe, parts, outputs.picture, output))
    if film is not None and outputs.animation is not None:
        typer.echo(film.save(outputs.animation, recipe, output))
    if outputs.recipe is not None:
        typer.echo(write_recipe(recipe, outputs.recipe))
    pictures_made = "1 picture" if recipe.count == 1 else f"{recipe.count} pictures"
    note(f"{pictures_made}, seed {recipe.seed}, {time.monotonic() - start:.1f} s")


def run_and_pick(
    recipe: Recipe,
    model: Stages,
    given: Given,
    picker: Picker,
    *,
    outputs: OutputFiles,
    output: Output,
    machine: Machine,
) -> None:
    """Run a recipe and write the best of its pictures, each with a recipe of its own."""
    import torch

    from sfumato.results import Pictures

    start = time.monotonic()
    made = torch.cat([pictures.x for pictures in make_parts(recipe, model, given, machine)])
    rows, described = picker.best(made)
    for row, text in zip(rows, described, strict=True):
        single = recipe.single(row)
        (path,) = Pictures(made[row : row + 1], single).save(
            outputs.picture, enlarge=output.enlarge, numbered=len(rows) > 1, metadata=not output.no_metadata
        )
        typer.echo(path)
        note(f"seed {single.seed}: {text}")
    if outputs.recipe is not None:
        typer.echo(write_recipe(recipe.single(rows[0]), outputs.recipe))
    note(f"{len(rows)} of {len(made)} pictures, {time.monotonic() - start:.1f} s")


def check_animation(recipe: Recipe, model: Stages) -> None:
    """Raise UsageError where the estimates are no pictures, or pictures of several sizes."""
    first = model.stages[0]
    if recipe.stages:
        raise UsageError("--animate shows pictures of one size: leave --upscale out")
    if not first.of_pixels:
        raise UsageError(f"--animate: {first.name} works on latents, whose estimates are no pictures")


def _save_sheet(recipe: Recipe, parts: list[Tensor], path: Path, output: Output) -> Path:
    import torch

    from sfumato.results import Pictures

    return Pictures(torch.cat(parts), recipe).save_grid(
        path, columns=output.columns, enlarge=output.enlarge, metadata=not output.no_metadata
    )


def make_parts(
    recipe: Recipe, model: Stages, given: Given, machine: Machine, film: Film | None = None
) -> Iterator[Pictures]:
    """The pictures of a recipe, at most --max-rows at a time."""
    from sfumato.sampling import MAX_ROWS, run

    most = machine.max_rows or MAX_ROWS
    starts = range(0, recipe.count, most)
    seeds = recipe.seeds
    with progress_bar(" | ".join(recipe.prompts()) or "unconditional") as bar:
        for index, start in enumerate(starts):
            part = recipe.model_copy(update={"seed": seeds[start], "count": min(most, recipe.count - start)})

            def on_step(step: Step, index: int = index) -> None:
                bar.show(index * step.total + step.index + 1, len(starts) * step.total)
                if film is not None:
                    film.add(step)

            pictures = run(part, model, given, on_step=on_step, max_rows=most)
            bar.hide()
            yield pictures


class Film:
    """The estimates of x0 of every step, as the frames of an animation."""

    def __init__(self) -> None:
        self._estimates: dict[int, list[Tensor]] = {}  # by step, of each part of the run

    def add(self, step: Step) -> None:
        """Add a step's estimates: at most FRAMES of them, and always the last."""
        last = step.index == step.total - 1
        if last or step.index % math.ceil(step.total / FRAMES) == 0:
            self._estimates.setdefault(step.index, []).append(step.x0.cpu())

    def save(self, path: Path, recipe: Recipe, output: Output) -> Path:
        """Write the animation of the picture, or of a sheet of all pictures."""
        import torch

        from sfumato.pictures import grid, save_animation

        frames = [torch.cat(parts).clamp(-1, 1) for parts in self._estimates.values()]
        if recipe.count > 1 or output.grid:
            frames = [grid(x, output.columns, enlarge=output.enlarge) for x in frames]
            enlarge = 1
        else:
            frames, enlarge = [x[0] for x in frames], output.enlarge
        metadata = None if output.no_metadata else {"recipe": recipe.plain(), "version": 1, "animation": True}
        return save_animation(
            frames, path, seconds=SECONDS, hold_last=HOLD, enlarge=enlarge, metadata=metadata
        )


def solver_options(given: list[str] | None) -> dict[str, float | str]:
    """The options of a solver from NAME=VALUE pairs; UsageError for anything else."""
    options: dict[str, float | str] = {}
    for pair in given or ():
        name, equals, value = (piece.strip() for piece in pair.partition("="))
        if not name or not equals or not value:
            raise UsageError(f"--solver-option is NAME=VALUE, such as eta=0.5, not {pair!r}")
        try:
            options[name] = float(value)
        except ValueError:
            options[name] = value
    return options
