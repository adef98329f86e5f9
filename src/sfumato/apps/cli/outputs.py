"""The files that a command writes, checked before anything is loaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sfumato.apps.cli.file_names import free_names, words_of
from sfumato.apps.cli.progress import note
from sfumato.apps.cli.sheets import captioned_sheet
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.apps.cli.options import Output
    from sfumato.recipe import Recipe
    from sfumato.results import Pictures

RECIPES = (".yaml", ".yml", ".json")
STDOUT = Path("-")
SHOWN, SHOWN_ON_SHEET = 256, 128  # pixels: smaller pictures are enlarged to at least this height


@dataclass(frozen=True, kw_only=True)
class OutputFiles:
    """The files of a command, and the options that say how they are written.

    picture: its name; None: words of the prompt and the seed, and no file is replaced; "-": to stdout.
    remarks: what the model does not understand of the prompts, for --json.
    """

    picture: Path | None
    recipe: Path | None
    options: Output
    remarks: tuple[str, ...] = ()

    def check_run(self, inputs: Iterable[str], seeds: Sequence[int] = (), *, sheet: bool = False) -> None:
        """Refuse what a run must not write, before it begins. seeds: of its pictures, `sheet`: as one.

        Raises:
            UsageError: an output is an input, which a replay needs; several pictures for stdout; a file that
                --no-clobber keeps.
        """
        from sfumato.results import numbered_path

        pictures = [] if self.picture in (None, STDOUT) else [self.picture]
        if len(seeds) > 1 and not sheet:
            if self.picture == STDOUT:
                raise UsageError(f"--out - takes one picture, not {len(seeds)}: add --grid, or name a file")
            pictures = [numbered_path(path, seed) for path in pictures if path for seed in seeds]
        written = {path: "--out" for path in pictures if path is not None}
        if self.options.animate is not None:
            written[self.options.animate] = "--animate"
        if self.recipe is not None:
            written[self.recipe] = "--recipe-out"
        if self.options.no_clobber:
            for path, flag in written.items():
                if path.exists():
                    raise UsageError(f"{flag}: {path} is there already, and --no-clobber keeps it")
        flags = {path.resolve(): flag for path, flag in written.items()}
        for name in inputs:
            if (over := flags.get(Path(name).resolve())) is not None:
                raise UsageError(f"{name} is an input, which {over} would overwrite: choose another {over}")

    def write(
        self, pictures: Pictures, *, numbered: bool, scores: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Write pictures and print the names of their files. numbered: the seed stands in the name.

        scores: of each picture, for --json.
        """
        from sfumato.results import numbered_path

        options, around = self.options, pictures.surroundings
        for i, seed in enumerate(pictures.recipe.seeds):
            times = (options.enlarge or 1) if around is not None else self.enlarged(pictures.x.shape[-2])
            data = pictures.encode(i, self.extension, enlarge=times, metadata=not options.no_metadata)
            named = self.picture
            if named is not None and numbered:
                named = numbered_path(named, seed)
            path = self._put(data, named, f"{words_of(pictures.recipe.prompts())}-{seed}")
            self._tell(path, {"seed": seed, **({} if scores is None else {"scores": scores[i]})})

    def write_sheet(self, pictures: Pictures) -> None:
        """Write all pictures as one sheet and print its name."""
        from sfumato.results import encoded

        options, recipe = self.options, pictures.recipe
        enlarge = self.enlarged(pictures.x.shape[-2], sheet=True)
        x = captioned_sheet(pictures.x, recipe, options.columns, enlarge)
        layout = {"sheet": {"columns": options.columns, "enlarge": enlarge, "captions": True}}
        data = encoded(x, self.extension, recipe, layout, metadata=not options.no_metadata)
        path = self._put(data, self.picture, f"{words_of(recipe.prompts())}-{recipe.seed}-sheet")
        self._tell(path, {"seed": recipe.seed, "count": recipe.count})

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the recipe as .yaml or .json where it is wanted, whole or not at all; print its name."""
        import yaml

        from sfumato.pictures.files import publish

        if self.recipe is None:
            return
        data = recipe.plain()
        if self.recipe.suffix.lower() == ".json":
            text = json.dumps(data, indent=2) + "\n"
        else:
            text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        publish(self.recipe, text.encode(), replace=not self.options.no_clobber)
        self.tell_other(self.recipe)

    def tell_other(self, path: Path) -> None:
        """Print the name of a file that is no picture; on stderr where stdout has JSON or a picture."""
        if self.options.as_json or self.picture == STDOUT:
            note(str(path))
        else:
            typer.echo(path)

    def enlarged(self, height: int, *, sheet: bool = False) -> int:
        """How many times pictures of this height are enlarged; on stdout, for programs, they are not."""
        if self.options.enlarge is not None or self.picture == STDOUT:
            return self.options.enlarge or 1
        return max(1, -(-(SHOWN_ON_SHEET if sheet else SHOWN) // height))

    @property
    def extension(self) -> str:
        """The extension of the pictures."""
        return ".png" if self.picture in (None, STDOUT) else self.picture.suffix.lower()

    def _put(self, data: bytes, named: Path | None, stem: str) -> Path:
        """Write a picture: under its name, or under the first free one of this stem."""
        from sfumato.pictures.files import NameTakenError, publish

        if named == STDOUT:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return named
        if named is not None:
            publish(named, data, replace=not self.options.no_clobber)
            return named
        for path in free_names(stem, self.extension):
            try:
                publish(path, data, replace=False)
            except NameTakenError:
                continue
            return path
        raise AssertionError  # there is always a next name

    def _tell(self, path: Path, facts: Mapping[str, Any]) -> None:
        if path == STDOUT:
            return
        if not self.options.as_json:
            typer.echo(path)
            return
        warnings = {"warnings": self.remarks} if self.remarks else {}
        typer.echo(json.dumps({"path": str(path), **facts, **warnings}))


def check_outputs(output: Output, recipe: Path | None = None) -> OutputFiles:
    """The files that a command is to write.

    Raises:
        UsageError: an extension is unknown, or options contradict each other.
        SfumatoError: a folder is missing or not writable, or the package for MP4 is missing.
    """
    if output.columns is not None and not (output.grid or output.animate):
        raise UsageError("--columns needs a sheet: add --grid")
    if output.out == STDOUT and output.as_json:
        raise UsageError("--json prints lines on stdout, and --out - the picture: leave one of them out")
    from sfumato.pictures.files import check_destination

    if output.out != STDOUT:
        check_destination(output.out or Path("picture.png"))
    if output.animate is not None:
        from sfumato.pictures.animation import EXTENSIONS
        from sfumato.pictures.metadata import load_av

        check_destination(output.animate, EXTENSIONS)
        if output.animate.suffix.lower() == ".mp4":
            load_av()
    if recipe is not None:
        check_destination(recipe, RECIPES)
    return OutputFiles(picture=output.out, recipe=recipe, options=output)
