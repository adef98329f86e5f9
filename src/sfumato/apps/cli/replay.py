"""Making a picture again, from the recipe inside it or from a recipe file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from sfumato.apps.cli.consent import Yes, ask, check_work, hub_models
from sfumato.apps.cli.devices import load_cascade_on, load_on
from sfumato.apps.cli.inputs import find_inputs
from sfumato.apps.cli.make_pictures import joined, make_parts, run_recipe
from sfumato.apps.cli.options import Machine, RunOptions
from sfumato.apps.cli.outputs import RECIPES, check_outputs
from sfumato.apps.cli.progress import note
from sfumato.errors import ModelUnavailableError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.models.cascade import Stages
    from sfumato.recipe import Recipe

EXAMPLES = {"replay": "sfumato replay generate.png", "run": "sfumato run recipe.yaml --count 16 --grid"}
FILMS = (".gif", ".mp4")


@dataclass(frozen=True, kw_only=True)
class Replacements:
    """What stands for the models of a recipe, and where its inputs are."""

    model: Annotated[
        str | None,
        Option(
            "--model", "-m", help="Name or folder of the model instead of the recipe's.", show_default=False
        ),
    ] = None
    stage: Annotated[
        list[str] | None,
        Option(
            metavar="MODEL",
            help="Names or folders of the models of all further stages, instead of the recipe's.",
            show_default=False,
        ),
    ] = None
    inputs: Annotated[
        Path | None, Option(help="Folder of the input pictures; it is searched first.", show_default=False)
    ] = None


def run(
    *,
    options: RunOptions,
    recipe: Annotated[Path, Argument(help="Recipe, .yaml or .json.")],
    replacements: Replacements,
    seed: Annotated[int | None, Option(min=0, help="Seed instead of the recipe's.")] = None,
    count: Annotated[
        int | None, Option("--count", "-n", min=1, help="Number of pictures instead of the recipe's.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Make the pictures of a recipe file."""
    from sfumato.recipe import parse_recipe, read_recipe

    outputs = check_outputs("run", options)
    read = read_recipe(recipe)
    changed = {key: value for key, value in (("seed", seed), ("count", count)) if value is not None}
    chosen = parse_recipe(read.plain() | changed)
    loaded = load_for(chosen, replacements, options, yes=yes)
    inputs = find_inputs(chosen, loaded, beside=recipe.parent, folder=replacements.inputs)
    outputs.refuse_inputs([file.file for file in chosen.inputs.values()], chosen.seeds)
    run_recipe(chosen, loaded, inputs, outputs=outputs, max_rows=options.max_rows)


def replay(
    *,
    machine: Machine,
    picture: Annotated[Path, Argument(help="Picture that sfumato made, or a recipe.")],
    out: Annotated[
        Path | None,
        Option("--out", "-o", help="Also write the new picture, in the same format.", show_default=False),
    ] = None,
    recipe: Annotated[
        Path | None, Option(help="Recipe file, for a picture that carries none.", show_default=False)
    ] = None,
    replacements: Replacements,
    yes: Yes = False,
) -> None:
    """Make a picture again from the recipe inside it, and say whether the pixels agree.

    They agree exactly, or within one grey level (another machine or batch adds in another order), or differ:
    then the exit code is 1. A recipe file is run; it holds no pixels to compare. A recipe that makes
    more than the picture holds, or takes very many steps, is run after a yes.
    """
    if picture.suffix.lower() in RECIPES:
        if recipe is not None:
            raise UsageError(f"--recipe goes with a picture, and {picture} is a recipe: leave --recipe out")
        options = RunOptions(out=out or Path("replay.png"), **vars(machine))
        run(options=options, recipe=picture, replacements=replacements, yes=yes)
        note("a recipe holds no pixels: there is nothing to compare")
        return
    metadata = _metadata(picture, recipe)
    recipes = _recipes(metadata)
    if out is not None:
        _check_out(out, picture, recipes)
    check_work(recipes, picture, yes=yes)
    model, parts = load_for(recipes[0], replacements, machine, yes=yes), []
    for one in recipes:
        inputs = find_inputs(one, model, beside=picture.parent, folder=replacements.inputs)
        parts += [pictures.x for pictures in make_parts(one, model, inputs, machine.max_rows)]
    _compare(picture, joined(parts), metadata, recipes[0].parameters(), out)


def load_for(recipe: Recipe, replacements: Replacements, machine: Machine, *, yes: bool) -> Stages:
    """The models of a recipe; a note says when their weights are not those of the recipe.

    A model of the hub that the recipe alone names is fetched after a yes; one that is here is loaded.
    """
    name, stages = replacements.model, replacements.stage
    if recipe.custom and not (name is not None and all(part.startswith("model ") for part in recipe.custom)):
        parts = ", ".join(recipe.custom)
        raise UsageError(f"the recipe cannot be run: it was made with the user's own Python ({parts})")
    if stages and len(stages) != len(recipe.stages):
        raise UsageError(
            f"--stage is given {len(stages)} times, and the recipe has {len(recipe.stages)} further stages"
        )
    further = stages or [stage.model for stage in recipe.stages]
    fetched = hub_models([*([] if name else [recipe.model]), *([] if stages else further)])
    try:
        local = replace(machine, offline=True) if fetched and not yes else machine
        model = _load(name or recipe.model, further, local, recipe.dtype)
    except ModelUnavailableError:
        if not fetched or yes or machine.offline:
            raise
        ask(f"the recipe names {', '.join(fetched)}, which must be fetched from the hub", yes=yes)
        model = _load(name or recipe.model, further, machine, recipe.dtype)
    for stage, loaded in zip((recipe, *recipe.stages), model.stages, strict=True):
        if stage.weights is not None and loaded.sha256 != stage.weights:
            note(f"the weights of {loaded.name} are not those of the recipe: the picture will differ")
    return model


