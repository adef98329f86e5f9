"""The whole tour, made by real models, as one page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from sfumato.apps.cli import names
from sfumato.apps.cli.devices import find_device, find_dtype, load_on
from sfumato.apps.cli.options import Loading
from sfumato.apps.cli.progress import note, progress_bar
from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from sfumato.apps.report.build import Told
    from sfumato.apps.report.chapters import Chapter
    from sfumato.apps.report.trainings import Sheets, Show, Train

EXAMPLES = {"report": "sfumato report --quick --out report"}


def report(
    *,
    machine: Loading,
    model: Annotated[
        str | None,
        Option(
            "--model",
            "-m",
            help="Model of Part A: a name (see `sfumato models`), a folder, or owner/name on the hub. "
            "Default: emoji where it ships, else digits.",
            autocompletion=names.complete_models,
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
            help="One picture of each question, and Part B from the weights and training curves that ship: "
            "minutes. Without it Part B is trained here: hours on a CPU.",
        ),
    ] = False,
    section: Annotated[
        list[str] | None,
        Option(help="Make this section only, such as 4 or b1; repeatable. Default: all.", show_default=False),
    ] = None,
    out: Annotated[Path, Option("--out", "-o", help="Folder of the page; made if need be.")] = Path("report"),
) -> None:
    """Make the page of the whole tour: every technique with its formula, its pictures and how they were made.

    The page is OUT/index.html. Given again, the command goes on where it was stopped. A section that fails is
    shown as failed, the others still come, and the exit code is 1.
    """
    from sfumato.apps.report.build import Report, chosen
    from sfumato.apps.report.tour import default_tour, read_tour
    from sfumato.apps.report.trainings import Trainings, refuse_training_without_extra

    chapters = chosen(section or ())
    trains = not quick and any(chapter.part == "B" for chapter in chapters)
    if trains:
        refuse_training_without_extra()
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: give a folder for the page")
    own = read_tour(recipe) if recipe is not None else None
    model = model or "emoji"
    loaded = load_on(model, machine)
    path = recipe or default_tour(loaded)
    device = find_device(machine.device)
    made = Report(
        model=loaded,
        tour=own or read_tour(path),
        beside=path.parent,
        out=out,
        quick=quick,
        trainings=Trainings(
            runs=out / "runs" if trains else None,
            device=device,
            dtype=find_dtype(machine.dtype, device),
            train=_trainer(machine) if trains else None,
        ),
        command=_command(model, recipe, quick, machine.dtype, out),
    )
    start = time.monotonic()
    with _bars() as bars:
        sections = made.make(chapters=chapters, watch=bars.watch, tell=bars.tell)
    typer.echo(out / "index.html")
    note(f"{len(sections)} sections, {time.monotonic() - start:.0f} s")
    failed = [s.id for s in sections if s.status == "failed"]
    if failed:
        raise SfumatoError(
            f"failed: {', '.join(failed)}; the page says why, and the same command tries again"
        )


class _Bars:
    """A bar for each section, and a line when it is there."""

    def __init__(self) -> None:
        self.open = ExitStack()

    def watch(self, chapter: Chapter) -> Show:
        """Begin a bar."""
        self.open.close()
        bar = self.open.enter_context(progress_bar(_name(chapter)))
        return bar.show

    def tell(self, told: Told) -> None:
        """End it."""
        self.open.close()
        section = told.section
        state = "kept" if told.kept else f"{section.seconds:.1f} s"
        ending = (
            ""
            if section.status == "done"
            else f"  {section.status}{': ' if section.error else ''}{section.error}"
        )
        note(f"{_name(told.chapter):<34} {state:>8}{ending}")


@contextmanager
def _bars() -> Iterator[_Bars]:
    bars = _Bars()
    try:
        yield bars
    finally:
        bars.open.close()


def _name(chapter: Chapter) -> str:
    return f"{chapter.part}{chapter.number} {chapter.title}"


def _command(model: str, recipe: Path | None, quick: bool, dtype: str, out: Path) -> str:
    """What a person types to make the page again; folders of this machine are left out."""
    words = ["sfumato", "report", "--model", model]
    words += ["--recipe", recipe.name] if recipe is not None else []
    words += ["--quick"] if quick else []
    words += ["--dtype", dtype] if dtype != "auto" else []
    words += ["--out", out.name] if str(out) != "report" else []
    return shlex.join(words)


def _trainer(machine: Loading) -> Train:
    """How a preset is trained for the report: as `sfumato train` does, going on where it was."""
    from sfumato.apps.cli.app import Stopped
    from sfumato.apps.cli.train import PRECISIONS, draw_samples, keep_memory, training_device
    from sfumato.training.checkpoint import complete_checkpoints
    from sfumato.training.loop import train
    from sfumato.training.presets import PRESETS
    from sfumato.training.signals import TrainingStopped

    if machine.dtype not in PRECISIONS:
        raise UsageError(f"training in {machine.dtype} is not offered: use bfloat16 or float32")

    keep_memory()

    def trained(preset: str, run: Path, epochs: Sheets, show: Show) -> Path:
        steps = train(
            preset,
            run,
            resume=bool(complete_checkpoints(run / "checkpoints")),
            device=training_device(machine.device),
            precision=PRECISIONS[machine.dtype],
            sample_epochs=epochs,
            on_epoch=lambda epoch, model: draw_samples(model, PRESETS[preset].data, run, epoch),
        )
        try:
            while True:
                progress = next(steps)
                show(progress.step, progress.steps)
        except StopIteration as end:
            folder: Path = end.value
            return folder
        except TrainingStopped as stop:  # its checkpoint is complete; no section failed
            raise Stopped(stop.signal) from stop

    return trained
