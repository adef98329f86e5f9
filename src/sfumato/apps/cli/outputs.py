"""The files that a command writes, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.apps.cli.options import Output
    from sfumato.recipe import Recipe

RECIPES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, kw_only=True)
class OutputFiles:
    """The files of a command."""

    picture: Path
    animation: Path | None = None
    recipe: Path | None = None

    def refuse_inputs(self, inputs: Iterable[str], seeds: Sequence[int] = ()) -> None:
        """Refuse to write over an input, which a replay needs. seeds: of several pictures.

        Raises:
            UsageError: one of the outputs is an input.
        """
        from sfumato.results import numbered_path

        folder = self.picture.parent.resolve()
        written = {path.resolve() for path in (self.picture, self.animation, self.recipe) if path}
        written |= {folder / numbered_path(self.picture, seed).name for seed in seeds}
        for name in inputs:
            if Path(name).resolve() in written:
                raise UsageError(f"{name} is an input, which --out would overwrite: choose another --out")


def check_outputs(command: str, output: Output, recipe: Path | None = None) -> OutputFiles:
    """The files that a command is to write.

    Raises:
        UsageError: an extension is unknown, or options contradict each other.
        SfumatoError: a folder is missing or not writable, or the package for MP4 is missing.
    """
    from sfumato.pictures import check_destination
    from sfumato.pictures.animation import EXTENSIONS
    from sfumato.pictures.metadata import load_av

    if output.columns is not None and not (output.grid or output.animate):
        raise UsageError("--columns needs a sheet: add --grid")
    picture = check_destination(output.out or Path(f"{command}.png"))
    if output.animate is not None:
        check_destination(output.animate, EXTENSIONS)
        if output.animate.suffix.lower() == ".mp4":
            load_av()
    if recipe is not None:
        check_destination(recipe, RECIPES)
    return OutputFiles(picture=picture, animation=output.animate, recipe=recipe)


def write_recipe(recipe: Recipe, path: Path) -> Path:
    """Write the recipe as .yaml or .json, whole or not at all."""
    import json

    import yaml

    from sfumato.pictures.files import publish

    data = recipe.plain()
    if path.suffix.lower() == ".json":
        text = json.dumps(data, indent=2) + "\n"
    else:
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    publish(path, text.encode())
    return path