def _load(name: str, further: list[str], machine: Machine, dtype: str) -> Stages:
    if further:
        return load_cascade_on(name, further, machine, stated=dtype)
    return load_on(name, machine, stated=dtype)


def _metadata(picture: Path, recipe: Path | None) -> Mapping[str, Any]:
    from sfumato.pictures import read_metadata
    from sfumato.recipe import read_recipe

    if picture.suffix.lower() in FILMS:
        raise UsageError(f"{picture} is an animation: replay the picture of the same run")
    found = read_metadata(picture) or {}
    if recipe is not None:
        return {**found, "recipe": read_recipe(recipe).plain()}
    if "recipe" in found or "recipes" in found:
        return found
    if "denoise" in found:
        raise UsageError(f"{picture} is a sheet of `sfumato denoise`: run that command again")
    raise UsageError(f"{picture} carries no recipe: give it with --recipe FILE")


def _check_out(out: Path, picture: Path, recipes: list[Recipe]) -> None:
    from sfumato.pictures import check_destination

    if out.suffix.lower() != picture.suffix.lower():
        raise UsageError(f"--out {out} needs the extension of the picture, {picture.suffix}")
    if check_destination(out).resolve() == picture.resolve():
        raise UsageError(f"--out {out} is the picture itself: choose another --out")
    for file in (file.file for recipe in recipes for file in recipe.inputs.values()):
        if out.resolve() in {Path(file).resolve(), (picture.parent / file).resolve()}:
            raise UsageError(f"--out {out} is an input of the picture: choose another --out")


def _recipes(metadata: Mapping[str, Any]) -> list[Recipe]:
    """The recipes that a picture carries, all of one model."""
    from sfumato.recipe import parse_recipe

    written = metadata["recipes"] if "recipes" in metadata else [metadata["recipe"]]
    if not isinstance(written, list):
        raise UsageError("the recipes inside the picture are damaged: they are no list")
    recipes = [parse_recipe(data) for data in written]
    if not recipes or len({tuple(s.model for s in (r, *r.stages)) for r in recipes}) > 1:
        raise UsageError("the recipes of a sheet must name one model")
    return recipes


def laid_out(x: Tensor, metadata: Mapping[str, Any]) -> Tensor:
    """Pictures (N, C, H, W) in the layout of the file that has this metadata: (C, H', W').

    Raises:
        UsageError: the metadata does not fit the pictures.
    """
    from sfumato.pictures import grid
    from sfumato.pictures.grid import enlarge_pixels

    layout = metadata.get("sheet")
    if isinstance(layout, Mapping):
        columns = layout.get("columns")
        if columns is not None and not isinstance(columns, int):
            raise UsageError(f"the sheet has {columns!r} columns: not a whole number")
        return grid(x, columns, enlarge=layout.get("enlarge", 1))
    if len(x) != 1:
        raise UsageError(
            f"the recipe makes {len(x)} pictures, and the file holds one without the layout of a sheet"
        )
    return enlarge_pixels(x[0], metadata.get("enlarge", 1))


def _compare(
    picture: Path, x: Tensor, metadata: Mapping[str, Any], parameters: str, out: Path | None
) -> None:
    """Say whether the file and the new picture agree, after both were encoded in one format."""
    from sfumato.pictures import read_picture, save_picture, to_uint8

    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder, f"new{picture.suffix.lower()}")
        laid = laid_out(x, metadata)
        save_picture(laid, new)
        ours, theirs = to_uint8(read_picture(new)).int(), to_uint8(read_picture(picture)).int()
    if out is not None:
        typer.echo(save_picture(laid, out, metadata=metadata, parameters=parameters))
    agree, found = _agreement(ours, theirs)
    typer.echo(f"{picture}: the pixels {found}")
    if not agree:
        raise typer.Exit(1)


def _agreement(ours: Tensor, theirs: Tensor) -> tuple[bool, str]:
    """Whether two pictures of whole grey levels agree within one level, and how near they are."""
    if ours.shape != theirs.shape:
        size = f"{ours.shape[-1]} x {ours.shape[-2]} instead of {theirs.shape[-1]} x {theirs.shape[-2]}"
        return False, f"differ: the recipe makes {size}"
    apart = (ours - theirs).abs()
    most = int(apart.max())
    if most == 0:
        return True, "agree exactly"
    share = float((apart > min(most, 2) - 1).float().mean())
    if most == 1:
        return True, f"agree within one grey level ({share:.2%} of the values are one off)"
    return False, f"differ: by up to {most} grey levels, {share:.1%} of the values by more than one"
