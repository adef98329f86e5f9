"""A question to the model, the command and the line of Python that ask it, and the files that come of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sfumato.apps.report.desk import model_words
from sfumato.apps.report.page import Shown, Source
from sfumato.apps.report.said import WIDTH, Said, as_said, script
from sfumato.pictures.files import publish
from sfumato.results import numbered_path
from sfumato.sampling import make_run, run_together

if TYPE_CHECKING:
    from sfumato.apps.report.desk import Desk
    from sfumato.core.sampler import Step
    from sfumato.models.model import Model
    from sfumato.recipe import Recipe

Word = str | int | float


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One question, `count` pictures of it.

    what: an expression, an edit or a prompt. command: the words after `sfumato` that say the same, without
    what every command has; None where only a recipe can say it, which then lies beside the picture.
    name: of the file, without its extension. model: another than the desk's.
    """

    what: Said
    command: Sequence[Word] | None
    name: str
    seed: int
    alt: str
    caption: str = ""
    count: int = 1
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    model: Said | None = None

    @property
    def file(self) -> str:
        """As it is given to --out and to save."""
        return f"{self.name}.png"

    def settings(self) -> dict[str, Any]:
        """What is not left to the model, by the names that `sf.sample` and the command line share."""
        given = {
            "seed": self.seed,
            "count": self.count if self.count > 1 else None,
            "steps": self.steps,
            "solver": self.solver,
            "guidance": self.guidance,
        }
        return {key: value for key, value in given.items() if value is not None}


def take(desk: Desk, shots: Sequence[Shot]) -> list[list[Shown]]:
    """Make the pictures of several questions to one model together, and write them, each with its recipe."""
    asked: Model = _model(desk, shots).value
    jobs = [make_run(asked, shot.what.value, files=desk.files, **shot.settings()) for shot in shots]
    done = 0

    def on_step(step: Step) -> None:
        nonlocal done
        done += 1
        desk.show(done, len(jobs) * step.total)

    made = run_together(jobs, on_step=on_step)
    shown = []
    for shot, pictures in zip(shots, made, strict=True):
        if shot.command is None:
            _write_recipe(pictures.recipe, desk.folder / f"{shot.name}.yaml")
        pictures.save(desk.folder / shot.file)
        shown.append([desk.shown(name, shot.alt, shot.caption) for name in names(shot)])
    return shown


def names(shot: Shot) -> list[str]:
    """The files of a shot."""
    if shot.count == 1:
        return [shot.file]
    return [numbered_path(Path(shot.file), shot.seed + i).name for i in range(shot.count)]


def source(desk: Desk, shots: Sequence[Shot], *, also: Sequence[Said] = ()) -> Source:
    """How the shots are made by hand; `also` are statements that make what stands beside them."""
    model = _model(desk, shots)
    commands = [_command(model.value, shot) for shot in shots]
    lines = list(model.before)
    imports = model.imports
    for shot in shots:
        lines += [*shot.what.before, _saved(shot)]
        imports |= shot.what.imports
    for statement in also:
        lines += [*statement.before, statement.text]
        imports |= statement.imports
    return Source(commands=tuple(commands), python=script(imports, lines))


def _model(desk: Desk, shots: Sequence[Shot]) -> Said:
    return shots[0].model or desk.network()


def _command(model: Model, shot: Shot) -> str:
    if shot.command is None:
        dtype = model_words(model)[2:]  # the recipe names the model, and not its arithmetic
        return shlex.join(["sfumato", "run", f"{shot.name}.yaml", *dtype, "--out", shot.file])
    options = [word for key, value in shot.settings().items() for word in (f"--{key}", _plain(value))]
    words = [_plain(word) for word in shot.command]
    return shlex.join(["sfumato", *words, *model_words(model), *options, "--out", shot.file])


def _saved(shot: Shot) -> str:
    """The statement that makes and writes the pictures, an argument to a line where it would be long."""
    settings = ", ".join(f"{key}={as_said(value).text}" for key, value in shot.settings().items())
    save = f".save({as_said(shot.file).text})"
    flat = f"sf.sample(model, {shot.what.text}, {settings}){save}"
    if len(flat) <= WIDTH and "\n" not in flat:
        return flat
    what = shot.what.text.replace("\n", "\n    ")
    return f"sf.sample(\n    model,\n    {what},\n    {settings},\n){save}"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _write_recipe(recipe: Recipe, path: Path) -> None:
    publish(path, yaml.safe_dump(recipe.plain(), sort_keys=False, allow_unicode=True).encode())
