"""The report: the whole tour, made by real models, as one page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from sfumato.apps.cli.devices import load_whole_on
from sfumato.apps.cli.options import Loading, model_option
from sfumato.apps.cli.progress import note, progress_bar
from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from sfumato.apps.report.build import MadeSection, Report
    from sfumato.apps.report.chapters import Chapter
    from sfumato.apps.report.trainings import Epochs, Train
    from sfumato.apps.report.workspace import OnProgress

EXAMPLES = {"report": "sfumato report --quick --out report"}


def report(
    *,
    machine: Loading,
    model: Annotated[
        str | None,
        model_option(
            "Model of Part A: a name (see `sfumato models`), a folder, or owner/name on the hub. "
            "Default: emoji where it ships, else digits.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        Option(
            help="Tour of your own, a YAML file with its pictures beside it: prompts, pictures, seeds.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        Option(
            "--quick",
            help="One picture of each prompt, and Part B from the weights and training curves that ship: "
            "minutes. Without it Part B is trained here: hours on a CPU.",
        ),
    ] = False,
    section: Annotated[
        list[str] | None,
        Option(help="Make this section only, such as 4 or b1; repeatable. Default: all.", show_default=False),
    ] = None,
    out: Annotated[Path, Option("--out", "-o", help="Folder of the page; made if it is missing.")] = Path(
        "report"
    ),
) -> None:
    """Make the page of the whole tour: every technique with its formula, its pictures and how they were made.

    The page is OUT/index.html. Given again, the command goes on where it was stopped. A section that fails is
    shown as failed, the others still come, and the exit code is 1.
    """
    from sfumato.apps.report.build import Report, chosen
    from sfumato.apps.report.tour import default_tour, read_tour
    from sfumato.apps.report.trainings import Trainings
    from sfumato.apps.report.workspace import Subject

    chapters = chosen(section or ())
    trains = not quick and any(chapter.part == "B" for chapter in chapters)
    if trains and find_spec("accelerate") is None:
        raise UsageError(
            "the whole report trains its Part B, which needs pip install 'sfumato[train]'; or add --quick"
        )
    if recipe is not None:
        read_tour(recipe)  # refuses a wrong one before the model is loaded
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: give a folder for the page")
    model = model or "emoji"
    loaded = load_whole_on(model, machine)
    path = recipe or default_tour(loaded)
    made = Report(
        subjects={"model": Subject(model=loaded, tour=read_tour(path), tour_folder=path.parent)},
        out=out,
        quick=quick,
        trainings=Trainings(
            runs=out / "runs" if trains else None,
            device=loaded.stages[0].device,
            dtype=loaded.stages[0].dtype,
            train=_trainer(machine) if trains else None,
        ),
        command=_command(model, recipe, quick, machine.dtype, out),
    )
    make_report(made, chapters)


def make_report(report: Report, chapters: Sequence[Chapter] | None = None) -> None:
    """Make a report with a bar for each section; say where the page is, and what failed.

    Raises:
        SfumatoError: a section failed; the page says why.
    """
    start = time.monotonic()
    with ExitStack() as bars:

        def begin(chapter: Chapter) -> OnProgress:
            return bars.enter_context(progress_bar(f"{chapter.label} {chapter.title}")).show

        def end(made: MadeSection) -> None:
            bars.close()
            section = made.section
            state = "kept" if made.kept else f"{section.seconds:.1f} s"
            failure = "" if section.status == "done" else f"  {section.status}"
            failure += f": {section.error}" if section.error else ""
            note(f"{f'{made.chapter.label} {made.chapter.title}':<34} {state:>8}{failure}")

        sections = report.make(chapters=chapters, on_start=begin, on_section=end)
    typer.echo(report.out / "index.html")
    note(f"{len(sections)} sections, {time.monotonic() - start:.0f} s")
    failed = [s.id for s in sections if s.status == "failed"]
    if failed:
        raise SfumatoError(
            f"failed: {', '.join(failed)}; the page says why, and the same command tries again"
        )


def _command(model: str, recipe: Path | None, quick: bool, dtype: str, out: Path) -> str:
    """What a person types to make the page again; folders of this machine are left out."""
    words = ["sfumato", "report", "--model", model]
    words += ["--recipe", recipe.name] if recipe is not None else []
    words += ["--quick"] if quick else []
    words += ["--dtype", dtype] if dtype != "auto" else []
    words += ["--out", out.name] if str(out) != "report" else []
    return shlex.join(words)


def _trainer(machine: Loading) -> Train:
    """What trains a preset for the report, as `sfumato train` does; it resumes a run that is there."""
    from sfumato.apps.cli.app import Stopped
    from sfumato.apps.cli.train import draw_samples, finish, keep_memory, training_settings
    from sfumato.training.checkpoint import complete_checkpoints
    from sfumato.training.loop import train
    from sfumato.training.presets import PRESETS
    from sfumato.training.signals import TrainingStopped

    settings = training_settings(machine)
    keep_memory()

    def trained(preset: str, run: Path, epochs: Epochs, on_progress: OnProgress) -> Path:
        steps = train(
            preset,
            run,
            resume=bool(complete_checkpoints(run / "checkpoints")),
            sample_epochs=epochs,
            on_epoch=lambda epoch, model: draw_samples(model, PRESETS[preset].data, run, epoch),
            **settings,
        )
        try:
            return finish(steps, lambda progress: on_progress(progress.step, progress.steps))
        except TrainingStopped as stop:  # its checkpoint is complete; no section failed
            raise Stopped(stop.signal) from stop

    return trained
