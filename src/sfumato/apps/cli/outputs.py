"""The files that a command writes, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.apps.cli.options import Output
    from sfumato.recipe import Recipe
    from sfumato.results import Pictures

RECIPES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, kw_only=True)
class OutputFiles:
    """The files of a command, and the options that say how they are written."""

    picture: Path
    recipe: Path | None
    options: Output

    def refuse_inputs(self, inputs: Iterable[str], seeds: Sequence[int] = ()) -> None:
        """Refuse to write over an input, which a replay needs. seeds: of several pictures.

        Raises:
            UsageError: one of the outputs is an input.
        """
        from sfumato.results import numbered_path

        folder = self.picture.parent.resolve()
        written = {path.resolve() for path in (self.picture, self.options.animate, self.recipe) if path}
        written |= {folder / numbered_path(self.picture, seed).name for seed in seeds}
        for name in inputs:
            if Path(name).resolve() in written:
                raise UsageError(f"{name} is an input, which --out would overwrite: choose another --out")

    def check_savable(self, recipe: Recipe) -> None:
        """Refuse pictures that their format could not hold, before they are made: UsageError."""
        from sfumato.results import check_savable

        if not self.options.no_metadata:
            check_savable(recipe, self.picture, enlarge=self.options.enlarge, alone=not self.options.grid)

    def write(self, pictures: Pictures, *, numbered: bool) -> None:
        """Write pictures and print the names of their files. numbered: the seed stands in the name."""
        enlarge, metadata = self.options.enlarge, not self.options.no_metadata
        for path in pictures.save(self.picture, enlarge=enlarge, numbered=numbered, metadata=metadata):
            typer.echo(path)

    def write_sheet(self, pictures: Pictures) -> None:
        """Write all pictures as one sheet and print its name."""
        options, metadata = self.options, not self.options.no_metadata
        typer.echo(
            pictures.save_grid(
                self.picture, columns=options.columns, enlarge=options.enlarge, metadata=metadata
            )
        )

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the recipe as .yaml or .json where it is wanted, whole or not at all; print its name."""
        import json

        import yaml

        from sfumato.pictures.files import publish

        if self.recipe is None:
            return
        data = recipe.plain()
        if self.recipe.suffix.lower() == ".json":
            text = json.dumps(data, indent=2) + "\n"
        else:
            text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        publish(self.recipe, text.encode())
        typer.echo(self.recipe)


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
    return OutputFiles(picture=picture, recipe=recipe, options=output)
