"""Picture sets: an expression, the command and the Python for its pictures, and their files."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from sfumato.apps.report.page import Code, Picture, Row
from sfumato.apps.report.snippets import Snippet, broken, call, literal, program, statement
from sfumato.apps.report.workspace import model_snippet
from sfumato.core.expression import as_expression, unconditional
from sfumato.evaluation.illusions import pick_best
from sfumato.evaluation.readers import reader_of
from sfumato.pictures.files import publish
from sfumato.sampling import make_run, run_together

if TYPE_CHECKING:
    from sfumato.apps.report.workspace import Workspace
    from sfumato.core.sampler import Step
    from sfumato.models.cascade import Stages
    from sfumato.results import Pictures

Word = str | int | float


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """`count` pictures of one expression.

    what: an expression, an edit or a prompt. command: the words after `sfumato` that say the same, without
    the options that every command has; None where only a recipe can say it, which then lies beside the
    picture. name: of the file, after the section's id and without its extension. best_of: of how many
    pictures these are the best, as the package's classifier reads them. model: another than the workspace's.
    """

    what: Snippet
    command: Sequence[Word] | None
    name: str
    seed: int
    alt: str
    caption: str = ""
    count: int = 1
    best_of: int | None = None
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    model: Snippet | None = None

    def settings(self) -> dict[str, Any]:
        """What is not left to the model, by the names that `sf.sample` and the command line share."""
        given = {"seed": self.seed, "steps": self.steps, "solver": self.solver, "guidance": self.guidance}
        return {key: value for key, value in given.items() if value is not None}


def prompted(prompt: str | None, **settings: Any) -> PictureSet:
    """The set that `sfumato generate` makes of a prompt, or without one; settings: its other fields."""
    what = call(unconditional) if prompt is None else literal(prompt)
    return PictureSet(what=what, command=["generate", *([] if prompt is None else [prompt])], **settings)


@dataclass(frozen=True, kw_only=True)
class MadeSet:
    """A set whose pictures lie in the folder. seeds: of the pictures, in their order."""

    picture_set: PictureSet
    file: str  # as it is given to --out and to save
    pictures: list[Picture]
    seeds: list[int]


def make_sets(work: Workspace, sets: Sequence[PictureSet]) -> list[MadeSet]:
    """Make the pictures of several sets of one model together, and write them, each with its recipe."""
    model: Stages = _model(work, sets[0]).value
    jobs = [
        make_run(model, s.what.value, count=s.best_of or s.count, files=work.files, **s.settings())
        for s in sets
    ]
    done = 0

    def on_step(step: Step) -> None:
        nonlocal done
        done += 1
        work.on_progress(done, len(jobs) * step.total)

    made = run_together(jobs, on_step=on_step)
    return [_saved(work, s, _kept(s, model, pictures)) for s, pictures in zip(sets, made, strict=True)]


def make_row(
    work: Workspace,
    title: str,
    sets: Sequence[PictureSet],
    *,
    note: str = "",
    before: Sequence[Picture] = (),
    after: Sequence[Picture] = (),
    columns: int | None = None,
) -> Row:
    """The pictures of several sets side by side, between others, and how they are made."""
    made = make_sets(work, sets)
    pictures = (*before, *(picture for one in made for picture in one.pictures), *after)
    return Row(title=title, note=note, pictures=pictures, columns=columns, code=code_of(work, made))


def _kept(picture_set: PictureSet, model: Stages, made: Pictures) -> list[Pictures]:
    """Each picture that is kept, with the recipe of itself alone."""
    rows = list(range(picture_set.count))
    if picture_set.best_of is not None:
        expression = as_expression(picture_set.what.value)
        rows, _ = pick_best(reader_of(model), made.x, expression, keep=picture_set.count)
    return [made[row] for row in rows]


def _saved(work: Workspace, picture_set: PictureSet, kept: Sequence[Pictures]) -> MadeSet:
    file = f"{work.section}-{picture_set.name}.png"
    pictures, seeds = [], []
    for one in kept:
        (path,) = one.save(work.folder / file, numbered=picture_set.count > 1)
        pictures.append(work.picture(path.name, picture_set.alt, picture_set.caption))
        seeds.append(one.recipe.seed)
    if picture_set.command is None:
        plain = {**kept[0].recipe.plain(), "count": picture_set.count}
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        publish(work.folder / file.replace(".png", ".yaml"), text.encode())
    return MadeSet(picture_set=picture_set, file=file, pictures=pictures, seeds=seeds)


def code_of(work: Workspace, made: Sequence[MadeSet], *, also: Sequence[Snippet] = ()) -> Code:
    """How the pictures are made by hand; `also` are statements that make what stands beside them."""
    model = _model(work, made[0].picture_set)
    commands = tuple(_command(model.value, one) for one in made)
    return Code(commands=commands, python=program([*(_python(model, one) for one in made), *also]))


def _model(work: Workspace, picture_set: PictureSet) -> Snippet:
    return picture_set.model or model_snippet(work.model)


def model_words(model: Stages) -> list[str]:
    """What makes pictures as options of a command."""
    dtype = str(model.stages[0].dtype).removeprefix("torch.")
    return ["--model", model.name, *([] if dtype == "float32" else ["--dtype", dtype])]


def _command(model: Stages, made: MadeSet) -> str:
    picture_set = made.picture_set
    if picture_set.command is None:
        recipe = made.file.replace(".png", ".yaml")
        return shlex.join(
            ["sfumato", "run", recipe, *model_words(model), "--enlarge", "1", "--out", made.file]
        )
    options = picture_set.settings() | ({"count": picture_set.count} if picture_set.count > 1 else {})
    if picture_set.best_of is not None:
        options |= {"pick": "best", "from": picture_set.best_of}
    words = [_plain(word) for word in picture_set.command]
    words += [
        *model_words(model),
        *(w for key, value in options.items() for w in (f"--{key}", _plain(value))),
    ]
    return shlex.join(["sfumato", *words, "--enlarge", "1", "--out", made.file])


def _python(model: Snippet, made: MadeSet) -> Snippet:
    """The statement that makes and writes the pictures."""
    picture_set, file = made.picture_set, literal(made.file).text
    settings = {key: literal(value).text for key, value in picture_set.settings().items()}
    several = picture_set.best_of is not None and picture_set.count > 1
    if several:
        settings["seed"], file = "seed", f'f"{made.file.removesuffix(".png")}-{{seed}}.png"'
    elif picture_set.best_of is not None:
        settings["seed"] = str(made.seeds[0])
    elif picture_set.count > 1:
        settings["count"] = str(picture_set.count)
    words = ["model", picture_set.what.text, *(f"{key}={value}" for key, value in settings.items())]
    text = broken("sf.sample", words, f".save({file})")
    if several:
        text = f"for seed in {made.seeds}:\n{textwrap.indent(text, '    ')}"
    return statement(text, model, picture_set.what)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
